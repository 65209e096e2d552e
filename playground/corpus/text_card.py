"""The card of a text: its statistics, its content page by page, its split, its characters, and what to expect of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from nanollm.config import TrainConfig, make_configs, preset
from nanollm.data.corpus import CorpusInfo, CorpusStore, split
from nanollm.data.decoding import describe_unusual
from nanollm.data.ngrams import Baselines
from nanollm.data.planning import plans
from nanollm.data.summary import baseline_rows, one_sentence
from nanollm.tokenizer import visible
from nanollm.train.workload import duration, run_seconds
from playground.components.factory import component
from playground.components.format import perplexity
from playground.corpus import sentences

PAGE_LENGTH = 20_000  # characters of a text shown at once
MAX_ROWS = 60  # rows of a table of characters

CARD = f"""
<div class="text-card">
  <h2 class="name"></h2>
  <p class="facts"></p>
  <pre class="preview" tabindex="0" aria-label="{sentences.TEXT}"></pre>
  <form class="pager"><button type="button" class="ghost before" aria-label="{sentences.PREVIOUS_PAGE}">‹</button>
    <label>{sentences.PAGE} <input inputmode="numeric" maxlength="9" aria-label="{sentences.PAGE_LABEL}"></label
    ><span></span>
    <button type="button" class="ghost after" aria-label="{sentences.NEXT_PAGE}">›</button></form>
  <div class="split"><i class="learn"></i><i class="judge"></i></div>
  <p class="quiet legend"></p>
  <details class="fold signs"><summary>{sentences.FREQUENCIES}</summary><ol class="frequencies"></ol>
    <p class="quiet more"></p></details>
  <details class="fold unusual"><summary></summary>
    <p class="quiet">{sentences.UNUSUAL_CHARACTERS}</p>
    <ul></ul></details>
</div>
"""

OUTLOOK = f"""
<div>
  <details class="fold sizes"><summary>{sentences.SIZES}</summary><dl></dl></details>
  <details class="fold ladder"><summary>{sentences.BASELINES}</summary>
    <p class="quiet lead"></p><dl></dl><p class="quiet entropy"></p></details>
</div>
"""


def text_card(elem_id: str) -> gr.HTML:
    """The card. Its value is None or comes from `text_card_value`; it fires `turn` with a `page` number (from 0)."""
    return component("corpus/text_card.js", CARD, events=("turn",), elem_id=elem_id)


def text_outlook(elem_id: str) -> gr.HTML:
    """What to expect of training on the text. Its value is None or comes from `outlook_value`."""
    return component("corpus/text_outlook.js", OUTLOOK, elem_id=elem_id)


def text_card_value(corpora: CorpusStore, info: CorpusInfo, page: int = 0) -> dict[str, Any]:
    """Return the card's value for one page of a text. Raises InputError if the text was deleted or changed on disk."""
    pages = max(1, -(-info.characters // PAGE_LENGTH))
    page = min(max(page, 0), pages - 1)
    train, validation = split(range(info.characters), TrainConfig().validation_fraction)
    frequencies, unusual = corpora.frequencies(info.sha256), corpora.unusual(info.sha256)
    return {
        "name": info.name,
        "facts": one_sentence(info),
        "text": corpora.page(info.sha256, page * PAGE_LENGTH, PAGE_LENGTH),
        "page": page,
        "pages": pages,
        "train": len(train),
        "validation": len(validation),
        "frequencies": [
            {"character": visible(character), "count": count} for character, count in frequencies[:MAX_ROWS]
        ],
        "more": max(0, len(frequencies) - MAX_ROWS),
        "unusual": [
            {"count": count, "description": describe_unusual(character)} for character, count in unusual[:MAX_ROWS]
        ],
        "unusual_count": len(unusual),
    }


def outlook_value(
    info: CorpusInfo, entropy: float, baselines: Baselines | None, step_seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Return the outlook's value: fit and training time per preset, the n-gram baselines and the entropy in nats.

    Presets whose step time was not measured on this machine have no time. Without baselines, they are being computed.
    """
    sizes = []
    for plan in plans(info.characters, info.vocab_size):
        seconds, configs = step_seconds.get(plan.preset), make_configs(preset(plan.preset), info.vocab_size)
        time = _time(run_seconds(seconds, *configs, info.characters)) if seconds else ""
        sizes.append({"preset": plan.preset, "outlook": plan.sentence() + time})
    rows = baseline_rows(baselines) if baselines else []
    return {
        "sizes": sizes,
        "baselines": [{"name": name, "loss": loss, "perplexity": perplexity(loss)} for name, loss in rows],
        "entropy": f"{entropy:.2f}",
        "perplexity": perplexity(entropy),
    }


def _time(seconds: float) -> str:
    return sentences.PRESET_TIME.format(time=duration(seconds))
