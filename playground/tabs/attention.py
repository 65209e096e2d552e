"""Attention: every head over a text of your own, one of them large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.charts import attention_figure
from nanollm.errors import InputError
from nanollm.explain.attention import AttentionMap, attention_map
from playground.components.attention_grid import attention_grid, attention_text, chosen_head, packed
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.components.text import line
from playground.context import EACH, QUIET, Context, chosen, polite, sentence

TEXT = "The old clock said that the old clock was right."
MOST = 128  # characters drawn at once: more would be finer than a screen
CAUTION = "Bright means: it looked there. Whether that mattered for what it wrote is another question."
WAITING = "Every head of the model appears here as soon as there is a snapshot."


@dataclass
class Parts:
    text: gr.Textbox
    problem: gr.HTML
    drop: gr.Button
    grid: gr.HTML
    about: gr.HTML
    reading: gr.HTML
    heatmap: gr.HTML


def layout(ctx: Context) -> Parts:
    text = gr.Textbox(TEXT, label="Text", lines=1, max_lines=4, elem_id="attention-text")
    with gr.Row(elem_classes="problem-row"):
        problem = line("attention-problem", elem_classes="problem")
        drop = gr.Button("Drop them", size="sm", visible=False, elem_id="attention-drop", scale=0)
    line("attention-caution", CAUTION, "caution")
    with gr.Row(elem_classes="attention-view"):
        with gr.Column(scale=0, min_width=280, elem_classes="attention-heads"):
            grid = attention_grid(elem_id="attention-grid", empty=WAITING)
        with gr.Column(scale=1, min_width=300):
            reading = attention_text(elem_id="attention-reading")
            about = line("attention-about")
            heatmap = plotly_chart(
                label="The chosen head", elem_id="attention-heatmap", height=560, square=True,
                empty="The chosen head appears here, large.",
            )  # fmt: skip
    return Parts(text, problem, drop, grid, about, reading, heatmap)


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    asked = [ctx.selection, ctx.tab, parts.text, parts.grid]
    shown = [parts.reading, parts.heatmap, parts.about, parts.problem, parts.drop]

    def look(selection: Any, tab: Any, text: Any, head: Any) -> Any:
        if tab != "attention":
            return gr.skip()
        try:
            seen = _attention(ctx, selection, text)
        except Exception as error:
            return (*_nothing(ctx, selection, text, error),)
        return (
            packed(seen.weights, seen.characters),
            _heatmap(seen, head),
            _about(seen, str(text)),
            "",
            gr.Button(visible=False),
        )

    def choose(selection: Any, tab: Any, text: Any, head: Any) -> Any:
        try:
            return _heatmap(_attention(ctx, selection, text), head) if tab == "attention" else gr.skip()
        except Exception:
            return gr.skip()  # look() has said it already

    def restore(request: gr.Request) -> Any:
        """The head that the address names; numbers that no model has are put right where they are used."""
        query = {name: request.query_params.get(name, "") for name in ("layer", "head")}
        if not all(value.isdecimal() and len(value) < 4 for value in query.values()):
            return gr.skip()
        return {name: int(value) for name, value in query.items()}

    @polite
    def drop_unknown(selection: Any, text: Any) -> str:
        unknown = ctx.models.get(*chosen(selection)).tokenizer.unknown(text)
        return "".join(character for character in text if character not in unknown)

    for moment in (ctx.selection.change, ctx.tab.change, parts.text.change):
        moment(look, asked, shown, **QUIET, **EACH)
    parts.grid.change(choose, asked, parts.heatmap, **QUIET, **EACH)
    parts.drop.click(drop_unknown, [ctx.selection, parts.text], parts.text, api_visibility="private")
    ctx.demo.load(restore, None, parts.grid, api_visibility="private", show_progress="hidden")
    parts.grid.change(
        None, parts.grid, None, js="(head) => window.nano.remember(head || {})", api_visibility="private", **EACH
    )


def _attention(ctx: Context, selection: Any, text: Any) -> AttentionMap:
    """The weights over the end of the text. Raises InputError if there is no snapshot, or for a text it cannot read."""
    loaded = ctx.models.get(*chosen(selection))
    text = text if isinstance(text, str) else ""
    loaded.tokenizer.encode(text)  # an unknown character is named even where the end of the text does not hold it
    return attention_map(loaded.model, loaded.tokenizer, text[-MOST:])


def _heatmap(seen: AttentionMap, head: Any) -> dict[str, Any]:
    layer, which = chosen_head(head, *seen.weights.shape[:2])
    return attention_figure(seen.weights[layer, which], seen.characters, revision=str(len(seen.text)), palette=TOKENS)


def _about(seen: AttentionMap, text: str) -> str:
    """Which part of a long text is shown, and why."""
    size = len(seen.text)
    if size == len(text):
        return ""
    if size < MOST:
        return f"Shown: the last {size} of {len(text):,} characters. This model sees no more at once."
    return f"Shown: the last {size} of {len(text):,} characters. The page draws no more at once."


def _nothing(ctx: Context, selection: Any, text: Any, error: Exception) -> list[Any]:
    """Updates for a text that cannot be shown: the sentence, and the offer to drop what the model does not know."""
    problem, unknown = sentence(error), False
    try:
        unknown = bool(ctx.models.get(*chosen(selection)).tokenizer.unknown(str(text)))
    except InputError:
        return [{"note": problem}, None, "", "", gr.Button(visible=False)]
    return [gr.skip(), gr.skip(), gr.skip(), problem, gr.Button(visible=unknown)]
