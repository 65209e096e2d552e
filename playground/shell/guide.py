"""The line of guidance on a first visit: one sentence for the open tab, completed by doing what it says."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<div class="guide" hidden>
  <p role="status"></p>
  <button type="button" class="ghost" aria-label="No more guidance" title="No more guidance">×</button>
</div>
"""


def guide() -> gr.HTML:
    """A component without a value: what was done is remembered by the browser, and nothing waits for it."""
    return component("shell/guide.js", TEMPLATE, elem_id="guide")
