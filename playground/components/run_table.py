"""A table that compares runs: only the columns that differ, best run first, with CSV export."""

from __future__ import annotations

from typing import Any

import gradio as gr

from nanollm.runs.table import FACTS, Table
from playground.components import sentences
from playground.components.factory import component

TEMPLATE = f"""
<div class="run-table">
  <p class="quiet none">{sentences.NO_TABLE}</p>
  <div class="sheet"><table><thead></thead><tbody></tbody></table></div>
  <p class="quiet rest">{sentences.MORE_COLUMNS}</p>
  <button type="button" class="small">{sentences.SAVE_CSV}</button>
</div>
"""


def run_table(elem_id: str) -> gr.HTML:
    """The table. Its value comes from `sheet`."""
    return component("components/run_table.js", TEMPLATE, elem_id=elem_id)


def sheet(table: Table) -> dict[str, Any]:
    """Convert a table to the component's value; `settings` is the index of the first column that is a setting."""
    settings = sum(name in FACTS or name == "text" for name in table.columns)
    return {"columns": table.columns, "settings": settings, "rows": table.rows, "ids": table.ids, "csv": table.csv()}
