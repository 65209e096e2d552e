"""The folded table of all runs, updated only while it is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.runs.table import tabulate
from playground.components.run_table import run_table, sheet
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED
from playground.train import sentences


@dataclass
class Parts:
    fold: gr.Accordion
    is_open: gr.State
    table: gr.HTML
    shown: gr.State  # the table's value


def layout() -> Parts:
    with gr.Accordion(sentences.ALL_RUNS, open=False, elem_classes="fold", elem_id="train-table-fold") as fold:
        table = run_table("train-table")
    return Parts(fold, gr.State(False), table, gr.State(None))


def wire(ctx: Context, parts: Parts, timer: gr.Timer) -> None:
    def update(tab: Any, is_open: Any, shown: Any) -> Any:
        if tab != "train" or not is_open:
            return gr.skip()
        now = sheet(tabulate(ctx.runs.list()))
        return gr.skip() if now == shown else (now, now)

    inputs, outputs = [ctx.tab, parts.is_open, parts.shown], [parts.table, parts.shown]
    parts.fold.expand(lambda: True, None, parts.is_open, **UNQUEUED).then(update, inputs, outputs, **UNQUEUED)
    parts.fold.collapse(lambda: False, None, parts.is_open, **UNQUEUED)
    for event in (timer.tick, ctx.tab.change):
        event(update, inputs, outputs, **UNQUEUED, **MULTIPLE)
