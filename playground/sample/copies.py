"""How much of a text stands in the training text word for word, beside the same for text that was held out."""

from __future__ import annotations

import gradio as gr

from playground.components.factory import component

TEMPLATE = """
<div class="copies" data-place="{place}">
  <p class="line said" aria-live="polite"></p>
  <table hidden>
    <caption>Stretches that the training text does not have</caption>
    <thead><tr><th scope="col">of so many characters</th><th scope="col">this text</th>
      <th scope="col">real text, held out</th></tr></thead>
    <tbody></tbody>
  </table>
</div>
"""


def copies(elem_id: str, place: str) -> gr.HTML:
    """Looks after the shaded_text with the id `place`: whenever that is finished and this is seen, it fires `check`.

    The EventData carries `text`, `prompt` (the length of what was given) and `stamp`. The value is None or {"stamp",
    "said": sentence, "rows": [[n, share of this text, share of held-out text], …], "spans": [[start, end], …]}: spans
    of the text to underline.
    """
    return component("sample/copies.js", TEMPLATE, events=("check",), elem_id=elem_id, place=place)
