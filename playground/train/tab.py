"""The Train tab: choose a preset, start, watch the loss fall. live_view.py computes what it shows of a run."""

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
from playground.handlers import MULTIPLE, QUEUED, UNQUEUED, error_message, report_errors
from playground.selection import parse_selection
from playground.services.gradio_internals import event_data
from playground.train import all_runs, export_import, form, live_view, sentences
from playground.train.components import doctor_line, run_progress
from playground.train.form import READY, selected_text
from playground.train.settings_form import CONTINUE_NAMES, FormSettings, continue_settings

STARTING = f"() => [{{__type__: 'update', value: '{sentences.STARTING}', interactive: false}}]"
# Closes the form where it was opened beside a run in training.
STARTED = "() => { document.querySelector('.train-view').classList.remove('open'); return (" + READY + ")(); }"
TRAIN_ANOTHER = """() => {
  const open = document.querySelector('.train-view').classList.toggle('open');
  if (open) document.querySelector('.train-setup').scrollIntoView({ block: 'start' });
}"""
CLEAR_FIELDS = "() => ['', '', '', '']"


@dataclass
class Parts:
    form: form.Parts
    another: gr.Button
    axis: gr.Radio
    scale: gr.Radio
    overlays: gr.Dropdown
    controls: list[gr.Button]  # one for each of live_view.CONTROLS
    continue_fields: list[Any]  # one for each of CONTINUE_NAMES, then the text
    gradients_fold: gr.Accordion
    gradients_open: gr.State
    shown: list[Any]  # the components that live_view.View updates
    progress: gr.HTML
    doctor: gr.HTML
    table: all_runs.Parts
    export_import: export_import.Parts
    timer: gr.Timer


def layout(ctx: Context) -> Parts:
    with gr.Row(elem_classes="train-view"):
        with gr.Column(scale=0, min_width=280, elem_classes="train-setup"):
            setup = form.layout()
        with gr.Column(scale=1, min_width=300, elem_classes="train-live"):
            live = _live_layout(ctx)
    return Parts(**live, form=setup, timer=gr.Timer(1, active=False))


def _live_layout(ctx: Context) -> dict[str, Any]:
    """The live view: numbers, chart, controls, doctor, samples, and folds for everything else."""
    figures = numbers("train-numbers")
    chart = plotly_chart(label=sentences.CHART, elem_id="train-chart", labels=sentences.CHART_LABELS)
    with gr.Row(elem_classes="train-state"):
        state = line("train-state", elem_classes="")
        labels = (sentences.PAUSE, sentences.RESUME, sentences.STOP, sentences.CONTINUE, sentences.FORK)
        controls = [
            gr.Button(label, elem_id=f"train-{name}", scale=0, visible=False)
            for name, label in zip(live_view.CONTROLS, labels, strict=True)
        ]
        another = gr.Button(sentences.TRAIN_ANOTHER, elem_id="train-again", scale=0)
        new_run_hint = line("train-new-run-hint")
    doctor = doctor_line("train-doctor")
    passed = line("train-passed", elem_classes="passed")
    axis, scale, overlays = _chart_options()
    progress = run_progress("train-progress")
    continue_fields = _continue_fields()
    with gr.Accordion(sentences.GRADIENTS, open=False, elem_classes="fold", elem_id="train-gradients-fold") as fold:
        gradients = numbers("train-gradients")
        gradients_chart = plotly_chart(
            label=sentences.GRADIENTS_CHART, elem_id="train-gradients-chart", height=260, empty=sentences.NO_GRADIENTS
        )
    table, transfer = all_runs.layout(), export_import.layout(ctx)
    shown = [figures, chart, passed, state, *controls, new_run_hint, doctor, gradients, gradients_chart, progress]
    return dict(
        another=another, axis=axis, scale=scale, overlays=overlays, controls=controls, continue_fields=continue_fields,
        gradients_fold=fold, gradients_open=gr.State(False), shown=shown, progress=progress, doctor=doctor,
        table=table, export_import=transfer,
    )  # fmt: skip


