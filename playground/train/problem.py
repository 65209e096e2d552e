"""A refusal, said where it belongs: in one line above Start, and beside each field that it is about."""

from __future__ import annotations

import gradio as gr

from playground.components import asset


def problem_line(elem_id: str) -> gr.HTML:
    """The value is {"text": sentence, "fields": names of settings}; the field of a setting has the id train-<name>."""
    return gr.HTML(
        {"text": "", "fields": []},
        html_template='<p class="line" role="status"></p>',
        js_on_load=asset("train/problem.js"),
        elem_id=elem_id,
        elem_classes="problem",
        apply_default_css=False,
    )
