"""Text shaded by the surprisal of its characters, and the panel with the alternatives to a clicked character."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from playground.components import sentences
from playground.components.factory import component

TEXT = f"""
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
PANEL = f"""
<section class="choices" id="{{name}}" aria-label="{sentences.CLICKED_CHARACTER}">
  <p class="hint">{sentences.CLICK_A_CHARACTER}</p>
  <div class="chosen" hidden>
    <button type="button" class="ghost close" aria-label="{sentences.CLOSE}">×</button>
    <p class="said" aria-live="polite"><b class="glyph"></b><span></span></p>
    <p class="key quiet"><i class="model"></i>{sentences.BEFORE}<i class="dialled"></i>{sentences.AFTER}</p>
    <ol class="alternatives"></ol>
    <p class="quiet advice"></p>
  </div>
  <button type="button" class="small back" hidden>{sentences.UNDO}</button>
</section>
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
    `follow` when it needs the prompt and the sampling settings, `generate` with a generation request, `cancel` when the
    running generation is no longer needed, `restore` with an earlier request that is shown again, and `cached` when it
    shows a cached frame.
    """
    return component(
        "components/text_view/shaded_text.js", TEXT, elem_id=elem_id, functions=[frame] if frame else [],
        events=("cached", "cancel", "follow", "generate", "restore"),
        panel=panel, label=label, note=note, place=elem_id, tab=tab,
    )  # fmt: skip


def choice_panel(elem_id: str) -> gr.HTML:
    """The panel for the clicked character of a shaded_text. Choosing an alternative regenerates the text after it.

    The value is {"temperature", "top_k"}: the current sampling settings, which the colored bars follow.
    """
    return component("components/text_view/choice_panel.js", PANEL, elem_id=f"{elem_id}-frame", name=elem_id)
