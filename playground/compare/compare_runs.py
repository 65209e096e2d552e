"""Any number of runs to be chosen, each with its colour: which curves are drawn, and which rows a table has."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<fieldset class="run-chooser">
  <legend class="quiet">Runs <button type="button" class="ghost all">All</button><button type="button"
    class="ghost none">None</button></legend>
  <div class="chips"></div>
</fieldset>
"""


def run_chooser(elem_id: str) -> gr.HTML:
    """A component whose value is a list of run ids, or None before there are runs.

    At first the models that Compare begins with are chosen. It fires `news` when a chosen run has learned more.
    """
    return component("compare/compare_runs.js", TEMPLATE, events=("news",), elem_id=elem_id)
