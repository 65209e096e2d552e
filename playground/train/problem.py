"""A refusal, said where it belongs: in one line above Start, and beside each field that it is about."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component


def problem_line(elem_id: str) -> gr.HTML:
    """The value is {"text": sentence, "fields": names of settings}; the field of a setting has the id train-<name>."""
    return component(
        "train/problem.js",
        '<p class="line" role="status"></p>',
        {"text": "", "fields": []},
        elem_id=elem_id,
        elem_classes="problem",
    )
