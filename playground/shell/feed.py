"""The rows of the catalogue on their way into the browser: one component receives them, whoever shows runs listens."""

from __future__ import annotations

import gradio as gr

from playground.components import asset


def feed() -> gr.HTML:
    """An unseen component whose value is the catalogue's rows, or what `news` makes of them.

    Every script reads the rows from `window.nano.runs()`.
    """
    return gr.HTML(
        None, html_template="", js_on_load=asset("shell/feed.js"), elem_id="run-feed", apply_default_css=False
    )
