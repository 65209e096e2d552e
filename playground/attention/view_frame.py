"""The parts that all views of the Attention tab have: what it shows, a caution, and the Python code for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from playground.attention.sentences import PYTHON_TITLE
from playground.components.text import line


@dataclass(frozen=True)
class SharedInputs:
    """The components that the views share with the tab: the text, the chosen head, and the error line."""

    text: gr.Textbox
    grid: gr.HTML
    problem: gr.HTML


class ViewParts:
    """The components of a view."""

    @property
    def inputs(self) -> list[Any]:
        """The components whose values `show` receives after the chosen head; none unless overridden."""
        return []


def introduction(name: str, about: str, caution: str) -> None:
    """Add a sentence about what the view shows, and one about what it does not show, which is always visible."""
    line(f"{name}-seen", about)
    line(f"{name}-caution", caution, "caution")


def python_fold(name: str) -> gr.Textbox:
    """Add a fold for the Python code of a view; its value comes from `python_code`."""
    with gr.Accordion(PYTHON_TITLE, open=False, elem_classes="fold"):
        return gr.Textbox(
            show_label=False, container=False, lines=1, max_lines=14, interactive=False, buttons=["copy"],
            elem_id=f"{name}-python", elem_classes="python",
        )  # fmt: skip


def python_code(imports: str, snapshot: str, *lines: Any) -> str:
    """Return Python code that loads a snapshot's file as `loaded` and then runs `lines`."""
    begin = ["from nanollm import load_model", imports, "", f'loaded = load_model("{snapshot}")']
    return "\n".join([*begin, *lines])
