"""What a tab about models says where none has been trained yet, and the way to a first one."""

from __future__ import annotations

import gradio as gr

from playground.components.text import line
from playground.context import Context
from playground.handlers import UNQUEUED


def empty(ctx: Context, place: str, sentence: str) -> None:
    """Shown instead of what stands in columns of the class "when-runs" (style.css), and wired."""
    with gr.Column(elem_id=f"{place}-empty", elem_classes="when-no-runs"):
        line(f"{place}-none", sentence, "lead")
        bring = gr.Button("Bring a text →", variant="primary", elem_id=f"{place}-bring")
    bring.click(lambda: ctx.open_tab("corpus"), None, ctx.tabs, **UNQUEUED)
