"""Bar charts of labeled amounts, and two texts side by side, for the views of the Attention tab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from playground.components.factory import component

BARS = """
<p class="bars-caption" hidden></p>
<ol class="bars"></ol>
<p class="bars-legend quiet" hidden></p>
"""
ONE = """<div class="one"><p class="title quiet"></p><div class="writing" tabindex="0"></div></div>"""


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
    """A bar chart. Its value comes from `drawn`."""
    return component("components/bars.js", BARS, elem_id=elem_id)


def drawn(rows: Sequence[Bar], caption: str = "", legend: str = "", most: float = 0.0) -> dict[str, Any]:
    """Return the value of a `bars`: one scale that reaches at least `most`, a caption above and a legend below."""
    return {"rows": [asdict(row) for row in rows], "caption": caption, "legend": legend, "most": most}


def text_pair(elem_id: str) -> gr.HTML:
    """Two texts side by side. The value comes from `compared`."""
    template = f'<div class="text-pair">{ONE}{ONE}</div>'
    return component("attention/components/text_pair.js", template, elem_id=elem_id)


def compared(prompt: str, texts: Sequence[str], titles: Sequence[str], parts_at: int | None = None) -> dict[str, Any]:
    """Return the value of a `text_pair`: one or two continuations of a prompt; `parts_at` is where they differ."""
    return {"prompt": prompt, "texts": list(texts), "titles": list(titles), "parts_at": parts_at}
