"""The run doctor's line: shown only when there is something to say."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component


def doctor_line(elem_id: str) -> gr.HTML:
    """The value is a list of {"sentence", "evidence", "action"}; `follow` fires with an EventData carrying `index`."""
    return component("train/doctor.js", '<ul class="doctor"></ul>', [], events=("follow",), elem_id=elem_id)
