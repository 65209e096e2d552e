"""Texts without names, one of which is to be guessed, then the names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<div class="blind">
  <p class="asked">The models above write once more, from another seed, without their names and in another order.</p>
  <div class="cards"></div>
  <div class="blind-row"><button type="button" class="small action begin">Start a round</button>
    <p class="verdict" role="status"></p></div>
</div>
"""


def blind(elem_id: str) -> gr.HTML:
    """A component whose value is None, or what `cards` makes. It fires `begin`, and `guess` with the `choice`."""
    return component("compare/compare_blind.js", TEMPLATE, events=("begin", "guess"), elem_id=elem_id)


def cards(
    prompt: str,
    texts: Sequence[str],
    question: str,
    over: bool,
    names: Sequence[dict[str, Any]] | None,
    chosen: int | None,
    right: int | None,
    score: str,
) -> dict[str, Any]:
    """A round. Until there are `names` the browser does not know them; once the writing is `over`, one may guess."""
    return {
        "prompt": prompt, "texts": list(texts), "question": question, "over": over, "names": names,
        "chosen": chosen, "right": right, "score": score,
    }  # fmt: skip
