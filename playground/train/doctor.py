"""The run doctor's line: shown only when there is something to say."""

from __future__ import annotations

import gradio as gr

from playground.components import asset


def doctor_line(elem_id: str) -> gr.HTML:
    """The value is a list of {"sentence", "evidence", "action"}; `follow` fires with an EventData carrying `index`."""
    return gr.HTML(
        [], html_template='<ul class="doctor"></ul>', js_on_load=asset("train/doctor.js"), elem_id=elem_id,
        apply_default_css=False,
    )  # fmt: skip
