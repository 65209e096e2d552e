"""Text from users, corpora and models: drawn with textContent, so that markup in it has no effect."""

from __future__ import annotations

from typing import Any

import gradio as gr

from playground.components.factory import component

WRITING = """<div class="writing" tabindex="0" role="group" aria-label="{label}"><span class="prompt"></span><span
class="text"></span><span class="note"></span></div>"""


def line(elem_id: str, value: str = "", elem_classes: str = "quiet") -> gr.HTML:
    """One sentence; an empty one takes no space."""
    return component(
        "components/text.js", '<p class="line"></p>', value, elem_id=elem_id, elem_classes=elem_classes, mount="line"
    )


def numbers(elem_id: str) -> gr.HTML:
    """A list of named numbers; the value maps names to formatted numbers."""
    return component("components/text.js", '<dl class="numbers"></dl>', {}, elem_id=elem_id, mount="numbers")


def writing(elem_id: str, label: str, note: str = "") -> gr.HTML:
    """Generated text in a fixed frame, 60 characters wide; the value comes from `written`."""
    return component("components/text_view/writing.js", WRITING, written(note=note), elem_id=elem_id, label=label)


def written(prompt: str = "", text: str = "", note: str = "") -> dict[str, Any]:
    """Return the value of a `writing`: the prompt and the text generated so far, or a note instead.

    While a generator yields a growing `text`, Gradio sends only what was appended.
    """
    return {"prompt": prompt, "text": text, "note": note}
