"""The Attention tab: all heads of the chosen snapshot on the user's text, and one view of them at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.attention.components.attention_grid import attention_grid
from playground.attention.sentences import EXAMPLE_TEXT, NO_MODEL, NO_SNAPSHOT, TEXT_LABEL, VIEW_TITLES
from playground.attention.view_frame import SharedInputs
from playground.attention.views import ablation, attention_map, head_types, logit_lens, model_overview, ranking
from playground.components.factory import browser_call
from playground.components.sentences import DROP_UNKNOWN
from playground.components.text import line, no_model
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, error_message, report_errors

# The names are part of the page's URL, as ?lens=…
VIEWS: dict[str, Any] = {"looks": attention_map, "matters": ablation, "names": head_types, "layers": logit_lens}
VIEWS_OF_ONE_HEAD = ("looks", "names")
# The style sheet hides all views but the open one, so that switching is instant. It reads these attributes of the body.
FOLD = "() => {{ document.body.dataset.whole = {}; return []; }}"
TURNED = browser_call("shell/page_state.js", "turned", "lens")


@dataclass
class Parts:
    text: gr.Textbox
    about: gr.HTML
    problem: gr.HTML
    drop: gr.Button
    grid: gr.HTML
    ranking: ranking.Parts
    view: gr.Radio
    views: dict[str, Any]
    overview: model_overview.Parts


def layout(ctx: Context) -> Parts:
    no_model(ctx, "attention", NO_MODEL)
    with gr.Column(elem_id="attention-main", elem_classes="when-runs"):
        text = gr.Textbox(EXAMPLE_TEXT, label=TEXT_LABEL, lines=1, max_lines=4, elem_id="attention-text")
        about = line("attention-about")
        with gr.Row(elem_classes="problem-row"):
            problem = line("attention-problem", elem_classes="problem")
            drop = gr.Button(DROP_UNKNOWN, size="sm", visible=False, elem_id="attention-drop", scale=0)
        with gr.Row(elem_classes="attention-view"):
            with gr.Column(scale=0, min_width=280, elem_classes="attention-heads"):
                grid = attention_grid(elem_id="attention-grid", empty=NO_SNAPSHOT)
                rank = ranking.layout(ctx)
            with gr.Column(scale=1, min_width=300, elem_classes="attention-lens"):
                view, views = _views(ctx)
        overview = model_overview.layout(ctx)
    return Parts(text, about, problem, drop, grid, rank, view, views, overview)


def _views(ctx: Context) -> tuple[gr.Radio, dict[str, Any]]:
    """Add the choice of a view, and all views."""
    view = gr.Radio(
        [(VIEW_TITLES[name], name) for name in VIEWS], value="looks", show_label=False, elem_id="attention-lens",
        elem_classes="segments", container=False,
    )  # fmt: skip
    views = {}
    for name, module in VIEWS.items():
        with gr.Column(elem_classes=f"lens lens-{name}", min_width=0):
            views[name] = module.layout(ctx)
    return view, views


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    shared = SharedInputs(parts.text, parts.grid, parts.problem)
    ranking.wire(ctx, parts.ranking, shared)
    for name, module in VIEWS.items():
        module.wire(ctx, parts.views[name], shared)
    _wire_view(ctx, parts)
    _wire_overview(ctx, parts)
    _wire_url(ctx, parts)

    @report_errors
    def drop_unknown(selection: Any, text: str) -> str:
        unknown = ctx.inspections.unknown(selection, text)
        return "".join(character for character in text if character not in unknown)

    parts.drop.click(drop_unknown, [ctx.selection, parts.text], parts.text, api_visibility="private")


def _wire_view(ctx: Context, parts: Parts) -> None:
    """On every change, update first the heads for the grid, then the open view."""
    reading = parts.views["looks"].reading
    frame_outputs = [reading, parts.ranking.rank, parts.about, parts.problem, parts.drop, parts.text]
    view_inputs = [component for view in parts.views.values() for component in view.inputs]
    view_outputs = [component for view in parts.views.values() for component in view.outputs]
    inputs = [ctx.selection, ctx.tab, parts.text, parts.grid, parts.view, *view_inputs]

    def update_frame(selection: Any, tab: Any, text: Any, request: gr.Request) -> Any:
        return _frame(ctx, selection, text, request.session_hash) if tab == "attention" else gr.skip()

    def update_view(selection: Any, tab: Any, text: Any, head: Any, name: Any, *values: Any) -> Any:
        if tab != "attention" or name not in VIEWS:
            return gr.skip()
        view_parts = parts.views[name]
        by_component = dict(zip(view_inputs, values, strict=True))
        own_values = [by_component[component] for component in view_parts.inputs]

        def show() -> Any:
            inspected = ctx.inspections.view(selection, text)
            with ctx.fair_queue.slot():
                return VIEWS[name].show(ctx, view_parts, inspected, head, *own_values)

        return _show_or_clear(ctx, selection, text, show, view_parts.outputs)

    # The time bar announces its moves in the browser: the text view knows which frames it has already and asks for
    # others with `request_frame`.
    for event in (reading.request_frame, *_reload_events(ctx, parts)):
        event(update_frame, inputs[:3], frame_outputs, **UNQUEUED, **MULTIPLE).then(
            update_view, inputs, view_outputs, **UNQUEUED
        )
    reading.request_view(update_view, inputs, view_outputs, **UNQUEUED, **MULTIPLE)
    parts.text.change(update_frame, inputs[:3], frame_outputs, trigger_mode="always_last", **UNQUEUED).then(
        update_view, inputs, view_outputs, **UNQUEUED
    )
    # One at a time, then the latest: a late answer must not overwrite the answer to a later request.
    changes = [component.change for component in (parts.view, *view_inputs)]
    gr.on(changes, update_view, inputs, view_outputs, trigger_mode="always_last", **UNQUEUED)
    parts.grid.change(
        lambda *values: update_view(*values) if values[4] in VIEWS_OF_ONE_HEAD else gr.skip(),
        inputs, view_outputs, **UNQUEUED, **MULTIPLE,
    )  # fmt: skip


def _frame(ctx: Context, selection: Any, text: Any, session: str | None) -> tuple[Any, ...]:
    """Return updates for the frame, the Rank button, the note, the problem, its button, and the text."""
    try:
        with ctx.fair_queue.slot():
            view = ctx.inspections.view(selection, text)
            effects, rank = ranking.update(ctx, view, session)
            frame = attention_map.frame_value(ctx, view, effects)
        return frame, rank, view.about, "", gr.Button(visible=False), gr.skip()
    except Exception as error:
        ctx.active_streams.cancel(session, ranking.PLACE)
        return _problem(ctx, selection, text, error)


def _show_or_clear(ctx: Context, selection: Any, text: Any, show: Any, outputs: list[Any]) -> Any:
    """Return the updates of `show`. On an error, clear the outputs, or keep them if only the text is invalid."""
    try:
        return show()
    except Exception as error:
        error_message(error)  # logs unexpected errors; update_frame() reports the others beside the text
        return gr.skip() if _invalid_text(ctx, selection, text) else dict.fromkeys(outputs)


def _wire_overview(ctx: Context, parts: Parts) -> None:
    """Update the fold about the whole model while it is open."""
    overview = parts.overview
    inputs = [ctx.selection, ctx.tab, parts.text, overview.opened]

    def updates(show: Any) -> Any:
        def update(selection: Any, tab: Any, text: Any, opened: Any) -> Any:
            if tab != "attention" or not opened:
                return gr.skip()

            def run() -> Any:
                with ctx.fair_queue.slot():
                    return show(ctx, overview, ctx.inspections.view(selection, text))

            return _show_or_clear(ctx, selection, text, run, overview.outputs)

        return update

    show_map, show_context = updates(model_overview.show_map), updates(model_overview.show_context)
    show_context_of_text = updates(model_overview.show_context_of_text)
    parts.text.change(show_context_of_text, inputs, overview.outputs, **UNQUEUED, **MULTIPLE)
    opening = overview.fold.expand(lambda: True, None, overview.opened, js=FOLD.format("'open'"), **UNQUEUED)
    overview.fold.collapse(lambda: False, None, overview.opened, js=FOLD.format("''"), **UNQUEUED)
    events = parts.views["looks"].reading.request_overview, *_reload_events(ctx, parts)
    maps = [event(show_map, inputs, overview.outputs, **UNQUEUED, **MULTIPLE) for event in events]
    for shown in (opening.then(show_map, inputs, overview.outputs, **UNQUEUED), *maps):
        shown.then(show_context, inputs, overview.outputs, **UNQUEUED)


def _reload_events(ctx: Context, parts: Parts) -> tuple[Any, ...]:
    """The events after which everything is shown again: the tab was opened, or a run's text was downloaded."""
    return ctx.tab.change, parts.ranking.fetching.offer.arrived


