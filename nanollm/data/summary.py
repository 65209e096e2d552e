"""Summary of a text before training: statistics, n-gram baselines and suitability, for page and terminal."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from nanollm.config import TrainConfig
from nanollm.data.corpus import CorpusInfo, CorpusStore, split
from nanollm.data.decoding import describe_unusual
from nanollm.data.ngrams import Baselines
from nanollm.data.planning import Plan, plans, verdict
from nanollm.tokenizer import visible

_ROWS = 20  # of the frequency table in the terminal
_BAR = 24  # characters of its longest bar


@dataclass(frozen=True)
class TextSummary:
    """Statistics of a text, and what to expect from training on it."""

    info: CorpusInfo
    entropy: float  # unigram entropy, nats per character
    baselines: Baselines
    plans: list[Plan]
    frequencies: list[tuple[str, int]]  # characters with their counts, in descending order
    unusual: list[tuple[str, int]]  # the characters for which describe_unusual() returns a description


def summarize(corpora: CorpusStore, info: CorpusInfo) -> TextSummary:
    """Summarize a text. Raises InputError if it was deleted, or changed on disk."""
    return TextSummary(
        info,
        corpora.entropy(info.sha256),
        corpora.baselines(info.sha256, TrainConfig().validation_fraction),
        plans(info.characters, info.vocab_size),
        corpora.frequencies(info.sha256),
        corpora.unusual(info.sha256),
    )


def one_sentence(info: CorpusInfo) -> str:
    """Return a summary in one sentence."""
    suitability = verdict(plans(info.characters, info.vocab_size))
    return f"{info.characters:,} characters, {info.vocab_size:,} distinct; {suitability}."


def baseline_rows(baselines: Baselines) -> list[tuple[str, float]]:
    """Return (name, loss in nats per character) for each baseline that was measured, from uniform to trigram."""
    rows = (
        ("uniform guess", baselines.uniform),
        ("unigram counts", baselines.unigram),
        ("bigram counts", baselines.bigram),
        ("trigram counts", baselines.trigram),
    )
    return [(name, loss) for name, loss in rows if loss is not None]


def as_json(facts: TextSummary) -> dict[str, Any]:
    """Return the summary for JSON output."""
    return {
        **{"name": facts.info.name, "sha256": facts.info.sha256},
        **{"characters": facts.info.characters, "vocab_size": facts.info.vocab_size},
        **{"entropy": facts.entropy, "baselines": asdict(facts.baselines)},
        "presets": {plan.preset: {"enough": plan.enough, "readings": round(plan.epochs, 2)} for plan in facts.plans},
        "frequencies": dict(facts.frequencies),
        "unusual": {character: describe_unusual(character) for character, _ in facts.unusual},
    }


def as_lines(facts: TextSummary) -> list[str]:
    """Format the summary for the terminal, line by line."""
    return [
        one_sentence(facts.info),
        f"Entropy of its characters: {facts.entropy:.3f} nats ({_choices(facts.entropy)}).",
        "",
        "N-gram baselines on the validation split, which a model should beat (nats per character):",
        *(f"  {name:20} {loss:6.3f}  {_choices(loss)}" for name, loss in baseline_rows(facts.baselines)),
        *_counted(facts),
        "",
        *(f"  {plan.preset:20} {plan.sentence()}" for plan in facts.plans),
        "",
        *_table(facts),
        *(f"{count:,} × {describe_unusual(character)}" for character, count in facts.unusual),
    ]


def _choices(loss: float) -> str:
    return f"perplexity {math.exp(loss):.1f}"


def _counted(facts: TextSummary) -> list[str]:
    """A note if only part of the training split was counted."""
    training, _ = split(range(facts.info.characters), TrainConfig().validation_fraction)
    counted = facts.baselines.counted
    return [f"  (counted in the first {counted:,} characters)"] if counted < len(training) else []


def _table(facts: TextSummary) -> list[str]:
    most, characters = facts.frequencies[0][1], facts.info.characters
    rows = [
        f"{visible(character):>6} {count:>11,} {count / characters:6.1%} {'█' * round(_BAR * count / most)}"
        for character, count in facts.frequencies[:_ROWS]
    ]
    more = " ".join(visible(character) for character, _ in facts.frequencies[_ROWS : 3 * _ROWS])
    return [*rows, f"and {len(facts.frequencies) - _ROWS:,} more: {more}"] if more else rows
