"""Text shaded by the surprisal of its characters, each of which can be clicked to see its alternatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from playground.components import sentences
from playground.components.factory import component

TEMPLATE = f"""
<div class="shaded-text" data-panel="{{panel}}" data-place="{{place}}" data-tab="{{tab}}">
  <div class="writing" tabindex="0" role="group" aria-label="{{label}}"><span class="letters"></span><span
    class="note">{{note}}</span></div>
  <div class="writing-row">
    <span class="legend"><i aria-hidden="true"></i>{sentences.SURPRISAL}</span>
    <button type="button" class="ghost copy" disabled>{sentences.COPY}</button>
    <button type="button" class="ghost download" disabled>{sentences.DOWNLOAD}</button>
  </div>
</div>
"""


def shaded_text(
    elem_id: str,
    label: str,
    *,
    panel: str = "",
    note: str = "",
    tab: str = "",
    frame: Callable[[Any], Any] | None = None,
) -> gr.HTML:
    """A text with clickable characters. The value is None, from `wire_format.shaded_value`, or [{"note": sentence}].

    Clicking a character shows it in the choice_panel with the id `panel`. With `frame`, a function from generation
    requests to finished values, the text follows the selection while `tab` is open (followed_text.js). It then triggers
    `follow` when it needs the prompt and the sampling settings, `ask` with a generation request, `leave` when the
    running generation is no longer needed, `settle` with the request that it went back to, and `cached` when it shows
    a cached frame.
    """
    return component(
        "components/text_view/shaded_text.js",
        TEMPLATE,
        events=("ask", "cached", "follow", "leave", "settle"),
        elem_id=elem_id,
        functions=[frame] if frame else [],
        panel=panel,
        label=label,
        note=note,
        place=elem_id,
        tab=tab,
    )