def _invalid_text(ctx: Context, selection: Any, text: Any) -> bool:
    """Return whether only the text is invalid. The outputs then stay, because the user is typing."""
    try:
        return not text or bool(ctx.inspections.unknown(selection, text))
    except InputError:
        return False


def _problem(ctx: Context, selection: Any, text: Any, error: Exception) -> tuple[Any, ...]:
    """Return the updates of _frame() for an error: the message, and a button that removes unknown characters."""
    problem, no_drop = error_message(error), gr.Button(visible=False)
    if not _invalid_text(ctx, selection, text):  # there is no model
        return {"note": problem}, gr.Button(interactive=False), "", "", no_drop, gr.skip()
    if text == EXAMPLE_TEXT:  # the user did not type it: replace it by a text that the model can read
        return *[gr.skip()] * 3, "", no_drop, ctx.inspections.example(selection, EXAMPLE_TEXT)
    return *[gr.skip()] * 3, problem, gr.Button(visible=bool(text)), gr.skip()


def _wire_url(ctx: Context, parts: Parts) -> None:
    """Keep the chosen head and view in the page's URL."""

    def restore(request: gr.Request) -> tuple[Any, Any]:
        """Return head and view of the URL. Numbers beyond the model's heads are clipped when they are used."""
        query = request.query_params
        head = {name: query.get(name, "") for name in ("layer", "head")}
        valid = all(value.isdecimal() and len(value) < 4 for value in head.values())
        view = query.get("lens", "")
        return (
            {name: int(value) for name, value in head.items()} if valid else gr.skip(),
            view if view in VIEWS else gr.skip(),
        )

    ctx.demo.load(restore, None, [parts.grid, parts.view], api_visibility="private", show_progress="hidden")
    remember = browser_call("attention/inspection_store.js", "rememberHead", "head")
    parts.grid.change(None, parts.grid, None, js=remember, api_visibility="private", **MULTIPLE)
    parts.view.change(None, parts.view, None, js=TURNED, api_visibility="private", **MULTIPLE)
