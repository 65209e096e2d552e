"""The components of the page's frame: header, run list, time bar and guide."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component
from playground.shell import sentences

HEADER = f"""
<div class="bar">
  <h1>{sentences.TITLE}</h1>
  <button type="button" id="runs-toggle" class="ghost" aria-expanded="false" aria-controls="sidebar">{sentences.RUNS}
  </button>
  <button type="button" id="copy-link" class="ghost">{sentences.COPY_LINK}</button>
  <button type="button" id="theme-toggle" class="ghost" aria-label="{sentences.THEME}" title="{sentences.THEME}">◐
  </button>
</div>
"""
RUN_LIST = f"""
<div class="run-list">
  <div class="head"><h2>{sentences.RUNS}</h2><span title="{sentences.LOSS_HINT}">{sentences.LOSS}</span></div>
  <p class="quiet none">{sentences.NO_RUNS}</p>
  <ul></ul>
</div>
"""
TIME_BAR = f"""
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
GUIDE = f"""
<div class="guide" hidden>
  <p role="status"></p>
  <button type="button" class="ghost" aria-label="{sentences.HIDE_GUIDE}" title="{sentences.HIDE_GUIDE}">×</button>
</div>
"""


def header() -> gr.HTML:
    """The header. It has no value; its buttons only act in the browser."""
    return component("shell/header.js", HEADER, elem_id="header")


def run_list() -> gr.HTML:
    """The list of all runs, which marks the selected one.

    Fires `pick` when the user selects a run, `rename` and, after confirmation, `remove`. The EventData carries `run`,
    and `title` for rename.
    """
    return component("shell/run_list.js", RUN_LIST, events=("pick", "remove", "rename"), elem_id="run-list")


def run_rows() -> gr.HTML:
    """A hidden component that passes the catalogue's rows to the browser, where all scripts read them (runs.js).

    The value is a list of rows, or the update that `catalogue.changed_rows` returns.
    """
    return component("browser/runs.js", elem_id="run-feed")


def time_bar(elem_id: str = "time-bar", rank: int | None = None, elem_classes: str = "") -> gr.HTML:
    """A time bar selects a run and one of its snapshots. Its value is {"run": str | None, "step": int | None}.

    Fires `change` when the user moves it, and when a running training has a new snapshot while the bar stands on the
    newest one; otherwise new snapshots do not move it. Without a selection it selects the newest run or, with `rank`
    (from 0), the run of that rank in Compare's lineup. The page's bar also writes the browser's selection store
    (browser/selection.js), which every tab subscribes to.
    """
    return component(
        "shell/time_bar.js", TIME_BAR, {"run": None, "step": None}, elem_id=elem_id, elem_classes=elem_classes,
        rank="" if rank is None else str(rank),
        where="" if rank is None else sentences.IN_COLUMN.format(column=rank + 1),
    )  # fmt: skip


def guide() -> gr.HTML:
    """The guide of a first visit: one sentence for the open tab, completed by doing what it says.

    It has no value: the browser remembers which sentences are completed.
    """
    return component("shell/guide.js", GUIDE, elem_id="guide")
