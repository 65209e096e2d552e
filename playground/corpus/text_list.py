"""The Corpus tab's list of texts: choose one, fetch one of ours, rename or delete one's own."""

from __future__ import annotations

from typing import Any

import gradio as gr

from nanollm.data.builtin import BUILTINS
from nanollm.data.corpus import CorpusInfo
from playground.components.factory import component

TEMPLATE = """
<div class="text-list">
  <h2>Ours</h2><ul class="ours"></ul>
  <div class="own"><h2>Yours</h2><ul class="yours"></ul></div>
</div>
"""


def text_list(elem_id: str) -> gr.HTML:
    """A component whose value is what `listed` makes.

    It fires `pick` (with `sha256`) when a person chooses a row, `bring` (`builtin`) if that is still to be brought,
    `rename` (`sha256`, `name`) and, after they confirmed, `remove` (`sha256`).
    """
    return component(
        "corpus/text_list.js", TEMPLATE, listed([], ""), events=("bring", "pick", "remove", "rename"), elem_id=elem_id
    )


def listed(infos: list[CorpusInfo], chosen: str) -> dict[str, Any]:
    """The texts of a store as rows, the built-in ones apart whether they were brought or not; `chosen` is a digest."""
    kept = {info.builtin: info for info in infos if info.builtin}
    ours = [
        _row(kept[builtin.id])
        if builtin.id in kept
        else {"builtin": builtin.id, "name": builtin.title, "facts": builtin.about}
        for builtin in BUILTINS
    ]
    return {"chosen": chosen, "ours": ours, "yours": [_row(info) for info in infos if not info.builtin]}


def _row(info: CorpusInfo) -> dict[str, Any]:
    facts = f"{info.characters:,} characters"
    return {"sha256": info.sha256, "name": info.name, "facts": facts, "fixed": info.bundled}
