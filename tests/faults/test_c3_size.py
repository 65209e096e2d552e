"""Guarantee C3: a text over the limit is refused within 1 s; one within the limit needs little memory."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.limits import LOCAL, PUBLIC
from tests.speed import within

LIMITS = {"public": PUBLIC, "local": LOCAL}


@pytest.mark.parametrize("mode", LIMITS)
def test_a_file_over_the_limit_is_refused(tmp_path: Path, mode: str) -> None:
    limits, path = LIMITS[mode], tmp_path / "large.txt"
    with open(path, "wb") as file:
        file.truncate(limits.text_bytes + 1)
    corpora = CorpusStore(tmp_path / "corpora", limits)
    message = f"the limit is {limits.text_bytes // 2**20} MB: use a part of it"
    with within(1, time.thread_time), pytest.raises(InputError, match=message):
        corpora.add_file(path)


def test_a_pasted_text_over_the_public_limit_is_refused(tmp_path: Path) -> None:
    corpora = CorpusStore(tmp_path / "corpora", PUBLIC)
    for text in ("x" * (PUBLIC.text_bytes + 1), "🦊" * (PUBLIC.text_bytes // 4 + 1)):
        with within(1, time.thread_time), pytest.raises(InputError, match="the limit is 5 MB"):
            corpora.add_text(text, "large")
    assert not list(corpora.root.glob("*"))


def test_storing_the_largest_public_text_uses_at_most_three_times_its_size(tmp_path: Path) -> None:
    block, path = "A fox 🦊 crossed the rue de l'Été, 漢字 too.\n".encode(), tmp_path / "large.txt"
    path.write_bytes(block * (PUBLIC.text_bytes // len(block)))
    corpora = CorpusStore(tmp_path / "corpora", PUBLIC)
    tracemalloc.start()
    info = corpora.add_file(path)
    page = corpora.page(info.sha256, info.characters // 2, 1000)
    corpora.frequencies(info.sha256)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(page) == 1000 and most <= 3 * path.stat().st_size
