"""One character of a text, and what else could have stood there: before temperature and top-k, and after."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<section class="choices" id="{name}" aria-label="The character that was clicked">
  <p class="hint">Click a character to see what else it could have been.</p>
  <div class="chosen" hidden>
    <button type="button" class="ghost close" aria-label="Close">×</button>
    <p class="said" aria-live="polite"><b class="glyph"></b><span></span></p>
    <p class="key quiet"><i class="model"></i>before<i class="dialled"></i>after temperature and top-k</p>
    <ol class="alternatives"></ol>
    <p class="quiet advice"></p>
  </div>
  <button type="button" class="small back" hidden>Back</button>
</section>
"""


def choice_panel(elem_id: str) -> gr.HTML:
    """Shows the character that is looked at in a shaded_text; choosing another goes back to that text.

    The value is {"temperature", "top_k"}: the dials as they stand now, which the coloured bars follow.
    """
    return component("components/text_view/choice_panel.js", TEMPLATE, elem_id=f"{elem_id}-frame", name=elem_id)
