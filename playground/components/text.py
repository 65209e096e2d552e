"""Words that come from people, texts and models: drawn with textContent, so that nothing in them can act."""

from __future__ import annotations

from typing import Any

import gradio as gr

from playground.components.factory import component

WRITING = """<div class="writing" tabindex="0" role="group" aria-label="{label}"><span class="prompt"></span><span
class="text"></span><span class="note"></span></div>"""


def line(elem_id: str, value: str = "", elem_classes: str = "quiet") -> gr.HTML:
    """One sentence; an empty one takes no room."""
    return component("components/line.js", '<p class="line"></p>', value, elem_id=elem_id, elem_classes=elem_classes)


def numbers(elem_id: str) -> gr.HTML:
    """A few facts; the value is a list of [name, number as text]."""
    return component("components/numbers.js", '<dl class="numbers"></dl>', [], elem_id=elem_id)


def writing(elem_id: str, label: str, note: str = "") -> gr.HTML:
    """A block of writing in a fixed frame, 60 characters wide; the value is what `written` makes."""
    return component("components/text_view/writing.js", WRITING, written(note=note), elem_id=elem_id, label=label)


def written(prompt: str = "", text: str = "", note: str = "") -> dict[str, Any]:
    """The prompt and what the model has written so far, or a sentence instead.

    While a generator yields a growing `text`, Gradio sends only what was added.
    """
    return {"prompt": prompt, "text": text, "note": note}
