"""All attention heads at a glance, how much each matters, and the text shaded by one of them.

The components share one set of weights: the text view receives it once, the others read it in the browser (inside.js),
so that hovering and choosing never wait for the server, and what a person chooses stays small enough to be sent back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from nanollm.explain.ablation import HeadEffect
from playground.components.factory import component

GRID = """
<div class="grid-scroll">
  <div class="grid-sheet">
    <canvas class="grid-canvas" aria-hidden="true" hidden></canvas>
    <div class="grid-buttons" role="radiogroup" aria-label="Attention heads"></div>
    <canvas class="grid-preview" aria-hidden="true" hidden></canvas>
  </div>
</div>
<p class="grid-note">{empty}</p>
"""
TEXT = """
<p class="text-caption" hidden aria-live="polite"></p>
<div class="text-view" tabindex="0" hidden role="application"
  aria-label="The text: point at a character, or use the arrow keys, to see where it looks"></div>
"""
RANKING = """
<div class="ranking">
  <div class="progress" role="progressbar" aria-label="Heads ranked" aria-valuemin="0" aria-valuemax="100" hidden>
    <i></i>
  </div>
  <p class="quiet said"></p>
</div>
"""


def attention_grid(*, elem_id: str, empty: str) -> gr.HTML:
    """The grid of heads. Its value is the chosen head, {"layer": 1, "head": 1}, counted from 1 as the labels are.

    `change` fires when another head is chosen. It shows the weights of the page's attention_text; without, it says
    `empty`.
    """
    return component(
        "attention/components/attention_grid.js", GRID, {"layer": 1, "head": 1}, elem_id=elem_id, empty=empty
    )


def attention_text(*, elem_id: str, frame: Callable[[Any], Any]) -> gr.HTML:
    """The text as characters; pointing at one shades where it looks in the head that the grid shows.

    The value comes from `wire_format.pack_attention`, with the `stamp` and `step` of its snapshot and what is known of
    its heads (`names`, and `effects` from `ranked`), or is {"note": sentence} for the grid to say; there is one of
    these on a page. While the time bar moves it shows cached frames; `frame` returns those of nearby snapshots, given
    {"run", "step", "text"}. It triggers `ask` when it needs a frame, `turn` when ▶ passes a cached frame and only the
    open view needs data, and `whole` in addition while the section on the whole model is open.
    """
    return component(
        "attention/components/attention_text.js",
        TEXT,
        events=("ask", "turn", "whole"),
        elem_id=elem_id,
        functions=[frame],
    )


def ranking(*, elem_id: str) -> gr.HTML:
    """How far the ranking of the heads is, and what it found; fills the bars of the grid. The value is `ranked`'s."""
    return component("attention/components/ranking.js", RANKING, ranked(), elem_id=elem_id)


def ranked(effects: Sequence[HeadEffect] = (), total: int = 0, said: str = "", stamp: str = "") -> dict[str, Any]:
    """The effects found so far `of` the heads of a `total`, and a sentence on them. With total 0 nothing is under way.

    The grid shows them while its frame has the same stamp.
    """
    found = {
        effect.part.label: {
            "increase": round(effect.increase, 6),
            "error": round(effect.error, 6) if math.isfinite(effect.error) else None,
        }
        for effect in effects
    }
    return {"of": found, "total": total, "said": said, "stamp": stamp}


def chosen_head(value: Any, layers: int, heads: int) -> tuple[int, int]:
    """Layer and head of an attention_grid's value, from 0, within the model. Odd ones (a browser sends them) are 0."""

    def index(key: str, size: int) -> int:
        number = value.get(key) if isinstance(value, dict) else None
        return min(max(number, 1), size) - 1 if isinstance(number, int) and not isinstance(number, bool) else 0

    return index("layer", layers), index("head", heads)
