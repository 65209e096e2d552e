"""Named amounts as bars, and two texts side by side: what the lenses of Attention show their findings with."""

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
    """One amount. None of the optional ones is drawn where it is None."""

    label: str
    value: float | None  # None: only said
    said: str = ""  # the amount in words
    before: float | None = None  # what it was, drawn in grey above it
    mark: float | None = None  # what to compare it with, drawn as a line across
    strong: bool = False


def bars(elem_id: str) -> gr.HTML:
    """The value is what `drawn` makes."""
    return component("components/bars.js", BARS, elem_id=elem_id)


def drawn(rows: Sequence[Bar], caption: str = "", legend: str = "", most: float = 0.0) -> dict[str, Any]:
    """Bars on one scale, which reaches up to `most` at least; a caption above and a legend below."""
    return {"rows": [asdict(row) for row in rows], "caption": caption, "legend": legend, "most": most}


def beside(elem_id: str) -> gr.HTML:
    """The value is what `compared` makes."""
    template = f'<div class="beside">{ONE}{ONE}</div>'
    return component("attention/beside.js", template, elem_id=elem_id)


def compared(prompt: str, texts: Sequence[str], titles: Sequence[str], parts_at: int | None = None) -> dict[str, Any]:
    """One or two texts that go on from a prompt, and the index of their first differing character."""
    return {"prompt": prompt, "texts": list(texts), "titles": list(titles), "parts_at": parts_at}
