"""A place in the text to choose, and a table of what each layer would say there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from playground.components.factory import component

PLACE = """
<div class="text-view" tabindex="0" hidden role="slider" aria-label="The place to look at"
  aria-valuemin="0" aria-valuenow="0"></div>
"""
TABLE = """
<div class="table-scroll"><table class="layer-table"><tbody></tbody></table></div>
<p class="quiet table-note"></p>
"""


def place(elem_id: str) -> gr.HTML:
    """The text of the page's attention_text; the value is the chosen place in it, from 0, or None for its end."""
    return component("attention/components/place.js", PLACE, elem_id=elem_id)


def layer_table(elem_id: str) -> gr.HTML:
    """The value is what `said` makes; it fires `pick` with an EventData that carries the chosen `character`."""
    return component("attention/components/layer_table.js", TABLE, events=("pick",), elem_id=elem_id)


def said(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], picked: str, note: str) -> dict[str, Any]:
    """A row for each layer: its label, and its likeliest characters with their probabilities."""
    table = [
        {"label": label, "characters": [{"character": c, "share": float(f"{p:.4g}")} for c, p in likeliest]}
        for label, likeliest in rows
    ]
    return {"rows": table, "picked": picked, "said": note}


def chosen_place(value: Any, length: int) -> int:
    """A place's value as an index into a text of so many characters; odd ones (a browser sends them) are its end."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < length else length - 1
