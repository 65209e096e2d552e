"""How far a run is: a bar, its pace and its newest writing."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<div class="run-progress" hidden>
  <div class="progress" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="100"><i></i></div>
  <p class="facts quiet"></p>
  <ol class="strips"></ol>
</div>
"""


def run_progress(elem_id: str) -> gr.HTML:
    """The value is None or {"state", "fraction", "facts", "samples": [{"step", "prompt", "text"}, …], "stamp"}.

    `fraction` (0 to 1) may be None: then there is no bar. `stamp` is for the caller: it says what is shown.
    """
    return component("train/run_progress.js", TEMPLATE, elem_id=elem_id)
