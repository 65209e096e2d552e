"""Guarantee C1: a text that is too short gets a specific message immediately."""

from __future__ import annotations

import time

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.runs.store import RunStore
from tests.speed import within

EMPTY = {"nothing": "", "a space": " ", "blank lines": " \n\t\r\n ", "wide spaces": "\u3000\u2003"}


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY)
def test_an_empty_text_is_refused(corpora: CorpusStore, text: str) -> None:
    with within(0.2, time.thread_time):
        for add in (lambda: corpora.add_text(text, "empty"), lambda: corpora.add(text.encode(), "empty")):
            with pytest.raises(InputError, match=r"This text is empty: choose one with more characters"):
                add()
        with pytest.raises(InputError, match="This text is empty"):
            corpora.add(b"\xef\xbb\xbf", "only a byte order mark")
    assert not list(corpora.root.glob("*"))


@pytest.mark.parametrize("characters", [1, 2, 63, 71])
def test_a_text_shorter_than_the_context_window_is_refused(
    store: RunStore, corpora: CorpusStore, characters: int
) -> None:
    corpus = corpora.add_text(("ab" * 40)[:characters], "short")
    message = r"too few for a context_length of 64. Use a longer text or"
    with within(0.2, time.thread_time), pytest.raises(InputError, match=message):
        store.create(settings={}, corpus=corpus, preset="nano")
    assert store.list() == []


def test_the_shortest_valid_text_is_accepted(store: RunStore, corpora: CorpusStore) -> None:
    corpus = corpora.add_text("ab" * 36, "short")
    assert store.create(settings={}, corpus=corpus, preset="nano").status().state == "queued"
