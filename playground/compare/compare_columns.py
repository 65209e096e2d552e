"""How many columns are compared; and the voice of all of them, in which the browser asks for what they show."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<div class="column-count">
  <p class="second" hidden>Add a second model to compare.
    Until then: this one, at the end of its training and at its start.</p>
  <p class="share" hidden>The time bar above takes all of them to the same share of their training.</p>
  <div class="footer-row">
    <button type="button" class="small remove">Remove the last</button>
    <button type="button" class="small add">Add a model</button>
  </div>
</div>
"""


def column_count(elem_id: str) -> gr.HTML:
    """A component whose value is the number of columns, or None until it is known how many models there are.

    It fires, with an EventData {"models": [{"run", "step"}, …], "prompt", "temperature", "top_k", "max_length",
    "seed"}: `ask` when the columns are to be written, and `tell` when only what is said of them has changed.
    """
    return component("compare/compare_columns.js", TEMPLATE, events=("ask", "tell"), elem_id=elem_id)
