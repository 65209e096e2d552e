"""Train: choose a size, start, and watch the loss fall. What is shown of a run is in playground/train/live_view.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.charts.loss import MAX_OVERLAYS
from nanollm.errors import InputError
from nanollm.runs.doctor import apply_advice
from playground.components.plotly_chart import plotly_chart
from playground.components.text import line, numbers
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, error_message, report_errors
from playground.selection import parse_selection
from playground.services.gradio_internals import event_data
from playground.train import all_runs, form
from playground.train import export_import as carry
from playground.train import live_view as live
from playground.train.doctor import doctor_line
from playground.train.form import READY, SAME, chosen_text
from playground.train.run_progress import run_progress
from playground.train.settings_form import ONWARD, Recipe, onward

STARTING = "() => [{__type__: 'update', value: 'Starting…', interactive: false}]"
# The form has done its work; where it was opened beside a run in training, it makes room again.
STARTED = "() => { document.querySelector('.train-view').classList.remove('open'); return (" + READY + ")(); }"
AGAIN = """() => {
  const open = document.querySelector('.train-view').classList.toggle('open');
  if (open) document.querySelector('.train-setup').scrollIntoView({ block: 'start' });
}"""
EMPTIED = "() => ['', '', '', '']"
NO_HEALTH = "Once a run trains: the length of its gradients and its learning rate, step by step."
NO_RUN = "No run is chosen: choose one above, or start one."
QUEUED: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")


@dataclass
class Parts:
    form: form.Parts
    again: gr.Button
    axis: gr.Radio
    scale: gr.Radio
    overlays: gr.Dropdown
    controls: list[gr.Button]  # one for each of live.CONTROLS
    onward: list[Any]  # one for each of ONWARD, then the text
    health_fold: gr.Accordion
    health_open: gr.State
    shown: list[Any]  # what live.View updates
    progress: gr.HTML
    doctor: gr.HTML
    table: all_runs.Parts
    carry: carry.Parts
    timer: gr.Timer


def layout(ctx: Context) -> Parts:
    with gr.Row(elem_classes="train-view"):
        with gr.Column(scale=0, min_width=280, elem_classes="train-setup"):
            asked = form.layout()
        with gr.Column(scale=1, min_width=300, elem_classes="train-live"):
            shown = _live(ctx)
    return Parts(**shown, form=asked, timer=gr.Timer(1, active=False))


def _live(ctx: Context) -> dict[str, Any]:
    """Numbers, chart, controls, the doctor, the newest samples; what is rarely looked at folded."""
    figures = numbers("train-numbers")
    chart = plotly_chart(label="Loss over the training", elem_id="train-chart", labels="What each dashed line means")
    with gr.Row(elem_classes="train-state"):
        state = line("train-state", elem_classes="")
        words = ("Pause", "Resume", "Stop and keep", "Continue for more steps", "Fork from here")
        controls = [
            gr.Button(word, elem_id=f"train-{name}", scale=0, visible=False)
            for name, word in zip(live.CONTROLS, words, strict=True)
        ]
        again = gr.Button("Train another one", elem_id="train-again", scale=0)
        going_on = line("train-going-on")
    doctor = doctor_line("train-doctor")
    passed = line("train-passed", elem_classes="passed")
    with gr.Row(elem_classes="chart-dials"):
        dial: dict[str, Any] = dict(elem_classes=["segments", "named"])
        axis = gr.Radio(["steps", "seconds"], value="steps", label="Horizontal axis", elem_id="train-axis", **dial)
        scale = gr.Radio(["linear", "log"], value="linear", label="Its scale", elem_id="train-scale", **dial)
        overlays = gr.Dropdown(
            [], multiselect=True, label="Other runs on this chart", elem_id="train-overlays", visible=False,
            filterable=False, max_choices=MAX_OVERLAYS,
        )  # fmt: skip
    progress = run_progress("train-progress")
    with (
        gr.Accordion(
            "Continue or fork with other settings", open=False, elem_classes="fold", elem_id="train-onward-fold"
        ),
        gr.Row(elem_classes="onward"),
    ):
        asked: list[Any] = [
            gr.Textbox(placeholder="as before", label=name, max_lines=1, min_width=120, elem_id=f"train-onward-{name}")
            for name in ONWARD
        ]
        asked.append(gr.Dropdown([(SAME, "")], value="", label="Text", min_width=160, elem_id="train-onward-text"))
    with gr.Accordion("Health", open=False, elem_classes="fold", elem_id="train-health-fold") as health_fold:
        health = numbers("train-health")
        health_chart = plotly_chart(
            label="Gradient norm and learning rate", elem_id="train-health-chart", height=260, empty=NO_HEALTH
        )
    table, carried = all_runs.layout(), carry.layout(ctx)
    shown = [figures, chart, passed, state, *controls, going_on, doctor, health, health_chart, progress]
    return dict(
        again=again, axis=axis, scale=scale, overlays=overlays, controls=controls, onward=asked,
        health_fold=health_fold, health_open=gr.State(False), shown=shown, progress=progress, doctor=doctor,
        table=table, carry=carried,
    )  # fmt: skip


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    form.wire(ctx, parts.form, onward_text=parts.onward[-1])
    parts.again.click(None, None, None, js=AGAIN, api_visibility="private")
    _wire_start(ctx, parts.form)
    _wire_live(ctx, parts)
    _wire_controls(ctx, parts)


def _wire_start(ctx: Context, parts: form.Parts) -> None:
    @report_errors
    def start(sha256: Any, preset: Any, *values: Any) -> dict[str, Any]:
        recipe = Recipe.of(preset, values)
        with ctx.run_creation_lock:
            corpus = chosen_text(ctx, sha256)
            run = ctx.runs.create(settings=recipe.settings, corpus=corpus, preset=recipe.preset)
        return _begun(ctx, run.id)

    parts.start.click(None, None, parts.start, js=STARTING, api_visibility="private")
    started = parts.start.click(start, parts.asked, ctx.selection, **QUEUED, concurrency_id="start")
    for ended, then in ((started.success, STARTED), (started.failure, READY)):
        ended(None, None, parts.start, js=then, api_visibility="private")


def _wire_live(ctx: Context, parts: Parts) -> None:
    """The chosen run: how it stands, again every second."""
    wanted = [parts.axis, parts.scale, parts.overlays, parts.health_open, parts.form.field("num_steps")]
    inputs = [ctx.selection, ctx.tab, parts.form.corpus, parts.progress, *wanted]

    def look(selection: Any, tab: Any, sha256: Any, progress: Any, *wanted: Any) -> Any:
        if tab != "train":
            return gr.skip()
        before = progress.get("stamp", "") if isinstance(progress, dict) else ""
        try:
            view = live.look(
                ctx, parse_selection(selection)[0], chosen_text(ctx, sha256), live.Wanted.of(*wanted), before
            )
        except Exception as error:
            view = live.gone(error_message(error), before)
        return view.updates() if view else gr.skip()

    def others(tab: Any, laid: Any) -> Any:
        return _laid_over(ctx, laid) if tab == "train" else gr.skip()

    timers = [parts.timer, parts.form.timer]
    ctx.tab.change(lambda tab: [gr.Timer(active=tab == "train")] * 2, ctx.tab, timers, **UNQUEUED, **MULTIPLE)
    for moment in (ctx.selection.change, ctx.tab.change, parts.form.corpus.change):
        moment(look, inputs, parts.shown, **UNQUEUED, **MULTIPLE)
    for dial in (parts.axis, parts.scale):
        dial.input(look, inputs, parts.shown, **UNQUEUED, **MULTIPLE)
    parts.overlays.change(look, inputs, parts.shown, **UNQUEUED, **MULTIPLE)
    parts.timer.tick(look, inputs, parts.shown, **UNQUEUED, **MULTIPLE)
    for moment in (parts.overlays.focus, ctx.tab.change, ctx.selection.change):
        moment(others, [ctx.tab, parts.overlays], parts.overlays, **UNQUEUED, **MULTIPLE)
    parts.health_fold.expand(lambda: True, None, parts.health_open, **UNQUEUED).then(
        look, inputs, parts.shown, **UNQUEUED
    )
    parts.health_fold.collapse(lambda: False, None, parts.health_open, **UNQUEUED)
    all_runs.wire(ctx, parts.table, parts.form.timer)
    carry.wire(ctx, parts.carry)
    _wire_acts(ctx, parts, look, inputs)


def _wire_acts(ctx: Context, parts: Parts, look: Any, inputs: list[Any]) -> None:
    """Pause, Resume, Stop: each shows at once what came of it."""

    def resume(run_id: str) -> None:
        ctx.step_times.stop()
        ctx.launcher.resume(run_id)

    acts = (ctx.launcher.pause, resume, ctx.launcher.stop)
    for button, action in zip(parts.controls[:3], acts, strict=True):

        @report_errors
        def act(selection: Any, action: Any = action) -> None:
            action(_chosen_run(selection))

        button.click(act, ctx.selection, None, **QUEUED, concurrency_id="control").then(
            look, inputs, parts.shown, **UNQUEUED
        )


def _wire_controls(ctx: Context, parts: Parts) -> None:
    """Going on from a run: for more steps from its end, from any of its snapshots, or as the doctor suggests."""

    def fork(run_id: str, step: int | None, asked: tuple[Any, ...]) -> dict[str, Any]:
        *values, text = asked
        parent, settings = ctx.runs.get(run_id), onward(values)
        with ctx.run_creation_lock:
            corpus = ctx.corpora.get(text) if isinstance(text, str) and text else None
            run = ctx.runs.fork(parent, corpora=ctx.corpora, settings=settings, corpus=corpus, step=step)
        return _begun(ctx, run.id)

    @report_errors
    def more(selection: Any, *asked: Any) -> dict[str, Any]:
        return fork(_chosen_run(selection), None, asked)

    @report_errors
    def fork_from_here(selection: Any, *asked: Any) -> dict[str, Any]:
        return fork(_chosen_run(selection), parse_selection(selection)[1], asked)

    @report_errors
    def take_advice(selection: Any, event: gr.EventData) -> dict[str, Any]:
        wanted = event_data(event).get("index")
        with ctx.run_creation_lock:
            run = apply_advice(ctx.runs, ctx.runs.get(_chosen_run(selection)), wanted, ctx.corpora)
        return _begun(ctx, run.id)

    def with_parent(selection: Any, laid: Any) -> Any:
        """Parent and child on one chart."""
        run = ctx.runs.get(_chosen_run(selection))
        return _laid_over(ctx, laid, run.parent.run if run.parent else None)

    for button, act in zip(parts.controls[3:], (more, fork_from_here), strict=True):
        laid = button.click(act, [ctx.selection, *parts.onward], ctx.selection, **QUEUED, concurrency_id="start")
        laid.success(with_parent, [ctx.selection, parts.overlays], parts.overlays, **UNQUEUED)
        laid.success(None, None, parts.onward, js=EMPTIED, api_visibility="private")  # they were for this one run
    parts.doctor.follow(take_advice, ctx.selection, ctx.selection, **QUEUED, concurrency_id="start")


def _laid_over(ctx: Context, laid: Any, *more: str | None) -> gr.Dropdown:
    """The runs that may be laid over the chosen one (itself among them: it is not drawn twice), and those that are.

    A value that is no choice any more would make Gradio refuse every event that reads it, so both are set together.
    """
    choices = [(row["title"], row["id"]) for row in ctx.catalogue.rows()]
    known = {run_id for _, run_id in choices}
    wanted = [*(laid if isinstance(laid, list) else []), *more]
    return gr.Dropdown(
        choices=choices, value=[one for one in dict.fromkeys(wanted) if one in known], visible=len(known) > 1
    )


def _begun(ctx: Context, run_id: str) -> dict[str, Any]:
    """The selection of a run that was just queued, already in the list; nothing is measured beside its training."""
    ctx.step_times.stop()
    ctx.catalogue.rows(fresh=True)
    return {"run": run_id, "step": None}


def _chosen_run(selection: Any) -> str:
    run_id, _ = parse_selection(selection)
    if run_id is None:
        raise InputError(NO_RUN)
    return run_id
