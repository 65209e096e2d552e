"""Text shaded by the surprisal of its characters, each of which can be clicked to see its alternatives."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from playground.components import asset

TEMPLATE = """
<div class="shaded-text" data-panel="{panel}" data-place="{place}">
  <div class="writing" tabindex="0" role="group" aria-label="{label}"><span class="letters"></span><span
    class="note">{note}</span></div>
  <div class="writing-row">
    <span class="legend"><i aria-hidden="true"></i>shaded by surprise</span>
    <button type="button" class="ghost copy" disabled>Copy</button>
    <button type="button" class="ghost download" disabled>Download</button>
  </div>
</div>
"""


def shaded_text(
    elem_id: str, label: str, *, panel: str = "", note: str = "", frame: Callable[[Any], Any] | None = None
) -> gr.HTML:
    """A text with clickable characters. The value is None, from `wire_format.shaded_value`, or [{"note": sentence}].
    Looking at a character shows it in the choice_panel with the id `panel`. With `frame`, a function from questions to
    finished values, the text follows a selection: `followed` says how; then it fires `ask` with an EventData that is a
    question, `leave` when nobody waits for an answer any more, and `settle` with the question that it went back to.
    """
    constants = {"panel": panel, "label": label, "note": note, "place": elem_id}
    return gr.HTML(
        None,
        html_template=TEMPLATE.format_map({name: escape(text) for name, text in constants.items()}),
        js_on_load=asset("components/text_view/shaded_text.js")
        + (asset("components/text_view/followed_text.js") if frame else ""),
        server_functions=[frame] if frame else None,
        elem_id=elem_id,
        apply_default_css=False,
    )
