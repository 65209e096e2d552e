"""Guarantee C4: texts with thousands of distinct code points can be trained; more than the limit is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.limits import LOCAL, PUBLIC, Limits
from nanollm.runs.process.worker import work
from nanollm.runs.store import RunStore
from tests.tiny_runs import TINY


def distinct_characters(count: int) -> str:
    """Return `count` distinct characters, half of them beyond the Basic Multilingual Plane."""
    return "".join(chr(0x1F000 + i if i % 2 else 0x4E00 + i // 2) for i in range(count))


@pytest.mark.parametrize("limits", [PUBLIC, LOCAL], ids=["public", "local"])
def test_a_vocabulary_over_the_limit_is_refused(tmp_path: Path, limits: Limits) -> None:
    corpora = CorpusStore(tmp_path / "corpora", limits)
    assert corpora.add_text(distinct_characters(limits.vocabulary), "many").vocab_size == limits.vocabulary
    with pytest.raises(InputError, match=f"{limits.vocabulary + 1:,} distinct characters, but the limit is"):
        corpora.add_text(distinct_characters(limits.vocabulary + 1), "too many")


def test_texts_with_thousands_of_characters_are_trained_and_sampled(store: RunStore, corpora: CorpusStore) -> None:
    text = distinct_characters(3000) + "🦊é" * 500
    corpus = corpora.add_text(text, "many")
    assert corpus.vocab_size == len(set(text))
    run = store.create(settings={**TINY, "num_steps": 3}, corpus=corpus)
    assert work(run, corpora.root).state == "completed"
    assert run.curve().loss[0] == pytest.approx(math.log(corpus.vocab_size), rel=0.1)
    written = "".join(sample.text for sample in run.samples())
    assert written and all(character in text for character in written)
    written.encode()  # a lone surrogate would raise


def test_an_unpaired_surrogate_is_refused(corpora: CorpusStore) -> None:
    for broken in ("a\ud83e", "\udd8aa", "a\ud83e b \udd8a"):
        with pytest.raises(InputError, match="an unpaired surrogate: copy the text again"):
            corpora.add_text(broken, "broken")
