"""The guide of a first visit: one sentence for the open tab, completed by doing what it says."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component
from playground.shell import sentences

TEMPLATE = f"""
<div class="guide" hidden>
  <p role="status"></p>
  <button type="button" class="ghost" aria-label="{sentences.HIDE_GUIDE}" title="{sentences.HIDE_GUIDE}">×</button>
</div>
"""


def guide() -> gr.HTML:
    """The guide. It has no value: the browser remembers which sentences are completed."""
    return component("shell/guide.js", TEMPLATE, elem_id="guide")
