"""A corpus at a glance: its facts, its pages, how it is split, and, folded, what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from nanollm.config import TrainConfig, make_configs, preset
from nanollm.data.corpus import CorpusInfo, CorpusStore, split
from nanollm.data.decoding import oddity
from nanollm.data.ngrams import Baselines
from nanollm.data.planning import plans
from nanollm.data.summary import baseline_rows, one_sentence
from nanollm.tokenizer import visible
from nanollm.train.workload import duration, run_seconds
from playground.components.factory import component
from playground.train.status_text import choices

PAGE = 20_000  # characters of a text shown at once
MOST = 60  # rows of a table of characters

CARD = """
<div class="text-card">
  <h2 class="name"></h2>
  <p class="facts"></p>
  <pre class="preview" tabindex="0" aria-label="The text"></pre>
  <form class="pager"><button type="button" class="ghost before" aria-label="Page before">‹</button>
    <label>page <input inputmode="numeric" maxlength="9" aria-label="Page"></label><span></span>
    <button type="button" class="ghost after" aria-label="Next page">›</button></form>
  <div class="split"><i class="learn"></i><i class="judge"></i></div>
  <p class="quiet legend"></p>
  <details class="fold signs"><summary>Character frequencies</summary><ol class="frequencies"></ol>
    <p class="quiet more"></p></details>
  <details class="fold odd"><summary></summary>
    <p class="quiet">They are learned like any other. Many come from copying out of a web page or a PDF.</p>
    <ul></ul></details>
</div>
"""

OUTLOOK = """
<div>
  <details class="fold sizes"><summary>What each size would make of it</summary><dl></dl></details>
  <details class="fold ladder"><summary>What plain counting achieves</summary>
    <p class="quiet lead"></p><dl></dl><p class="quiet entropy"></p></details>
</div>
"""


def text_card(elem_id: str) -> gr.HTML:
    """A component whose value is None or what `described` makes; it fires `turn` with the wanted `page` (from 0)."""
    return component("corpus/text_card.js", CARD, events=("turn",), elem_id=elem_id)


def text_outlook(elem_id: str) -> gr.HTML:
    """A component for what can be expected of training on the text; its value is None or what `outlook` makes."""
    return component("corpus/text_outlook.js", OUTLOOK, elem_id=elem_id)


def described(corpora: CorpusStore, info: CorpusInfo, page: int = 0) -> dict[str, Any]:
    """A text at one of its pages. Raises InputError if it is gone, or was changed on disk."""
    pages = max(1, -(-info.characters // PAGE))
    page = min(max(page, 0), pages - 1)
    train, validation = split(range(info.characters), TrainConfig().validation_fraction)
    frequencies, odd = corpora.frequencies(info.sha256), corpora.odd(info.sha256)
    return {
        "name": info.name,
        "facts": one_sentence(info),
        "text": corpora.page(info.sha256, page * PAGE, PAGE),
        "page": page,
        "pages": pages,
        "train": len(train),
        "validation": len(validation),
        "frequencies": [(visible(character), count) for character, count in frequencies[:MOST]],
        "more": max(0, len(frequencies) - MOST),
        "odd": [(count, oddity(character)) for character, count in odd[:MOST]],
        "different_odd": len(odd),
    }


def outlook(
    info: CorpusInfo, entropy: float, baselines: Baselines | None, step_seconds: Mapping[str, float]
) -> dict[str, Any]:
    """What each preset makes of a text, with its time where a step of it was measured here, and what counting achieves.

    Without baselines they are still being counted.
    """
    sizes = []
    for plan in plans(info.characters, info.vocab_size):
        seconds, configs = step_seconds.get(plan.preset), make_configs(preset(plan.preset), info.vocab_size)
        time = f" About {duration(run_seconds(seconds, *configs, info.characters))} here." if seconds else ""
        sizes.append([plan.preset, plan.sentence() + time])
    ways = [[name, loss, choices(loss)] for name, loss in baseline_rows(baselines)] if baselines else []
    return {"sizes": sizes, "ways": ways, "entropy": f"{entropy:.2f}", "choices": choices(entropy)}
