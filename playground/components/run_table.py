"""All runs side by side: only what differs, the best first, to be saved as CSV."""

from __future__ import annotations

from typing import Any

import gradio as gr

from nanollm.runs.table import FACTS, Table
from playground.components.factory import component

TEMPLATE = """
<div class="run-table">
  <p class="quiet none">Once there are two runs, they are compared here.</p>
  <div class="sheet"><table><thead></thead><tbody></tbody></table></div>
  <p class="quiet rest">They differ in many settings: the CSV has them all, and so has a wider screen.</p>
  <button type="button" class="small">Save as CSV</button>
</div>
"""


def run_table(elem_id: str) -> gr.HTML:
    """The value comes from `sheet`."""
    return component("components/run_table.js", TEMPLATE, elem_id=elem_id)


def sheet(table: Table) -> dict[str, Any]:
    """A table as the component takes it, its settings from the column `settings` on; the file is made of `csv`."""
    settings = sum(name in FACTS or name == "text" for name in table.columns)
    return {"columns": table.columns, "settings": settings, "rows": table.rows, "ids": table.ids, "csv": table.csv()}
