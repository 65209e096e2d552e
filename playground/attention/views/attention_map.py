"""The Attention view: where the chosen head looks, as a heatmap and in the text itself."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from nanollm.charts.attention import attention_figure, attention_frame
from nanollm.charts.base import write_html
from playground.attention import sentences
from playground.attention.components.attention_grid import attention_text, parse_head
from playground.attention.view_frame import SharedInputs, introduction, python_code, python_fold
from playground.attention.views import head_types, ranking
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.context import Context
from playground.handlers import UNQUEUED, error_message, report_errors

if TYPE_CHECKING:
    from playground.services.inspections import View


@dataclass
class Parts:
    reading: gr.HTML
    heatmap: gr.HTML
    save: gr.Button
    saved: gr.DownloadButton
    python: gr.Textbox

    @property
    def inputs(self) -> list[Any]:
        return []

    @property
    def outputs(self) -> list[Any]:
        return [self.heatmap, self.python]


def layout(ctx: Context) -> Parts:
    introduction("looking", sentences.ATTENTION_ABOUT, sentences.ATTENTION_CAUTION)
    reading = attention_text(elem_id="attention-reading", frame=_frame_function(ctx))
    heatmap = plotly_chart(
        label=sentences.HEATMAP_LABEL, elem_id="attention-heatmap", height=560, square=True,
        empty=sentences.HEATMAP_EMPTY, fill="attention/figures.js:heatmap",
    )  # fmt: skip
    with gr.Row(elem_classes="footer-row"):
        save = gr.Button(sentences.SAVE_HTML, size="sm", elem_id="attention-save")
        saved = gr.DownloadButton(elem_id="attention-saved", elem_classes="unseen")
    return Parts(reading, heatmap, save, saved, python_fold("looking"))


def _frame_function(ctx: Context) -> Any:
    """Return the server function with which the browser prefetches frames. Its argument can be anything."""

    def frame(request: Any) -> dict[str, Any] | None:
        try:
            view = ctx.inspections.view(request, request.get("text") if isinstance(request, dict) else None)
            return frame_value(ctx, view, ranking.known_value(ctx, view))
        except Exception as error:
            error_message(error)  # logs it; the user sees the error when the time bar stops at this snapshot
            return None

    return frame


def frame_value(ctx: Context, view: View, effects: dict[str, Any] | None) -> dict[str, Any]:
    """Return a value of the text view: the weights, and the names and effects of heads that are already known."""
    return {
        **ctx.inspections.frame(view),
        "run": view.run.id,
        "names": head_types.known_names(ctx, view),
        "effects": effects,
    }


def show(ctx: Context, parts: Parts, view: View, head: Any) -> dict[Any, Any]:
    """Return the heatmap without its cells, which the browser already has, and the Python code."""
    config = view.loaded.model.config
    layer, index = parse_head(head, config.num_layers, config.heads)
    figure = attention_frame(list(view.text), revision=str(len(view.text)), palette=TOKENS)
    python = python_code(
        "from nanollm.explain.attention import attention_map",
        view.name,
        f"found = attention_map(loaded.model, loaded.tokenizer, {view.text!r})",
        f"found.weights[{layer}, {index}]  # (T, T): row t is what character t attends to; counted from 0",
    )
    return {parts.heatmap: figure, parts.python: python}


def wire(ctx: Context, parts: Parts, shared: SharedInputs) -> None:
    directory = tempfile.TemporaryDirectory(prefix="nanollm-")  # deleted when the page's process ends

    @report_errors
    @ctx.fair_queue.limit
    def save(selection: Any, text: Any, head: Any, request: gr.Request) -> str:
        """Write the heatmap to an HTML file that needs no network, and return its path."""
        found = ctx.inspections.attention(ctx.inspections.view(selection, text))
        layer, index = parse_head(head, *found.weights.shape[:2])
        figure = attention_figure(found.weights[layer, index], found.characters)
        path = Path(tempfile.mkdtemp(prefix=f"{request.session_hash}-", dir=directory.name))
        path /= f"attention-L{layer + 1}-H{index + 1}.html"
        write_html(figure, path)
        return str(path)

    def clear(request: gr.Request) -> None:
        """Delete the file of 5 MB. The browser downloads Gradio's copy of it."""
        for folder in Path(directory.name).glob(f"{request.session_hash}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    parts.save.click(
        save, [ctx.selection, shared.text, shared.grid], parts.saved, api_visibility="private", show_progress="hidden"
    ).success(None, js="() => document.getElementById('attention-saved').click()", api_visibility="private").then(
        clear, None, None, **UNQUEUED
    )
