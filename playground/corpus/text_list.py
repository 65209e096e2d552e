"""The Corpus tab's list of texts: select one, download a built-in one, rename or delete your own."""

from __future__ import annotations

from typing import Any

import gradio as gr

from nanollm.data.builtin import BUILTINS
from nanollm.data.corpus import CorpusInfo
from playground.components.factory import component
from playground.corpus import sentences

TEMPLATE = f"""
<div class="text-list">
  <h2>{sentences.BUILT_IN}</h2><ul class="ours"></ul>
  <div class="own"><h2>{sentences.YOUR_TEXTS}</h2><ul class="yours"></ul></div>
</div>
"""


def text_list(elem_id: str) -> gr.HTML:
    """The list. Its value comes from `text_list_value`.

    Fires `pick` (with `sha256`) for a selected row, `download` (`builtin`) for a built-in text that must be downloaded
    first, `rename` (`sha256`, `name`) and, after confirmation, `remove` (`sha256`).
    """
    return component(
        "corpus/text_list.js",
        TEMPLATE,
        text_list_value([], ""),
        events=("download", "pick", "remove", "rename"),
        elem_id=elem_id,
    )


def text_list_value(infos: list[CorpusInfo], chosen: str) -> dict[str, Any]:
    """Return the list's value: the built-in texts, downloaded or not, the user's texts, and the selected digest."""
    downloaded = {info.builtin: info for info in infos if info.builtin}
    builtin_rows = [
        _row(downloaded[builtin.id])
        if builtin.id in downloaded
        else {"builtin": builtin.id, "name": builtin.title, "facts": builtin.about}
        for builtin in BUILTINS
    ]
    return {"chosen": chosen, "ours": builtin_rows, "yours": [_row(info) for info in infos if not info.builtin]}


def _row(info: CorpusInfo) -> dict[str, Any]:
    facts = sentences.CHARACTERS.format(count=info.characters)
    return {"sha256": info.sha256, "name": info.name, "facts": facts, "fixed": info.bundled}
