"""The time bar: which run, and which moment of its training. Also the heads of Compare's columns."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<div class="time-bar" data-rank="{rank}">
  <p class="none">No model yet. The first one you train appears here.</p>
  <label class="run">
    <i class="dot"></i><select aria-label="Run{where}"></select><i class="caret" aria-hidden="true"></i>
  </label>
  <span class="state"></span>
  <button type="button" class="play" aria-label="Play through training"></button>
  <div class="slider">
    <div class="marks" aria-hidden="true"></div>
    <input type="range" min="0" max="0" value="0" step="1" aria-label="Snapshot{where}">
  </div>
  <output></output>
</div>
"""


def time_bar(elem_id: str = "time-bar", rank: int | None = None, elem_classes: str = "") -> gr.HTML:
    """A component whose value is {"run": str | None, "step": int | None}.

    It fires `change` when a person moves it, and when it follows the newest snapshot of a run in training, which it
    does while it stands on the newest; new snapshots never move it otherwise. While nothing is chosen it takes the
    newest run, or with `rank` (from 0) the one of that rank in Compare's lineup. The page's bar also writes
    the browser's selection store (services/selection.js), which every tab subscribes to.
    """
    constants = {"rank": "", "where": ""} if rank is None else {"rank": str(rank), "where": f", column {rank + 1}"}
    return component(
        "shell/time_bar.js",
        TEMPLATE,
        {"run": None, "step": None},
        elem_id=elem_id,
        elem_classes=elem_classes,
        **constants,
    )
