"""The sidebar's list of runs: choose, rename, delete."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<div class="run-list">
  <div class="head"><h2>Runs</h2><span title="lowest validation loss, nats a character">loss</span></div>
  <p class="quiet none">Models you train are listed here, newest first.</p>
  <ul></ul>
</div>
"""


def run_list() -> gr.HTML:
    """A component that lists the catalogue's runs and marks the selected one.

    It fires `pick` when a person chooses a run, `rename` and `remove` after they confirmed; each with an EventData that
    carries `run`, and `title` for rename.
    """
    return component("shell/run_list.js", TEMPLATE, events=("pick", "remove", "rename"), elem_id="run-list")
