"""What Train shows of the chosen run, read from its folder: again every second, and sent only where it changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.baselines import Baselines
from nanollm.charts import AXES, MAX_OVERLAYS, RunLine, loss_figure, references_of
from nanollm.config import TrainConfig
from nanollm.corpus import CorpusInfo
from nanollm.errors import InputError
from nanollm.health_chart import health_figure
from nanollm.runs.doctor import diagnose
from nanollm.runs.store import Run, Status
from nanollm.runs.waiting import estimated_wait
from playground.components.plotly_chart import TOKENS
from playground.context import Context
from playground.words import BUTTONS, beaten, facts, headline, health, newest_samples, run_sentences

WAITING = "Your curve will fall through these. Each dashed line is what plain counting achieves."
PREPARING = "First words in a moment. They will appear by themselves."
CONTROLS = ("pause", "resume", "stop", "onward", "fork")


@dataclass(frozen=True)
class Wanted:
    """How a person wants the chart: its axis, and which runs laid over. From a browser, so anything odd is dropped."""

    axis: str = "steps"
    log: bool = False
    overlays: tuple[str, ...] = ()
    health: bool = False  # whether that fold is open

    @classmethod
    def of(cls, axis: Any, scale: Any, overlays: Any, health: Any) -> Wanted:
        known = [one for one in overlays if isinstance(one, str)] if isinstance(overlays, list) else []
        axis = axis if axis in AXES else AXES[0]
        return cls(axis, scale == "log", tuple(known[:MAX_OVERLAYS]), health is True)


@dataclass
class View:
    """Updates for the components of the live half; gr.skip() where what is shown is right."""

    numbers: Any
    chart: Any
    passed: Any  # which reference lines the curve fell through
    state: Any
    controls: list[Any]  # one for each of CONTROLS
    doctor: Any
    health: Any
    health_chart: Any
    progress: Any  # holds, as its stamp, what is shown

    def updates(self) -> list[Any]:
        """In the order of the fields."""
        return [
            *(self.numbers, self.chart, self.passed, self.state, *self.controls),
            *(self.doctor, self.health, self.health_chart, self.progress),
        ]


def look(ctx: Context, run_id: str | None, corpus: CorpusInfo, wanted: Wanted, before: str) -> View | None:
    """The chosen run (None: none yet, so the text's reference lines) as it is now; None where `before` shows it.

    `before` is the stamp of what is shown. Raises InputError if the run is gone.
    """
    run = ctx.store.get(run_id) if run_id else None
    if run is None:
        return _without_run(ctx, corpus, wanted, before)
    status, curve, slot = run.status(), run.curve(), ctx.catalogue.slot(run.id)
    overlays, counted = _overlays(ctx, run, wanted), run.baselines or _counted_before(ctx, run, status)
    references = references_of(run.model_config.vocab_size, counted)
    lengths = [(line.name, line.curve.steps[-1:], line.curve.eval_steps[-1:]) for line in overlays]
    ends = (curve.steps[-1:], curve.eval_steps[-1:])
    charted = f"{run.id} {ends} {status.active} {slot} {wanted} {lengths} {counted is None}"
    wait = estimated_wait(ctx.store, run.id) if status.state == "queued" else None
    samples = newest_samples(run)
    stamp = f"{charted} | {status} {wait and round(wait, -1)} {len(samples) and samples[0]['step']}"
    if stamp == before:
        return None
    redraw = not before.startswith(f"{charted} |")
    figure = gr.skip()
    if redraw:
        num_steps = run.train_config.num_steps if status.active or not curve.steps else 0
        figure = loss_figure(
            curve, colour=slot, num_steps=num_steps, overlays=overlays, references=references, axis=wanted.axis,
            log=wanted.log, revision=run.id, palette=TOKENS,
        )  # fmt: skip
        if not curve.steps and not curve.eval_steps and not overlays:  # or it would cover their lines
            figure["note"] = WAITING if status.state == "queued" else PREPARING
    return View(
        numbers=headline(run, status, curve),
        chart=figure,
        passed=beaten(curve, references, over=not status.active) if redraw else gr.skip(),
        state=run_sentences(run, status, wait),
        controls=buttons(run, status),
        doctor=advice(run) if redraw or not status.active else gr.skip(),
        health=health(run, status, curve),
        health_chart=health_figure(curve, colour=slot, revision=run.id, palette=TOKENS) if wanted.health else gr.skip(),
        progress=facts(stamp, run, status, samples),
    )


def nothing(sentence: str = "") -> View:
    """The view of no run at all, with a sentence about why."""
    return View([], None, "", sentence, [gr.Button(visible=False) for _ in CONTROLS], [], [], None, facts(None))


def advice(run: Run) -> list[dict[str, str]]:
    """What the doctor says of a run, for the page."""
    return [{"sentence": v.sentence, "evidence": v.evidence, "action": v.action} for v in diagnose(run)]


def buttons(run: Run, status: Status) -> list[gr.Button]:
    """The controls that the run's state allows."""
    allowed = () if run.bare else BUTTONS.get(status.state, ())
    if run.read_only:
        allowed = ("onward", "fork")
    if not run.snapshots():
        allowed = tuple(name for name in allowed if name not in ("onward", "fork"))
    return [
        gr.Button(visible=name in allowed, interactive=not status.asked or name in ("resume", "fork"))
        for name in CONTROLS
    ]


def _without_run(ctx: Context, corpus: CorpusInfo, wanted: Wanted, before: str) -> View | None:
    counted = ctx.counts.get(corpus.sha256)
    stamp = f"none {corpus.sha256} {counted} {wanted}"
    if stamp == before:
        return None
    references = references_of(corpus.vocab_size, counted)
    figure = loss_figure(num_steps=1000, references=references, axis=wanted.axis, log=wanted.log, palette=TOKENS)
    view = nothing()
    view.chart, view.progress = {**figure, "note": WAITING}, facts(stamp)
    return view


def _counted_before(ctx: Context, run: Run, status: Status) -> Baselines | None:
    """What counting achieves on the text of a run whose worker has not written that down yet: so the lines stay."""
    same = run.train_config.validation_fraction == TrainConfig().validation_fraction
    return ctx.counts.get(str(run.corpus.get("sha256"))) if status.active and same else None


def _overlays(ctx: Context, run: Run, wanted: Wanted) -> list[RunLine]:
    """The lines of the runs laid over; one that was deleted meanwhile is left out, as is the run itself."""
    lines = []
    for run_id in wanted.overlays:
        try:
            other = ctx.store.get(run_id)
        except InputError:
            continue
        if other.id != run.id:
            lines.append(RunLine(other.curve(), other.title, ctx.catalogue.slot(other.id)))
    return lines