def _chart_options() -> tuple[gr.Radio, gr.Radio, gr.Dropdown]:
    with gr.Row(elem_classes="chart-dials"):
        radio: dict[str, Any] = dict(elem_classes=["segments", "named"])
        axis = gr.Radio(["steps", "seconds"], value="steps", label=sentences.X_AXIS, elem_id="train-axis", **radio)
        scale = gr.Radio(["linear", "log"], value="linear", label=sentences.X_SCALE, elem_id="train-scale", **radio)
        overlays = gr.Dropdown(
            [], multiselect=True, label=sentences.OVERLAY_RUNS, elem_id="train-overlays", visible=False,
            filterable=False, max_choices=MAX_OVERLAYS,
        )  # fmt: skip
    return axis, scale, overlays


def _continue_fields() -> list[Any]:
    with (
        gr.Accordion(sentences.CONTINUE_SETTINGS, open=False, elem_classes="fold", elem_id="train-continue-fold"),
        gr.Row(elem_classes="continue-fields"),
    ):
        fields: list[Any] = [
            gr.Textbox(
                placeholder=sentences.UNCHANGED, label=name, max_lines=1, min_width=120,
                elem_id=f"train-continue-{name}",
            )
            for name in CONTINUE_NAMES
        ]  # fmt: skip
        same = [(sentences.SAME_TEXT, "")]
        text = gr.Dropdown(same, value="", label=sentences.TEXT, min_width=160, elem_id="train-continue-text")
    return [*fields, text]


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    form.wire(ctx, parts.form, continue_text=parts.continue_fields[-1])
    parts.another.click(None, None, None, js=TRAIN_ANOTHER, api_visibility="private")
    _wire_start(ctx, parts.form)
    _wire_live_view(ctx, parts)
    _wire_new_runs(ctx, parts)
    all_runs.wire(ctx, parts.table, parts.form.timer)
    export_import.wire(ctx, parts.export_import)


def _wire_start(ctx: Context, parts: form.Parts) -> None:
    """Start training: create a run folder in the state "queued" and select it.

    The launcher's watch thread starts a worker process for the folder; _wire_live_view shows what the worker writes.
    """

    @report_errors
    def start(sha256: Any, preset: Any, *values: Any) -> dict[str, Any]:
        settings = FormSettings.of(preset, values)
        with ctx.run_creation_lock:
            corpus = selected_text(ctx, sha256)
            run = ctx.runs.create(settings=settings.settings, corpus=corpus, preset=settings.preset)
        return _select_new_run(ctx, run.id)

    parts.start.click(None, None, parts.start, js=STARTING, api_visibility="private")
    started = parts.start.click(start, parts.inputs, ctx.selection, **QUEUED, concurrency_id="start")
    for ended, script in ((started.success, STARTED), (started.failure, READY)):
        ended(None, None, parts.start, js=script, api_visibility="private")


def _wire_live_view(ctx: Context, parts: Parts) -> None:
    """Update the live view every second, on a change of the selection or the chart options, and after a control."""
    options = [parts.axis, parts.scale, parts.overlays, parts.gradients_open, parts.form.field("num_steps")]
    inputs = [ctx.selection, ctx.tab, parts.form.corpus, parts.progress, *options]

    def update(selection: Any, tab: Any, sha256: Any, progress: Any, *options: Any) -> Any:
        if tab != "train":
            return gr.skip()
        before = progress.get("stamp", "") if isinstance(progress, dict) else ""
        try:
            run_id, _ = parse_selection(selection)
            chart_options = live_view.ChartOptions.of(*options)
            view = live_view.update(ctx, run_id, selected_text(ctx, sha256), chart_options, before)
        except Exception as error:
            view = live_view.unavailable(error_message(error), before)
        return view.updates() if view else gr.skip()

    def offer_overlays(tab: Any, overlaid: Any) -> Any:
        return _overlays(ctx, overlaid) if tab == "train" else gr.skip()

    timers = [parts.timer, parts.form.timer]
    ctx.tab.change(lambda tab: [gr.Timer(active=tab == "train")] * 2, ctx.tab, timers, **UNQUEUED, **MULTIPLE)
    for event in (
        ctx.selection.change, ctx.tab.change, parts.form.corpus.change, parts.axis.input, parts.scale.input,
        parts.overlays.change, parts.timer.tick,
    ):  # fmt: skip
        event(update, inputs, parts.shown, **UNQUEUED, **MULTIPLE)
    for event in (parts.overlays.focus, ctx.tab.change, ctx.selection.change):
        event(offer_overlays, [ctx.tab, parts.overlays], parts.overlays, **UNQUEUED, **MULTIPLE)
    fold, is_open = parts.gradients_fold, parts.gradients_open
    fold.expand(lambda: True, None, is_open, **UNQUEUED).then(update, inputs, parts.shown, **UNQUEUED)
    fold.collapse(lambda: False, None, is_open, **UNQUEUED)
    _wire_controls(ctx, parts, update, inputs)


