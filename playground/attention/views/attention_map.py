"""Where it looks: the chosen head as a heatmap, and as the text itself."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from nanollm.charts.attention import attention_figure, attention_frame
from nanollm.charts.base import write_html
from playground.attention.components.attention_grid import attention_text, chosen_head
from playground.attention.lens import Around, call, python_call, statement
from playground.attention.views import head_types as naming
from playground.attention.views import ranking
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.context import Context
from playground.handlers import UNQUEUED, error_message, report_errors
from playground.services.inspections import View

SEEN = "Point at a character, or use the arrow keys: where the chosen head looks from there lights up."
CAUTION = "Bright means: it looked there. Whether that mattered for what it wrote is another question."


@dataclass
class Parts:
    reading: gr.HTML
    heatmap: gr.HTML
    save: gr.Button
    saved: gr.DownloadButton
    python: gr.Textbox

    @property
    def asked(self) -> list[Any]:
        return []

    @property
    def shown(self) -> list[Any]:
        return [self.heatmap, self.python]


def layout(ctx: Context) -> Parts:
    statement("looking", SEEN, CAUTION)
    reading = attention_text(elem_id="attention-reading", frame=_frame(ctx))
    heatmap = plotly_chart(
        label="The chosen head: rows look, columns are looked at", elem_id="attention-heatmap", height=560, square=True,
        empty="The chosen head appears here, large.", fill="attention/figures.js:heatmap",
    )  # fmt: skip
    with gr.Row(elem_classes="footer-row"):
        save = gr.Button("Save as HTML", size="sm", elem_id="attention-save")
        saved = gr.DownloadButton(elem_id="attention-saved", elem_classes="unseen")
    return Parts(reading, heatmap, save, saved, python_call("looking"))


def _frame(ctx: Context) -> Any:
    """What the page calls for the frames beside the one that is shown. It can be called from anywhere."""

    def frame(asked: Any) -> dict[str, Any] | None:
        try:
            view = ctx.inspections.view(asked, asked.get("text") if isinstance(asked, dict) else None)
            return framed(ctx, view, ranking.told(ctx, view))
        except Exception as error:
            error_message(error)  # who rests on it will be told
            return None

    return frame


def framed(ctx: Context, view: View, effects: dict[str, Any] | None) -> dict[str, Any]:
    """A value of the text view: the weights, and what is known of the heads, as far as nothing is computed for it."""
    return {**ctx.inspections.frame(view), "run": view.run.id, "names": naming.known(ctx, view), "effects": effects}


def show(ctx: Context, parts: Parts, view: View, head: Any) -> dict[Any, Any]:
    """The heatmap without its cells, which the browser has; the text view is filled by the tab, for all lenses."""
    config = view.loaded.model.config
    layer, which = chosen_head(head, config.num_layers, config.heads)
    figure = attention_frame(list(view.text), revision=str(len(view.text)), palette=TOKENS)
    python = call(
        "from nanollm.explain.attention import attention_map",
        view.name,
        f"seen = attention_map(loaded.model, loaded.tokenizer, {view.text!r})",
        f"seen.weights[{layer}, {which}]  # (T, T): row t is where character t looks; counted from 0",
    )
    return {parts.heatmap: figure, parts.python: python}


def wire(ctx: Context, parts: Parts, around: Around) -> None:
    shelf = tempfile.TemporaryDirectory(prefix="nanollm-")  # gone with the page's process

    @report_errors
    @ctx.fair_queue.limit
    def save(selection: Any, text: Any, head: Any, request: gr.Request) -> str:
        """The heatmap as a file that opens anywhere."""
        seen = ctx.inspections.attention(ctx.inspections.view(selection, text))
        layer, which = chosen_head(head, *seen.weights.shape[:2])
        figure = attention_figure(seen.weights[layer, which], seen.characters)
        path = Path(tempfile.mkdtemp(prefix=f"{request.session_hash}-", dir=shelf.name))
        path /= f"attention-L{layer + 1}-H{which + 1}.html"
        write_html(figure, path)
        return str(path)

    def clear(request: gr.Request) -> None:
        """It has 5 MB; what the browser downloads is Gradio's copy."""
        for folder in Path(shelf.name).glob(f"{request.session_hash}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    parts.save.click(
        save, [ctx.selection, around.text, around.grid], parts.saved, api_visibility="private", show_progress="hidden"
    ).success(None, js="() => document.getElementById('attention-saved').click()", api_visibility="private").then(
        clear, None, None, **UNQUEUED
    )
