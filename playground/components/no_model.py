"""What a tab shows while there is no model: a sentence and a button that opens Corpus."""

from __future__ import annotations

import gradio as gr

from playground.components import sentences
from playground.components.text import line
from playground.context import Context
from playground.handlers import UNQUEUED


def empty(ctx: Context, place: str, sentence: str) -> None:
    """Create and wire the placeholder. It replaces columns of the class "when-runs" (style.css)."""
    with gr.Column(elem_id=f"{place}-empty", elem_classes="when-no-runs"):
        line(f"{place}-none", sentence, "lead")
        add_text = gr.Button(sentences.ADD_TEXT, variant="primary", elem_id=f"{place}-bring")
    add_text.click(lambda: ctx.open_tab("corpus"), None, ctx.tabs, **UNQUEUED)
