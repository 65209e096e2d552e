"""All that is said about a text before it is trained on, for the page and the terminal alike."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from nanollm.config import TrainConfig
from nanollm.data.corpus import CorpusInfo, CorpusStore, split
from nanollm.data.decoding import oddity
from nanollm.data.ngrams import Baselines
from nanollm.data.planning import Plan, plans, verdict
from nanollm.tokenizer import visible

_ROWS = 20  # of the frequency table on a terminal
_BAR = 24


@dataclass(frozen=True)
class TextSummary:
    """What a text is made of, and what can be expected of it."""

    info: CorpusInfo
    entropy: float  # of its characters, nats each
    baselines: Baselines
    plans: list[Plan]
    frequencies: list[tuple[str, int]]  # each character and how often it occurs, the most frequent first
    odd: list[tuple[str, int]]  # those of them that oddity() has a word for


def summarize(corpora: CorpusStore, info: CorpusInfo) -> TextSummary:
    """Count a text. Raises InputError if it is gone, or was changed on disk."""
    return TextSummary(
        info,
        corpora.entropy(info.sha256),
        corpora.baselines(info.sha256, TrainConfig().validation_fraction),
        plans(info.characters, info.vocab_size),
        corpora.frequencies(info.sha256),
        corpora.odd(info.sha256),
    )


def one_sentence(info: CorpusInfo) -> str:
    """A text in one sentence."""
    said = verdict(plans(info.characters, info.vocab_size))
    return f"{info.characters:,} characters, {info.vocab_size:,} different; {said}."


def baseline_rows(baselines: Baselines) -> list[tuple[str, float]]:
    """What each way to count loses, in nats a character, from knowing nothing on; what was not measured is left out."""
    rows = (
        ("guessing blindly", baselines.uniform),
        ("counting characters", baselines.unigram),
        ("counting pairs", baselines.bigram),
        ("counting triples", baselines.trigram),
    )
    return [(name, loss) for name, loss in rows if loss is not None]


def as_json(facts: TextSummary) -> dict[str, Any]:
    """For machines."""
    return {
        **{"name": facts.info.name, "sha256": facts.info.sha256},
        **{"characters": facts.info.characters, "vocab_size": facts.info.vocab_size},
        **{"entropy": facts.entropy, "baselines": asdict(facts.baselines)},
        "presets": {plan.preset: {"enough": plan.enough, "readings": round(plan.epochs, 2)} for plan in facts.plans},
        "frequencies": dict(facts.frequencies),
        "odd": {character: oddity(character) for character, _ in facts.odd},
    }


def as_lines(facts: TextSummary) -> list[str]:
    """For a terminal."""
    return [
        one_sentence(facts.info),
        f"Its characters carry {facts.entropy:.3f} nats each (their entropy): {_choices(facts.entropy)}.",
        "",
        "On its end, which is kept back to judge by, a model must do better than (nats a character):",
        *(f"  {name:20} {loss:6.3f}  {_choices(loss)}" for name, loss in baseline_rows(facts.baselines)),
        *_counted(facts),
        "",
        *(f"  {plan.preset:20} {plan.sentence()}" for plan in facts.plans),
        "",
        *_table(facts),
        *(f"{count:,} × {oddity(character)}" for character, count in facts.odd),
    ]


def _choices(loss: float) -> str:
    return f"choosing among {math.exp(loss):.1f}"


def _counted(facts: TextSummary) -> list[str]:
    """Says so if only a part of the text could be counted."""
    learned, _ = split(range(facts.info.characters), TrainConfig().validation_fraction)
    counted = facts.baselines.counted
    return [f"  (counted in the first {counted:,} characters)"] if counted < len(learned) else []


def _table(facts: TextSummary) -> list[str]:
    most, characters = facts.frequencies[0][1], facts.info.characters
    rows = [
        f"{visible(character):>6} {count:>11,} {count / characters:6.1%} {'█' * round(_BAR * count / most)}"
        for character, count in facts.frequencies[:_ROWS]
    ]
    more = " ".join(visible(character) for character, _ in facts.frequencies[_ROWS : 3 * _ROWS])
    return [*rows, f"and {len(facts.frequencies) - _ROWS:,} more: {more}"] if more else rows
