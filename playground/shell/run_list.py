"""The sidebar's list of runs: select, rename, delete."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component
from playground.shell import sentences

TEMPLATE = f"""
<div class="run-list">
  <div class="head"><h2>{sentences.RUNS}</h2><span title="{sentences.LOSS_HINT}">{sentences.LOSS}</span></div>
  <p class="quiet none">{sentences.NO_RUNS}</p>
  <ul></ul>
</div>
"""


def run_list() -> gr.HTML:
    """The list of all runs, which marks the selected one.

    Fires `pick` when the user selects a run, `rename` and, after confirmation, `remove`. The EventData carries `run`,
    and `title` for rename.
    """
    return component("shell/run_list.js", TEMPLATE, events=("pick", "remove", "rename"), elem_id="run-list")


def run_rows() -> gr.HTML:
    """A hidden component that passes the catalogue's rows to the browser, where all scripts read them (runs.js).

    The value is a list of rows, or the update that `catalogue.changed_rows` returns.
    """
    return component("services/runs.js", elem_id="run-feed")
