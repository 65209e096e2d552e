"""What Train shows of the chosen run, read from its folder: again every second, and sent only where it changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.charts.base import Reference, references_of
from nanollm.charts.gradients import health_figure
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
from playground.train.status_text import (
    BUTTONS,
    NUMBERS,
    beaten,
    facts,
    going_on,
    headline,
    health,
    newest_samples,
    run_sentences,
)

WAITING = "Your curve will fall through these. Each dashed line is what plain counting achieves."
OTHER_TEXT = (
    "These are the lines of {text}. “{run}” learned {its}: choose that text, or lay its curve over with “Other runs on "
    "this chart”."
)
READY_SOON = {"queued": "Waiting in line…", "running": "Getting ready…"}  # on a chart without a curve
MAX_STEPS = 10_000_000
CONTROLS = ("pause", "resume", "stop", "onward", "fork")


@dataclass(frozen=True)
class Wanted:
    """How a person wants the chart: its axis, and which runs laid over. From a browser, so anything odd is dropped."""

    axis: str = "steps"
    log: bool = False
    overlays: tuple[str, ...] = ()
    health: bool = False  # whether that fold is open
    num_steps: int = 200  # that the form asks for, as long as there is no run

    @classmethod
    def of(cls, axis: Any, scale: Any, overlays: Any, health: Any, num_steps: Any = None) -> Wanted:
        known = [one for one in overlays if isinstance(one, str)] if isinstance(overlays, list) else []
        axis = axis if axis in AXES else AXES[0]
        countable = isinstance(num_steps, (int, float)) and 1 <= num_steps <= MAX_STEPS
        steps = int(num_steps) if countable else cls.num_steps
        return cls(axis, scale == "log", tuple(known[:MAX_OVERLAYS]), health is True, steps)

    @property
    def chart(self) -> str:
        """What the loss chart is drawn by."""
        return f"{self.axis} {self.log} {self.overlays}"


@dataclass(frozen=True)
class Shown:
    """What a browser shows of a run, in three parts that change for themselves; sent back by it as the stamp."""

    charted: str = ""
    healthy: str = ""  # the folded chart
    told: str = ""  # all the rest

    @classmethod
    def of(cls, stamp: str) -> Shown:
        """From a browser, so anything odd counts as nothing shown."""
        try:
            charted, healthy, told = json.loads(stamp)
        except (ValueError, TypeError, RecursionError):
            return cls()
        return cls(str(charted), str(healthy), str(told))

    def stamp(self) -> str:
        return json.dumps([self.charted, self.healthy, self.told])


@dataclass
class View:
    """Updates for the components of the live half; gr.skip() where what is shown is right."""

    numbers: Any
    chart: Any
    passed: Any  # which reference lines the curve fell through
    state: Any
    controls: list[Any]  # one for each of CONTROLS
    going_on: Any  # what those of them do that make a new run
    doctor: Any
    health: Any
    health_chart: Any
    progress: Any  # holds, as its stamp, what is shown

    def updates(self) -> list[Any]:
        """In the order of the fields."""
        return [
            *(self.numbers, self.chart, self.passed, self.state, *self.controls, self.going_on),
            *(self.doctor, self.health, self.health_chart, self.progress),
        ]


def look(ctx: Context, run_id: str | None, corpus: CorpusInfo, wanted: Wanted, before: str) -> View | None:
    """The chosen run (None: none yet, so the text's reference lines) as it is now; None where `before` shows it.

    `before` is the stamp of what is shown. Raises InputError if the run is gone.
    """
    run = ctx.runs.get(run_id) if run_id else None
    # Whoever has only the models that came along, and another text in hand, sees what awaits a curve of their own.
    if run is None or (run.read_only and run.corpus.get("sha256") != corpus.sha256):
        return _without_run(ctx, corpus, wanted, before, run)
    status, curve, slot = run.status(), run.curve(), ctx.catalogue.slot(run.id)
    laid, counted = _laid(ctx, wanted, run), run.baselines or _counted_before(ctx, run, status)
    overlays, references = _lines(ctx, laid), references_of(run.model_config.vocab_size, counted)
    wait = estimated_wait(ctx.all_runs, run.id) if status.state == "queued" else None
    samples = newest_samples(run)
    lines = _ends([RunLine(curve), *overlays])
    note = "" if curve.steps or curve.eval_steps else READY_SOON.get(status.state, "")
    charted = f"{run.id} {_short(status.active, note, slot, wanted.chart, lines, counted is None)}"
    known, healthy = Shown.of(before), f"{run.id} {100 * status.step // max(1, status.num_steps)} {status.active}"
    # The two charts never travel in one answer: each of them is large.
    ill = wanted.health and known.healthy != healthy and known.charted.startswith(f"{run.id} ")
    redraw = charted != known.charted and not ill
    now = Shown(
        charted if redraw else known.charted,
        healthy if ill else known.healthy,
        _short(status, wait and round(wait, -1), len(samples) and samples[0]["step"]),
    )
    if now == known:
        return None
    figure, may_change = gr.skip(), ctx.may_change(run)
    offered = allowed(run, status) if may_change else ()
    if redraw:
        num_steps = run.train_config.num_steps if status.active or not curve.steps else 0
        figure = loss_figure(
            curve, colour=slot, num_steps=num_steps, overlays=overlays, references=references, axis=wanted.axis,
            log=wanted.log, revision=run.id, note=note, palette=TOKENS,
        )  # fmt: skip
    return View(
        numbers=headline(run, status, curve),
        chart=figure,
        passed=_passed(curve, references, status, run.corpus, laid) if redraw else gr.skip(),
        state=run_sentences(run, status, wait),
        controls=buttons(offered, status),
        going_on=going_on(offered),
        doctor=(advice(run) if may_change else []) if redraw or not status.active else gr.skip(),
        health=health(run, status, curve) if wanted.health else gr.skip(),
        health_chart=health_figure(curve, colour=slot, revision=run.id, palette=TOKENS) if ill else gr.skip(),
        progress=facts(now.stamp(), run, status, samples),
    )


def nothing(sentence: str = "") -> View:
    """The view of no run at all, with a sentence about why."""
    numbers = [[name, "–"] for name in NUMBERS]
    return View(numbers, None, "", sentence, buttons(()), "", [], [], None, facts(None))


def gone(sentence: str, before: str) -> View | None:
    """The view of a run that cannot be shown, with the reason; None where `before` shows just that."""
    stamp = Shown(told=f"gone {sentence}").stamp()
    view = nothing(sentence)
    view.progress = facts(stamp)
    return None if stamp == before else view


def advice(run: Run) -> list[dict[str, str]]:
    """What the doctor says of a run, for the page."""
    return [{"sentence": v.sentence, "evidence": v.evidence, "action": v.action} for v in diagnose(run)]


def allowed(run: Run, status: Status) -> tuple[str, ...]:
    """Those of CONTROLS that the run's state allows."""
    offered = () if run.checkpoints_only else BUTTONS.get(status.state, ())
    if run.read_only:
        offered = ("onward", "fork")
    return offered if run.snapshots() else tuple(name for name in offered if name not in ("onward", "fork"))


def buttons(offered: tuple[str, ...], status: Status | None = None) -> list[gr.Button]:
    """The controls, of which only those are shown that are `offered`."""
    asked = status is not None and status.requested
    return [
        gr.Button(visible=name in offered, interactive=not asked or name in ("resume", "fork")) for name in CONTROLS
    ]


def _without_run(ctx: Context, corpus: CorpusInfo, wanted: Wanted, before: str, other: Run | None) -> View | None:
    """The reference lines of a text on which there is no run yet; `other` is chosen, but learned another text."""
    counted, overlays = ctx.baselines.get(corpus.sha256), _lines(ctx, _laid(ctx, wanted))
    stamp = Shown(
        _short(corpus.sha256, counted, wanted.chart, wanted.num_steps, _ends(overlays), other and other.id)
    ).stamp()
    if stamp == before:
        return None
    figure = loss_figure(
        num_steps=wanted.num_steps, overlays=overlays, references=references_of(corpus.vocab_size, counted),
        axis=wanted.axis, log=wanted.log, palette=TOKENS,
    )  # fmt: skip
    view = nothing()
    if other:
        view.state = OTHER_TEXT.format(text=corpus.name, run=other.title, its=other.corpus.get("name"))
        offered = allowed(other, other.status())
        view.controls, view.going_on = buttons(offered), going_on(offered)
    view.chart, view.passed, view.progress = figure, WAITING, facts(stamp)
    return view


def _counted_before(ctx: Context, run: Run, status: Status) -> Baselines | None:
    """What counting achieves on the text of a run whose worker has not written that down yet: so the lines stay."""
    same = run.train_config.validation_fraction == TrainConfig().validation_fraction
    return ctx.baselines.get(str(run.corpus.get("sha256"))) if status.active and same else None


def _short(*parts: Any) -> str:
    """A few characters that are others when one of the parts is another: a browser sends them back every second."""
    return hashlib.sha1(repr(parts).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:16]


def _ends(lines: list[RunLine]) -> list[Any]:
    """What changes when one of the lines has grown."""
    return [(line.name, line.curve.steps[-1:], line.curve.eval_steps[-1:]) for line in lines]


def _laid(ctx: Context, wanted: Wanted, run: Run | None = None) -> list[Run]:
    """The runs laid over; one that was deleted meanwhile is left out, as is the run itself."""
    laid = []
    for run_id in wanted.overlays:
        with suppress(InputError):
            laid.append(ctx.runs.get(run_id))
    return [other for other in laid if run is None or other.id != run.id]


def _lines(ctx: Context, laid: list[Run]) -> list[RunLine]:
    return [RunLine(other.curve(), other.title, ctx.catalogue.slot(other.id)) for other in laid]


def _passed(curve: Curve, references: list[Reference], status: Status, text: Mapping[str, Any], laid: list[Run]) -> str:
    """Which lines the curve passed or, before it begins, will; a caution where one laid over it is of another text."""
    told = beaten(curve, references, over=not status.active)
    if status.active and not curve.steps and not curve.eval_steps:
        told = WAITING
    others = [f"“{run.title}”" for run in laid if run.corpus.get("sha256") != text.get("sha256")]
    caution = f"{' and '.join(others[:2])} learned another text: do not compare the losses." if others else ""
    return f"{told} {caution}".strip()
