"""Components of the Train tab: the doctor's findings, the form's problem line and the progress of a run."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

PROGRESS = """
<div class="run-progress" hidden>
  <div class="progress" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="100"><i></i></div>
  <p class="facts quiet"></p>
  <ol class="strips"></ol>
</div>
"""


def doctor_line(elem_id: str) -> gr.HTML:
    """Findings of the run doctor, hidden while there are none.

    The value is a list of {"sentence", "evidence", "action"}. Clicking an action fires `follow` with its `index`.
    """
    return component("train/doctor.js", '<ul class="doctor"></ul>', [], events=("follow",), elem_id=elem_id)


def problem_line(elem_id: str) -> gr.HTML:
    """An error in one line above Start, repeated next to each field that it concerns.

    The value is {"text": sentence, "fields": names of settings}. The field of a setting has the id train-<name>.
    """
    return component(
        "train/problem.js",
        '<p class="line" role="status"></p>',
        {"text": "", "fields": []},
        elem_id=elem_id,
        elem_classes="problem",
    )


def run_progress(elem_id: str) -> gr.HTML:
    """A progress bar, the training speed and the newest samples of a run. The value comes from `status_text.progress`.

    Without a `fraction` there is no bar. The handler reads `stamp` to know what the browser shows.
    """
    return component("train/run_progress.js", PROGRESS, elem_id=elem_id)
