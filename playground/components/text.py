"""Texts from users, corpora and models: drawn with textContent, so that markup in them has no effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from playground.components import sentences
from playground.components.factory import component
from playground.context import Context
from playground.handlers import UNQUEUED

WRITING = """<div class="writing" tabindex="0" role="group" aria-label="{label}"><span class="prompt"></span><span
class="text"></span><span class="note"></span></div>"""
ONE = """<div class="one"><p class="title quiet"></p><div class="writing" tabindex="0"></div></div>"""
SCRIPT = "components/text.js"


def line(elem_id: str, value: str = "", elem_classes: str = "quiet") -> gr.HTML:
    """One sentence; an empty one takes no space."""
    return component(SCRIPT, '<p class="line"></p>', value, elem_id=elem_id, elem_classes=elem_classes, mount="line")


def numbers(elem_id: str) -> gr.HTML:
    """A list of named numbers; the value maps names to formatted numbers."""
    return component(SCRIPT, '<dl class="numbers"></dl>', {}, elem_id=elem_id, mount="numbers")


def writing(elem_id: str, label: str, note: str = "") -> gr.HTML:
    """Generated text in a fixed frame, 60 characters wide; the value comes from `writing_value`."""
    return component(SCRIPT, WRITING, writing_value(note=note), elem_id=elem_id, label=label, mount="writing")


def writing_value(prompt: str = "", text: str = "", note: str = "") -> dict[str, Any]:
    """Return the value of a `writing`: the prompt and the text generated so far, or a note instead.

    While a generator yields a growing `text`, Gradio sends only what was appended.
    """
    return {"prompt": prompt, "text": text, "note": note}


def text_pair(elem_id: str) -> gr.HTML:
    """Two texts side by side. The value comes from `text_pair_value`."""
    return component(SCRIPT, f'<div class="text-pair">{ONE}{ONE}</div>', elem_id=elem_id, mount="textPair")


def text_pair_value(
    prompt: str, texts: Sequence[str], titles: Sequence[str], difference: int | None = None
) -> dict[str, Any]:
    """Return the value of a `text_pair`: one or two continuations of a prompt, and the index where they differ."""
    return {"prompt": prompt, "texts": list(texts), "titles": list(titles), "difference": difference}


def no_model(ctx: Context, tab: str, sentence: str) -> None:
    """Show a sentence and a button that opens Corpus while there is no model; replaces the columns "when-runs"."""
    with gr.Column(elem_id=f"{tab}-empty", elem_classes="when-no-runs"):
        line(f"{tab}-none", sentence, "lead")
        add_text = gr.Button(sentences.ADD_TEXT, variant="primary", elem_id=f"{tab}-bring")
    add_text.click(lambda: ctx.open_tab("corpus"), None, ctx.tabs, **UNQUEUED)
