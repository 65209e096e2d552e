"""Bar charts of labeled amounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<p class="bars-caption" hidden></p>
<ol class="bars"></ol>
<p class="bars-legend quiet" hidden></p>
"""


@dataclass(frozen=True)
class Bar:
    """One bar. Optional amounts that are None are not drawn."""

    label: str
    value: float | None  # None: only `text`
    text: str = ""  # the formatted amount
    before: float | None = None  # the previous amount, drawn in gray above it
    mark: float | None = None  # a reference, drawn as a vertical line
    strong: bool = False


def bars(elem_id: str) -> gr.HTML:
    """A bar chart. Its value comes from `bars_value`."""
    return component("attention/components/bars.js", TEMPLATE, elem_id=elem_id)


def bars_value(rows: Sequence[Bar], caption: str = "", legend: str = "", most: float = 0.0) -> dict[str, Any]:
    """Return the value of a `bars`: one scale that reaches at least `most`, a caption above and a legend below."""
    return {"rows": [asdict(row) for row in rows], "caption": caption, "legend": legend, "most": most}
