"""All runs side by side: only what differs, the best first, to be saved as CSV."""

from __future__ import annotations

from typing import Any

import gradio as gr

from nanollm.runs.table import Table
from playground.components import asset

TEMPLATE = """
<div class="run-table">
  <p class="quiet none">Once there are two runs, they are compared here.</p>
  <div class="sheet"><table><thead></thead><tbody></tbody></table></div>
  <button type="button" class="small">Save as CSV</button>
</div>
"""


def run_table(elem_id: str) -> gr.HTML:
    """The value comes from `sheet`."""
    return gr.HTML(
        None, html_template=TEMPLATE, js_on_load=asset("run_table.js"), elem_id=elem_id, apply_default_css=False
    )


def sheet(table: Table) -> dict[str, Any]:
    """A table as the component takes it; the browser makes the file out of `csv`."""
    return {"columns": table.columns, "rows": table.rows, "ids": table.ids, "csv": table.csv()}
