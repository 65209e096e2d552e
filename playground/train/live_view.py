"""The live view of the selected run: read from the run folder every second, sent only where it changed.

The browser sends back a stamp of what it shows; `update` compares it with the state of the run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.charts.base import Reference, references_of
from nanollm.charts.gradients import gradient_figure
from nanollm.charts.loss import AXES, MAX_OVERLAYS, RunLine, loss_figure
from nanollm.config import TrainConfig
from nanollm.data.corpus import CorpusInfo
from nanollm.data.ngrams import Baselines
from nanollm.errors import InputError
from nanollm.runs.doctor import diagnose
from nanollm.runs.process.queue_times import estimated_wait
from nanollm.runs.store import Curve, Run, Status
from playground.components.plotly_chart import TOKENS
from playground.context import Context
from playground.train import sentences
from playground.train.status_text import (
    BUTTONS,
    NEW_RUN_BUTTONS,
    gradients,
    headline,
    new_run_hint,
    newest_samples,
    passed_baselines,
    progress,
    run_sentences,
)

EMPTY_CHART = {"queued": sentences.CHART_QUEUED, "running": sentences.CHART_STARTING}
MAX_STEPS = 10_000_000
CONTROLS = ("pause", "resume", "stop", "continue", "fork")


@dataclass(frozen=True)
class ChartOptions:
    """The user's chart settings. They come from a browser, so malformed values are replaced by defaults."""

    axis: str = "steps"
    log: bool = False
    overlays: tuple[str, ...] = ()  # ids of overlaid runs
    gradients: bool = False  # whether the gradients fold is open
    num_steps: int = 200  # the form's, for the chart without a run

    @classmethod
    def of(cls, axis: Any, scale: Any, overlays: Any, gradients: Any, num_steps: Any = None) -> ChartOptions:
        ids = [one for one in overlays if isinstance(one, str)] if isinstance(overlays, list) else []
        axis = axis if axis in AXES else AXES[0]
        valid = isinstance(num_steps, (int, float)) and 1 <= num_steps <= MAX_STEPS
        steps = int(num_steps) if valid else cls.num_steps
        return cls(axis, scale == "log", tuple(ids[:MAX_OVERLAYS]), gradients is True, steps)

    @property
    def chart_key(self) -> str:
        """Changes whenever the loss chart must be redrawn because of these options."""
        return f"{self.axis} {self.log} {self.overlays}"


@dataclass(frozen=True)
class Stamp:
    """Identifies what the browser shows of a run, in three parts that change independently."""

    chart: str = ""
    gradients: str = ""  # the folded chart
    text: str = ""  # everything else

    @classmethod
    def of(cls, stamp: str) -> Stamp:
        """Parse a stamp from the browser; a malformed one counts as nothing shown."""
        try:
            chart, gradients, text = json.loads(stamp)
        except (ValueError, TypeError, RecursionError):
            return cls()
        return cls(str(chart), str(gradients), str(text))

    def __str__(self) -> str:
        return json.dumps([self.chart, self.gradients, self.text])


@dataclass
class View:
    """Updates for the components of the live view; gr.skip() for those that are up to date."""

    numbers: Any
    chart: Any
    passed: Any  # which baselines the curve has passed
    state: Any
    controls: list[Any]  # one for each of CONTROLS
    new_run_hint: Any
    doctor: Any
    gradients: Any
    gradients_chart: Any
    progress: Any  # carries the stamp

    def updates(self) -> list[Any]:
        """Return all updates in the order of the fields."""
        return [
            *(self.numbers, self.chart, self.passed, self.state, *self.controls, self.new_run_hint),
            *(self.doctor, self.gradients, self.gradients_chart, self.progress),
        ]


def update(ctx: Context, run_id: str | None, corpus: CorpusInfo, options: ChartOptions, before: str) -> View | None:
    """Return the updates for the selected run, or None if the browser's stamp `before` is up to date.

    Without a run (None), or with a pretrained one of another text, shows the baselines of `corpus`: the lines that
    await the curve of the user's own run. Raises InputError if the run was deleted.
    """
    run = ctx.runs.get(run_id) if run_id else None
    if run is None or (run.read_only and run.corpus.get("sha256") != corpus.sha256):
        return _without_run(ctx, corpus, options, before, run)
    status, curve, slot = run.status(), run.curve(), ctx.catalogue.slot(run.id)
    overlaid, baselines = _overlaid_runs(ctx, options, run), run.baselines or _known_baselines(ctx, run, status)
    overlays, references = _lines(ctx, overlaid), references_of(run.model_config.vocab_size, baselines)
    wait = estimated_wait(ctx.all_runs, run.id) if status.state == "queued" else None
    samples = newest_samples(run)
    lines = _line_ends([RunLine(curve), *overlays])
    note = "" if curve.steps or curve.eval_steps else EMPTY_CHART.get(status.state, "")
    chart_stamp = f"{run.id} {_digest(status.active, note, slot, options.chart_key, lines, baselines is None)}"
    shown, gradients_stamp = (
        Stamp.of(before),
        f"{run.id} {100 * status.step // max(1, status.num_steps)} {status.active}",
    )
    # Each of the two charts is large, so one response never contains both.
    redraw_gradients = options.gradients and shown.gradients != gradients_stamp and shown.chart.startswith(f"{run.id} ")
    redraw = chart_stamp != shown.chart and not redraw_gradients
    now = Stamp(
        chart_stamp if redraw else shown.chart,
        gradients_stamp if redraw_gradients else shown.gradients,
        _digest(status, wait and round(wait, -1), len(samples) and samples[0]["step"]),
    )
    if now == shown:
        return None
    figure, may_change = gr.skip(), ctx.may_change(run)
    offered = allowed_controls(run, status) if may_change else ()
    if redraw:
        num_steps = run.train_config.num_steps if status.active or not curve.steps else 0
        figure = loss_figure(
            curve, slot=slot, num_steps=num_steps, overlays=overlays, references=references, axis=options.axis,
            log=options.log, revision=run.id, note=note, palette=TOKENS,
        )  # fmt: skip
    gradients_figure = gr.skip()
    if redraw_gradients:
        gradients_figure = gradient_figure(curve, slot=slot, revision=run.id, palette=TOKENS)
    return View(
        numbers=headline(status, curve),
        chart=figure,
        passed=_passed(curve, references, status, run.corpus, overlaid) if redraw else gr.skip(),
        state=run_sentences(run, status, wait),
        controls=control_buttons(offered, status),
        new_run_hint=new_run_hint(offered),
        doctor=(findings(run) if may_change else []) if redraw or not status.active else gr.skip(),
        gradients=gradients(run, status, curve) if options.gradients else gr.skip(),
        gradients_chart=gradients_figure,
        progress=progress(str(now), run, status, samples),
    )