def _wire_controls(ctx: Context, parts: Parts, update: Any, inputs: list[Any]) -> None:
    """Pause, Resume and Stop: each updates the live view at once."""

    def resume(run_id: str) -> None:
        ctx.step_times.stop()
        ctx.launcher.resume(run_id)

    actions = (ctx.launcher.pause, resume, ctx.launcher.stop)
    for button, action in zip(parts.controls[:3], actions, strict=True):

        @report_errors
        def act(selection: Any, action: Any = action) -> None:
            action(_selected_run(selection))

        button.click(act, ctx.selection, None, **QUEUED, concurrency_id="control").then(
            update, inputs, parts.shown, **UNQUEUED
        )


def _wire_new_runs(ctx: Context, parts: Parts) -> None:
    """New runs from the selected one: continue its end, fork one of its snapshots, follow the doctor's advice."""

    def fork(run_id: str, step: int | None, fields: tuple[Any, ...]) -> dict[str, Any]:
        *values, text = fields
        parent, settings = ctx.runs.get(run_id), continue_settings(values)
        with ctx.run_creation_lock:
            corpus = ctx.corpora.get(text) if isinstance(text, str) and text else None
            run = ctx.runs.fork(parent, corpora=ctx.corpora, settings=settings, corpus=corpus, step=step)
        return _select_new_run(ctx, run.id)

    @report_errors
    def continue_run(selection: Any, *fields: Any) -> dict[str, Any]:
        return fork(_selected_run(selection), None, fields)

    @report_errors
    def fork_snapshot(selection: Any, *fields: Any) -> dict[str, Any]:
        return fork(_selected_run(selection), parse_selection(selection)[1], fields)

    @report_errors
    def follow_advice(selection: Any, event: gr.EventData) -> dict[str, Any]:
        index: Any = event_data(event).get("index")  # apply_advice() rejects anything but the index of a finding
        with ctx.run_creation_lock:
            run = apply_advice(ctx.runs, ctx.runs.get(_selected_run(selection)), index, ctx.corpora)
        return _select_new_run(ctx, run.id)

    def overlay_parent(selection: Any, overlaid: Any) -> Any:
        run = ctx.runs.get(_selected_run(selection))
        return _overlays(ctx, overlaid, run.parent.run if run.parent else None)

    for button, handler in zip(parts.controls[3:], (continue_run, fork_snapshot), strict=True):
        inputs = [ctx.selection, *parts.continue_fields]
        created = button.click(handler, inputs, ctx.selection, **QUEUED, concurrency_id="start")
        created.success(overlay_parent, [ctx.selection, parts.overlays], parts.overlays, **UNQUEUED)
        created.success(None, None, parts.continue_fields, js=CLEAR_FIELDS, api_visibility="private")
    parts.doctor.follow(follow_advice, ctx.selection, ctx.selection, **QUEUED, concurrency_id="start")


def _overlays(ctx: Context, overlaid: Any, *more: str | None) -> gr.Dropdown:
    """Update choices and value of the overlays; the selected run may be among them and is not drawn twice.

    Both are set together: Gradio rejects every event that reads a value which is no longer a choice.
    """
    choices = [(row["title"], row["id"]) for row in ctx.catalogue.rows()]
    known = {run_id for _, run_id in choices}
    wanted = [*(overlaid if isinstance(overlaid, list) else []), *more]
    value = [one for one in dict.fromkeys(wanted) if one in known]
    return gr.Dropdown(choices=choices, value=value, visible=len(known) > 1)


def _select_new_run(ctx: Context, run_id: str) -> dict[str, Any]:
    """Return the selection of a run that was just queued, and stop measuring step times beside its training."""
    ctx.step_times.stop()
    ctx.catalogue.rows(fresh=True)
    return {"run": run_id, "step": None}


def _selected_run(selection: Any) -> str:
    run_id, _ = parse_selection(selection)
    if run_id is None:
        raise InputError(sentences.NO_RUN)
    return run_id
