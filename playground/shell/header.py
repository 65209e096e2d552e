"""The header: the page's name, the runs button for small screens, Copy link, and the theme button."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component
from playground.shell import sentences

TEMPLATE = f"""
<div class="bar">
  <h1>{sentences.TITLE}</h1>
  <button type="button" id="runs-toggle" class="ghost" aria-expanded="false" aria-controls="sidebar">{sentences.RUNS}
  </button>
  <button type="button" id="copy-link" class="ghost">{sentences.COPY_LINK}</button>
  <button type="button" id="theme-toggle" class="ghost" aria-label="{sentences.THEME}" title="{sentences.THEME}">◐
  </button>
</div>
"""


def header() -> gr.HTML:
    """The header. It has no value; its buttons only act in the browser."""
    return component("shell/header.js", TEMPLATE, elem_id="header")
