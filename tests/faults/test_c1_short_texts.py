"""FAULTS C1: a text too short to learn from gets a sentence of its own, at once."""

from __future__ import annotations

import time

import pytest

from nanollm.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.runs.store import RunStore
from tests.speed import within

EMPTY = {"nothing": "", "a space": " ", "blank lines": " \n\t\r\n ", "wide spaces": "\u3000\u2003"}


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY)
def test_an_empty_text(corpora: CorpusStore, text: str) -> None:
    with within(0.2, time.thread_time):
        for bring in (lambda: corpora.add_text(text, "empty"), lambda: corpora.add(text.encode(), "empty")):
            with pytest.raises(InputError, match=r"This text is empty: bring one with some characters in it"):
                bring()
        with pytest.raises(InputError, match="This text is empty"):
            corpora.add(b"\xef\xbb\xbf", "only the mark of UTF-8")
    assert not list(corpora.root.glob("*"))


@pytest.mark.parametrize("characters", [1, 2, 63, 71])
def test_a_text_shorter_than_the_window(store: RunStore, corpora: CorpusStore, characters: int) -> None:
    corpus = corpora.add_text(("ab" * 40)[:characters], "short")
    sentence = r"which is too short for a window of 64: bring a longer text or choose"
    with within(0.2, time.thread_time), pytest.raises(InputError, match=sentence):
        store.create(settings={}, corpus=corpus, preset="nano")
    assert store.list() == []


def test_the_shortest_that_is_long_enough(store: RunStore, corpora: CorpusStore) -> None:
    corpus = corpora.add_text("ab" * 36, "short")
    assert store.create(settings={}, corpus=corpus, preset="nano").status().state == "queued"
