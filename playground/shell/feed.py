"""The rows of the catalogue on their way into the browser: one component receives them, whoever shows runs listens."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component


def feed() -> gr.HTML:
    """An unseen component whose value is the catalogue's rows, or what `news` makes of them.

    Every script reads the rows from `window.nano.runs()`.
    """
    return component("services/runs.js", elem_id="run-feed")
