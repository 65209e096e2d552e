"""Our own components: plain gr.HTML with a script each, drawing with textContent only.

Their templates stay constant, because Gradio evaluates whatever is interpolated into one: data travels as `value` (what
a person chooses or reads) and as props (what the component shows), and the script does all the drawing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

PLAYGROUND = Path(__file__).resolve().parent.parent


@cache
def asset(name: str) -> str:
    """The text of a script or style sheet of the page, named by its path inside playground/."""
    return (PLAYGROUND / name).read_text(encoding="utf-8")
