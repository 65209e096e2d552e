"""The time bar: selects a run and one of its snapshots. Compare's columns have one each."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component
from playground.shell import sentences

TEMPLATE = f"""
<div class="time-bar" data-rank="{{rank}}">
  <p class="none">{sentences.NO_MODEL}</p>
  <label class="run">
    <i class="dot"></i><select aria-label="{sentences.RUN}{{where}}"></select><i class="caret" aria-hidden="true"></i>
  </label>
  <span class="state"></span>
  <button type="button" class="play" aria-label="{sentences.PLAY}"></button>
  <div class="slider">
    <div class="marks" aria-hidden="true"></div>
    <input type="range" min="0" max="0" value="0" step="1" aria-label="{sentences.SNAPSHOT}{{where}}">
  </div>
  <output></output>
</div>
"""


def time_bar(elem_id: str = "time-bar", rank: int | None = None, elem_classes: str = "") -> gr.HTML:
    """A time bar. Its value is {"run": str | None, "step": int | None}.

    Fires `change` when the user moves it, and when a running training has a new snapshot while the bar stands on the
    newest one; otherwise new snapshots do not move it. Without a selection it selects the newest run or, with `rank`
    (from 0), the run of that rank in Compare's lineup. The page's bar also writes the browser's selection store
    (services/selection.js), which every tab subscribes to.
    """
    return component(
        "shell/time_bar.js",
        TEMPLATE,
        {"run": None, "step": None},
        elem_id=elem_id,
        elem_classes=elem_classes,
        rank="" if rank is None else str(rank),
        where="" if rank is None else sentences.IN_COLUMN.format(column=rank + 1),
    )
