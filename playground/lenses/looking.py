"""Where it looks: the chosen head as a heatmap, and as the text itself."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from nanollm.charts import attention_figure, write_html
from playground.components.attention_grid import attention_text, chosen_head
from playground.components.lens import Around, call, python_call, statement
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.components.text import line
from playground.context import Context, polite
from playground.inside import View

SEEN = "Point at a character, or use the arrow keys: where the chosen head looks from there lights up."
CAUTION = "Bright means: it looked there. Whether that mattered for what it wrote is another question."


@dataclass
class Parts:
    reading: gr.HTML
    about: gr.HTML
    heatmap: gr.HTML
    save: gr.Button
    saved: gr.DownloadButton
    python: gr.Textbox

    @property
    def asked(self) -> list[Any]:
        return []

    @property
    def shown(self) -> list[Any]:
        return [self.heatmap, self.about, self.python]


def layout(ctx: Context) -> Parts:
    statement("looking", SEEN, CAUTION)
    reading = attention_text(elem_id="attention-reading")
    about = line("attention-about")
    heatmap = plotly_chart(
        label="The chosen head: rows look, columns are looked at", elem_id="attention-heatmap", height=560, square=True,
        empty="The chosen head appears here, large.", fill="heatmap",
    )  # fmt: skip
    with gr.Row(elem_classes="footer-row"):
        save = gr.Button("Save as HTML", size="sm", elem_id="attention-save")
        saved = gr.DownloadButton(elem_id="attention-saved", elem_classes="unseen")
    return Parts(reading, about, heatmap, save, saved, python_call("looking"))


def show(ctx: Context, parts: Parts, view: View, head: Any) -> dict[Any, Any]:
    """The heatmap without its cells, which the browser has; the text view is filled by the tab, for all lenses."""
    config = view.loaded.model.config
    layer, which = chosen_head(head, config.num_layers, config.heads)
    seen = ctx.inside.attention(view)
    figure = attention_figure(seen.weights[layer, which], seen.characters, revision=str(len(view.text)), palette=TOKENS)
    figure["data"][0] |= {"z": [], "text": []}
    python = call(
        "from nanollm.explain.attention import attention_map",
        view.name,
        f"seen = attention_map(loaded.model, loaded.tokenizer, {view.typed!r})",
        f"seen.weights[{layer}, {which}]  # (T, T): row t is where character t looks; counted from 0",
    )
    return {parts.heatmap: figure, parts.about: view.about, parts.python: python}


def wire(ctx: Context, parts: Parts, around: Around) -> None:
    @polite
    def save(selection: Any, text: Any, head: Any) -> str:
        """The heatmap as a file that opens anywhere."""
        seen = ctx.inside.attention(ctx.inside.view(selection, text))
        layer, which = chosen_head(head, *seen.weights.shape[:2])
        figure = attention_figure(seen.weights[layer, which], seen.characters)
        path = Path(tempfile.mkdtemp(prefix="nanollm-")) / f"attention-L{layer + 1}-H{which + 1}.html"
        write_html(figure, path)
        return str(path)

    parts.save.click(
        save, [ctx.selection, around.text, around.grid], parts.saved, api_visibility="private", show_progress="hidden"
    ).success(None, js="() => document.getElementById('attention-saved').click()", api_visibility="private")
