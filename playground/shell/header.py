"""The name of the house, and on its right what concerns the whole page: runs (small screens), link, light or dark."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<div class="bar">
  <button type="button" id="runs-toggle" class="ghost" aria-expanded="false" aria-controls="sidebar">Runs</button>
  <h1>nano-llm</h1>
  <button type="button" id="copy-link" class="ghost">Copy link</button>
  <button type="button" id="theme-toggle" class="ghost" aria-label="Light or dark" title="Light or dark">◐</button>
</div>
"""


def header() -> gr.HTML:
    """A header without a value; its buttons act in the browser alone."""
    return component("shell/header.js", TEMPLATE, elem_id="header")
