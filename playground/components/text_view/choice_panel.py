"""The alternatives to a clicked character, with their probabilities before and after temperature and top-k."""

from __future__ import annotations

import gradio as gr

from playground.components import sentences
from playground.components.factory import component

TEMPLATE = f"""
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


def choice_panel(elem_id: str) -> gr.HTML:
    """The panel for the clicked character of a shaded_text. Choosing an alternative regenerates the text after it.

    The value is {"temperature", "top_k"}: the current sampling settings, which the colored bars follow.
    """
    return component("components/text_view/choice_panel.js", TEMPLATE, elem_id=f"{elem_id}-frame", name=elem_id)
