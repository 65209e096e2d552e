"""The folded table of all runs: kept up to date while somebody looks at it, and not made where nobody does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.runs.table import tabulate
from playground.components.run_table import run_table, sheet
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED


@dataclass
class Parts:
    fold: gr.Accordion
    open: gr.State
    table: gr.HTML
    shown: gr.State


def layout() -> Parts:
    with gr.Accordion("All runs", open=False, elem_classes="fold", elem_id="train-table-fold") as fold:
        table = run_table("train-table")
    return Parts(fold, gr.State(False), table, gr.State(None))


def wire(ctx: Context, parts: Parts, timer: gr.Timer) -> None:
    def tell(tab: Any, opened: Any, shown: Any) -> Any:
        if tab != "train" or not opened:
            return gr.skip()
        now = sheet(tabulate(ctx.runs.list()))
        return gr.skip() if now == shown else (now, now)

    asked, told = [ctx.tab, parts.open, parts.shown], [parts.table, parts.shown]
    parts.fold.expand(lambda: True, None, parts.open, **UNQUEUED).then(tell, asked, told, **UNQUEUED)
    parts.fold.collapse(lambda: False, None, parts.open, **UNQUEUED)
    for moment in (timer.tick, ctx.tab.change):
        moment(tell, asked, told, **UNQUEUED, **MULTIPLE)