def empty_view(sentence: str = "") -> View:
    """Return the view without a run, with a sentence as its state."""
    names = (sentences.VALIDATION_LOSS, sentences.PERPLEXITY, sentences.TIME_LEFT)
    return View(dict.fromkeys(names, "–"), None, "", sentence, control_buttons(()), "", [], {}, None, progress(""))


def unavailable(sentence: str, before: str) -> View | None:
    """Return the view of a run that cannot be shown, with the reason; None if the browser already shows that."""
    stamp = str(Stamp(text=f"gone {sentence}"))
    view = empty_view(sentence)
    view.progress = progress(stamp)
    return None if stamp == before else view


def findings(run: Run) -> list[dict[str, str]]:
    """Return the doctor's findings on a run as JSON-ready rows."""
    return [{"sentence": v.sentence, "evidence": v.evidence, "action": v.action} for v in diagnose(run)]


def allowed_controls(run: Run, status: Status) -> tuple[str, ...]:
    """Return those of CONTROLS that the run's state allows."""
    offered = () if run.checkpoints_only else BUTTONS.get(status.state, ())
    if run.read_only:
        offered = NEW_RUN_BUTTONS
    return offered if run.snapshots() else tuple(name for name in offered if name not in NEW_RUN_BUTTONS)


def control_buttons(offered: tuple[str, ...], status: Status | None = None) -> list[gr.Button]:
    """Return updates of all control buttons: those `offered` visible, and disabled while a request is pending."""
    pending = status is not None and status.requested
    return [
        gr.Button(visible=name in offered, interactive=not pending or name in ("resume", "fork")) for name in CONTROLS
    ]


def _without_run(
    ctx: Context, corpus: CorpusInfo, options: ChartOptions, before: str, other: Run | None
) -> View | None:
    """The baselines of a text without a run; `other` is the selected run, trained on another text."""
    baselines, overlays = ctx.baselines.get(corpus.sha256), _lines(ctx, _overlaid_runs(ctx, options))
    key = (corpus.sha256, baselines, options.chart_key, options.num_steps, _line_ends(overlays), other and other.id)
    stamp = str(Stamp(_digest(*key)))
    if stamp == before:
        return None
    figure = loss_figure(
        num_steps=options.num_steps, overlays=overlays, references=references_of(corpus.vocab_size, baselines),
        axis=options.axis, log=options.log, palette=TOKENS,
    )  # fmt: skip
    view = empty_view()
    if other:
        trained_on = other.corpus.get("name")
        view.state = sentences.OTHER_TEXT.format(text=corpus.name, run=other.title, trained_on=trained_on)
        offered = allowed_controls(other, other.status())
        view.controls, view.new_run_hint = control_buttons(offered), new_run_hint(offered)
    view.chart, view.passed, view.progress = figure, sentences.WAITING, progress(stamp)
    return view


def _known_baselines(ctx: Context, run: Run, status: Status) -> Baselines | None:
    """The page's own baselines for a run whose worker has not written them yet, so that the lines stay."""
    same = run.train_config.validation_fraction == TrainConfig().validation_fraction
    return ctx.baselines.get(str(run.corpus.get("sha256"))) if status.active and same else None


def _digest(*parts: Any) -> str:
    """A short digest of all parts: the browser sends it back every second."""
    return hashlib.sha1(repr(parts).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:16]


def _line_ends(lines: list[RunLine]) -> list[Any]:
    """What changes when one of the lines grows."""
    return [(line.name, line.curve.steps[-1:], line.curve.eval_steps[-1:]) for line in lines]


def _overlaid_runs(ctx: Context, options: ChartOptions, run: Run | None = None) -> list[Run]:
    """The overlaid runs without deleted ones and without the run itself."""
    overlaid = []
    for run_id in options.overlays:
        with suppress(InputError):
            overlaid.append(ctx.runs.get(run_id))
    return [other for other in overlaid if run is None or other.id != run.id]


def _lines(ctx: Context, runs: list[Run]) -> list[RunLine]:
    return [RunLine(run.curve(), run.title, ctx.catalogue.slot(run.id)) for run in runs]


def _passed(
    curve: Curve, references: list[Reference], status: Status, text: Mapping[str, Any], overlaid: list[Run]
) -> str:
    """Which baselines the curve has passed, and a warning if an overlaid run was trained on another text."""
    passed = passed_baselines(curve, references, over=not status.active)
    if status.active and not curve.steps and not curve.eval_steps:
        passed = sentences.WAITING
    others = [f"“{run.title}”" for run in overlaid if run.corpus.get("sha256") != text.get("sha256")]
    warning = sentences.OTHER_TEXTS.format(runs=" and ".join(others[:2])) if others else ""
    return f"{passed} {warning}".strip()
