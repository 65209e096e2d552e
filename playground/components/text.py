"""Words that come from people, texts and models: drawn with textContent, so that nothing in them can act."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from playground.components import asset

WRITING = """<div class="writing" tabindex="0" role="group" aria-label="LABEL"><span class="prompt"></span><span
class="text"></span><span class="note"></span></div>"""


def line(elem_id: str, value: str = "", elem_classes: str = "quiet") -> gr.HTML:
    """One sentence; an empty one takes no room."""
    return _component(value, '<p class="line"></p>', "components/line.js", elem_id, elem_classes)


def numbers(elem_id: str) -> gr.HTML:
    """A few facts; the value is a list of [name, number as text]."""
    return _component([], '<dl class="numbers"></dl>', "components/numbers.js", elem_id)


def writing(elem_id: str, label: str, note: str = "") -> gr.HTML:
    """A block of writing in a fixed frame, 60 characters wide; the value is what `written` makes."""
    return _component(
        written(note=note), WRITING.replace("LABEL", escape(label)), "components/text_view/writing.js", elem_id
    )


def written(prompt: str = "", text: str = "", note: str = "") -> dict[str, Any]:
    """The prompt and what the model has written so far, or a sentence instead.

    While a generator yields a growing `text`, Gradio sends only what was added.
    """
    return {"prompt": prompt, "text": text, "note": note}


def _component(value: Any, template: str, script: str, elem_id: str, elem_classes: str = "") -> gr.HTML:
    return gr.HTML(
        value,
        html_template=template,
        js_on_load=asset(script),
        elem_id=elem_id,
        elem_classes=elem_classes,
        apply_default_css=False,
    )
