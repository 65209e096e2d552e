"""Components of the logit lens: the choice of a place in the text, and the table of the layers' predictions there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from playground.components.factory import component

PLACE = """
<div class="text-view" tabindex="0" hidden role="slider" aria-label="Position in the text"
  aria-valuemin="0" aria-valuenow="0"></div>
"""
TABLE = """
<div class="table-scroll"><table class="layer-table"><tbody></tbody></table></div>
<p class="quiet table-note"></p>
"""


def place(elem_id: str) -> gr.HTML:
    """The text of the page's attention_text. The value is the chosen position, from 0, or None for the last one."""
    return component("attention/components/position.js", PLACE, elem_id=elem_id)


def layer_table(elem_id: str) -> gr.HTML:
    """A table whose value comes from `layer_table_value`. A click on a character triggers `pick` with {"character"}."""
    return component("attention/components/layer_table.js", TABLE, events=("pick",), elem_id=elem_id)


def layer_table_value(
    rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], picked: str, note: str
) -> dict[str, Any]:
    """Build the value of a layer_table: per layer a label and its most likely characters with their probabilities."""
    table = [
        {"label": label, "characters": [{"character": c, "share": float(f"{p:.4g}")} for c, p in characters]}
        for label, characters in rows
    ]
    return {"rows": table, "picked": picked, "note": note}


def parse_place(value: Any, length: int) -> int:
    """Return a place's value as an index into a text of `length` characters; the last one if it is invalid."""
    is_index = isinstance(value, int) and not isinstance(value, bool)
    return value if is_index and 0 <= value < length else length - 1
