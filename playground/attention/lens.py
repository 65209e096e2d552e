"""What every lens of Attention begins and ends with: what is seen, what must not be concluded, and the Python call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from playground.components.text import line


@dataclass(frozen=True)
class Around:
    """What the lenses share with the tab: the text, the chosen head, and where a refusal is said."""

    text: gr.Textbox
    grid: gr.HTML
    problem: gr.HTML


def statement(name: str, seen: str, caution: str) -> None:
    """One sentence on what is seen, and one, always visible, on what must not be concluded from it."""
    line(f"{name}-seen", seen)
    line(f"{name}-caution", caution, "caution")


def python_call(name: str) -> gr.Textbox:
    """A fold with the Python that gives the same; the value is what `call` makes."""
    with gr.Accordion("The same in Python", open=False, elem_classes="fold"):
        return gr.Textbox(
            show_label=False, container=False, lines=1, max_lines=14, interactive=False, buttons=["copy"],
            elem_id=f"{name}-python", elem_classes="python",
        )  # fmt: skip


def call(imports: str, snapshot: str, *lines: Any) -> str:
    """Python that loads a snapshot's file and goes on with `lines`."""
    begin = ["from nanollm import load_model", imports, "", f'loaded = load_model("{snapshot}")']
    return "\n".join([*begin, *lines])
