"""The grid of attention heads, the bars of their effects, and the text shaded by one of them.

The components share one set of weights. The text view receives it, and the others read it in the browser
(inspection_store.js), so that hovering and choosing need no server, and the values sent back stay small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from playground.components.factory import component

if TYPE_CHECKING:
    from nanollm.explain.ablation import HeadEffect

SCRIPT = "attention/components/attention_grid.js"
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
  aria-label="The text: point at a character, or use the arrow keys, to see what it attends to"></div>
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
    """The grid of heads. Its value is the chosen head, {"layer": 1, "head": 1}, counted from 1 like the labels.

    It shows the weights of the page's attention_text, or the sentence `empty` if there are none.
    """
    return component(SCRIPT, GRID, {"layer": 1, "head": 1}, elem_id=elem_id, empty=empty)


def head_names(elem_id: str) -> gr.HTML:
    """Passes the types of the heads to the grid and shows nothing. The value is {"of": {label: name}, "stamp"}."""
    return component(SCRIPT, elem_id=elem_id, mount="names")


def attention_text(*, elem_id: str, frame: Callable[[Any], Any]) -> gr.HTML:
    """The text; pointing at a character shades what it attends to in the head that is chosen in the grid.

    The value comes from `wire_format.pack_attention`, with the `stamp` and `step` of its snapshot and the known `names`
    and `effects` of its heads, or is {"note": sentence} for the grid. A page has one such component. While the time
    bar moves, it shows the frames that it has already, and calls `frame` with {"run", "step", "text"} for those of
    neighboring snapshots.
    When the time bar stops, it triggers `request_frame` if a frame is missing, `request_view` if only the views need
    an update (also during playback), and `request_overview` if the fold about the whole model is open.
    """
    return component(
        "attention/components/attention_text.js",
        TEXT,
        events=("request_frame", "request_overview", "request_view"),
        elem_id=elem_id,
        functions=[frame],
    )


def ranking(*, elem_id: str) -> gr.HTML:
    """Progress and result of the ranking; fills the bars of the grid. The value comes from `ranking_value`."""
    return component(SCRIPT, RANKING, ranking_value(), elem_id=elem_id, mount="ranking")


def ranking_value(
    effects: Sequence[HeadEffect] = (), total: int = 0, text: str = "", stamp: str = ""
) -> dict[str, Any]:
    """Build the value of a ranking: the effects so far, the total number of heads (0: none running), a sentence.

    The grid shows the effects while its frame has the same stamp.
    """
    found = {
        effect.part.label: {
            "increase": round(effect.increase, 6),
            "error": round(effect.error, 6) if math.isfinite(effect.error) else None,
        }
        for effect in effects
    }
    return {"of": found, "total": total, "text": text, "stamp": stamp}


def parse_head(value: Any, layers: int, heads: int) -> tuple[int, int]:
    """Return layer and head of an attention_grid's value, counted from 0 and clipped to the model; 0 if invalid."""

    def index(key: str, size: int) -> int:
        number = value.get(key) if isinstance(value, dict) else None
        return min(max(number, 1), size) - 1 if isinstance(number, int) and not isinstance(number, bool) else 0

    return index("layer", layers), index("head", heads)
