"""Attention: every head over a text of your own, and one lens at a time to look at them through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.attention.components.attention_grid import attention_grid
from playground.attention.lens import Around
from playground.attention.views import ablation as mattering
from playground.attention.views import attention_map as looking
from playground.attention.views import head_types as naming
from playground.attention.views import logit_lens as layering
from playground.attention.views import model_overview as whole
from playground.attention.views import ranking
from playground.components.factory import browser_call
from playground.components.no_model import empty
from playground.components.text import line
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, error_message, report_errors

TEXT = "The old clock said that the old cl"  # there is something to look for, and layers that do not agree
NO_MODEL = "Nothing to look into yet. Bring a text, train a model on it, and every head of it appears here."
WAITING = "Every head of the model appears here as soon as there is a snapshot."
LENSES: dict[str, Any] = {"looks": looking, "matters": mattering, "names": naming, "layers": layering}
TITLES = {
    "looks": "Where it looks",
    "matters": "Does it matter?",
    "names": "What is it?",
    "layers": "Layer by layer",
}
OF_ONE_HEAD = ("looks", "names")
# Which lens is open is for the style sheet to know: all are in the page, so that turning to one is instant.
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
    lens: gr.Radio
    lenses: dict[str, Any]
    whole: whole.Parts


def layout(ctx: Context) -> Parts:
    empty(ctx, "attention", NO_MODEL)
    with gr.Column(elem_id="attention-main", elem_classes="when-runs"):
        text = gr.Textbox(TEXT, label="Text", lines=1, max_lines=4, elem_id="attention-text")
        about = line("attention-about")
        with gr.Row(elem_classes="problem-row"):
            problem = line("attention-problem", elem_classes="problem")
            drop = gr.Button("Drop them", size="sm", visible=False, elem_id="attention-drop", scale=0)
        with gr.Row(elem_classes="attention-view"):
            with gr.Column(scale=0, min_width=280, elem_classes="attention-heads"):
                grid = attention_grid(elem_id="attention-grid", empty=WAITING)
                rank = ranking.layout(ctx)
            with gr.Column(scale=1, min_width=300, elem_classes="attention-lens"):
                lens, lenses = _lenses(ctx)
        model = whole.layout(ctx)
    return Parts(text, about, problem, drop, grid, rank, lens, lenses, model)


def _lenses(ctx: Context) -> tuple[gr.Radio, dict[str, Any]]:
    """The choice of a lens, and what each of them consists of."""
    lens = gr.Radio(
        [(TITLES[name], name) for name in LENSES], value="looks", show_label=False, elem_id="attention-lens",
        elem_classes="segments", container=False,
    )  # fmt: skip
    lenses = {}
    for name, module in LENSES.items():
        with gr.Column(elem_classes=f"lens lens-{name}", min_width=0):
            lenses[name] = module.layout(ctx)
    return lens, lenses


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    around = Around(parts.text, parts.grid, parts.problem)
    ranking.wire(ctx, parts.ranking, around)
    for name, module in LENSES.items():
        module.wire(ctx, parts.lenses[name], around)
    _wire_view(ctx, parts)
    _wire_whole(ctx, parts)
    _wire_address(ctx, parts)

    @report_errors
    def drop_unknown(selection: Any, text: str) -> str:
        unknown = ctx.inspections.unknown(selection, text)
        return "".join(character for character in text if character not in unknown)

    parts.drop.click(drop_unknown, [ctx.selection, parts.text], parts.text, api_visibility="private")


def _wire_view(ctx: Context, parts: Parts) -> None:
    """Whatever is looked at changes: first all heads, for the grid, then the open lens."""
    reading = parts.lenses["looks"].reading
    grid = [reading, parts.ranking.rank, parts.about, parts.problem, parts.drop, parts.text]
    asked = [part for lens in parts.lenses.values() for part in lens.asked]
    shown = [part for lens in parts.lenses.values() for part in lens.shown]
    inputs = [ctx.selection, ctx.tab, parts.text, parts.grid, parts.lens, *asked]

    def look(selection: Any, tab: Any, text: Any, request: gr.Request) -> Any:
        if tab != "attention":
            return gr.skip()
        try:
            with ctx.fair_queue.slot():
                view = ctx.inspections.view(selection, text)
                effects, rank = ranking.known(ctx, view, request.session_hash)
                frame = looking.framed(ctx, view, effects)
            return frame, rank, view.about, "", gr.Button(visible=False), gr.skip()
        except Exception as error:
            ctx.active_streams.cancel(request.session_hash, ranking.PLACE)
            return _refused(ctx, selection, text, error)

    def show(selection: Any, tab: Any, text: Any, head: Any, lens: Any, *values: Any) -> Any:
        if tab != "attention" or lens not in LENSES:
            return gr.skip()
        its = parts.lenses[lens]
        try:
            own = dict(zip(asked, values, strict=True))
            view = ctx.inspections.view(selection, text)
            with ctx.fair_queue.slot():
                return LENSES[lens].show(ctx, its, view, head, *(own[part] for part in its.asked))
        except Exception as error:
            error_message(error)  # a defect goes to the log; what is wrong with the question, look() has said already
            return gr.skip() if _unreadable(ctx, selection, text) else dict.fromkeys(its.shown)

    # What the time bar brings, the text view asks for: it knows which frames are here already.
    for moment in (reading.ask, *_opened(ctx, parts)):
        moment(look, inputs[:3], grid, **UNQUEUED, **MULTIPLE).then(show, inputs, shown, **UNQUEUED)
    reading.turn(show, inputs, shown, **UNQUEUED, **MULTIPLE)
    parts.text.change(look, inputs[:3], grid, trigger_mode="always_last", **UNQUEUED).then(
        show, inputs, shown, **UNQUEUED
    )
    # One at a time, the newest last: a late answer must not overwrite the one to a later question.
    gr.on([part.change for part in (parts.lens, *asked)], show, inputs, shown, trigger_mode="always_last", **UNQUEUED)
    parts.grid.change(
        lambda *values: show(*values) if values[4] in OF_ONE_HEAD else gr.skip(),
        inputs,
        shown,
        **UNQUEUED,
        **MULTIPLE,
    )


def _wire_whole(ctx: Context, parts: Parts) -> None:
    """The fold on the whole model costs nothing while it is closed."""
    inputs = [ctx.selection, ctx.tab, parts.text, parts.whole.opened]

    def shows(what: Any) -> Any:
        def show(selection: Any, tab: Any, text: Any, opened: Any) -> Any:
            if tab != "attention" or not opened:
                return gr.skip()
            try:
                with ctx.fair_queue.slot():
                    return what(ctx, parts.whole, ctx.inspections.view(selection, text))
            except Exception as error:
                error_message(error)
                return gr.skip() if _unreadable(ctx, selection, text) else dict.fromkeys(parts.whole.shown)

        return show

    show_map, show_meter = shows(whole.show_map), shows(whole.show_meter)
    parts.text.change(shows(whole.show_meter_of_text), inputs, parts.whole.shown, **UNQUEUED, **MULTIPLE)
    opening = parts.whole.fold.expand(lambda: True, None, parts.whole.opened, js=FOLD.format("'open'"), **UNQUEUED)
    parts.whole.fold.collapse(lambda: False, None, parts.whole.opened, js=FOLD.format("''"), **UNQUEUED)
    moments = parts.lenses["looks"].reading.whole, *_opened(ctx, parts)
    moving = [moment(show_map, inputs, parts.whole.shown, **UNQUEUED, **MULTIPLE) for moment in moments]
    for shown in (opening.then(show_map, inputs, parts.whole.shown, **UNQUEUED), *moving):
        shown.then(show_meter, inputs, parts.whole.shown, **UNQUEUED)


def _opened(ctx: Context, parts: Parts) -> tuple[Any, ...]:
    """What brings this tab before the eyes, or a text to judge the model by."""
    return ctx.tab.change, parts.ranking.fetching.offer.arrived


def _unreadable(ctx: Context, selection: Any, text: Any) -> bool:
    """Whether only the text is the matter. What was seen of the text before stays then: somebody is typing."""
    try:
        return not text or bool(ctx.inspections.unknown(selection, text))
    except InputError:
        return False


def _refused(ctx: Context, selection: Any, text: Any, error: Exception) -> tuple[Any, ...]:
    """Updates where a text cannot be shown: the sentence, and the offer to drop what the model does not know."""
    problem, no_drop = error_message(error), gr.Button(visible=False)
    if not _unreadable(ctx, selection, text):  # there is no model
        return {"note": problem}, gr.Button(interactive=False), "", "", no_drop, gr.skip()
    if text == TEXT:  # nobody typed it: let the model have a text that it can read
        return *[gr.skip()] * 3, "", no_drop, ctx.inspections.example(selection, TEXT)
    return *[gr.skip()] * 3, problem, gr.Button(visible=bool(text)), gr.skip()


def _wire_address(ctx: Context, parts: Parts) -> None:
    """The chosen head and lens are in the page's address."""

    def restore(request: gr.Request) -> tuple[Any, Any]:
        """What the address names; numbers that no model has are put right where they are used."""
        query = request.query_params
        head = {name: query.get(name, "") for name in ("layer", "head")}
        known = all(value.isdecimal() and len(value) < 4 for value in head.values())
        lens = query.get("lens", "")
        return (
            {name: int(value) for name, value in head.items()} if known else gr.skip(),
            lens if lens in LENSES else gr.skip(),
        )

    ctx.demo.load(restore, None, [parts.grid, parts.lens], api_visibility="private", show_progress="hidden")
    remember = browser_call("attention/inspection_store.js", "rememberHead", "head")
    parts.grid.change(None, parts.grid, None, js=remember, api_visibility="private", **MULTIPLE)
    parts.lens.change(None, parts.lens, None, js=TURNED, api_visibility="private", **MULTIPLE)
