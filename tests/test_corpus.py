"""Texts come in clean or not at all, and are kept under what they contain."""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm import corpus
from nanollm.corpus import CorpusStore, clean, decode, frequencies, split
from nanollm.errors import InputError


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "corpora")


def test_the_bundled_text_is_there(store: CorpusStore, text: str) -> None:
    info = store.list()[0]
    assert info.bundled and info.characters == len(text) >= 30_000 and info.vocab_size == len(set(text))
    assert store.read(info.sha256) == text
    assert store.add_text(text, "again.txt") == info
    for change in (lambda: store.delete(info.sha256), lambda: store.rename(info.sha256, "mine")):
        with pytest.raises(InputError, match="bundled"):
            change()


def test_the_bundled_text_is_plain(text: str) -> None:
    assert text.isascii() and "\t" not in text and "\r" not in text
    assert max(map(len, text.splitlines())) <= 80
    paragraphs = [p for p in text.split("\n\n") if len(p) > 40]
    assert len(set(paragraphs)) == len(paragraphs)


def test_a_text_is_kept_under_its_digest(store: CorpusStore) -> None:
    info = store.add(b"\xef\xbb\xbfone\r\ntwo\rthree\n", "dir/../my text.txt")
    kept = b"one\ntwo\nthree\n"
    assert (store.root / f"{info.sha256}.txt").read_bytes() == kept
    assert info.sha256 == hashlib.sha256(kept).hexdigest()
    assert (info.name, info.characters, info.vocab_size) == ("my text.txt", 14, len(set(kept)))
    assert store.get(info.sha256) == info and info in store.list()
    assert store.add(kept, "other").sha256 == info.sha256 and len(store.list()) == 2
    assert store.rename(info.sha256, "<b>new</b>\n").name == "<b>new</b>"
    store.delete(info.sha256)
    assert len(store.list()) == 1 and list(store.root.iterdir()) == []
    with pytest.raises(InputError, match="no longer here"):
        store.read(info.sha256)


def test_a_text_that_a_run_needs_stays(store: CorpusStore) -> None:
    info = store.add_text("some text", "a")
    with pytest.raises(InputError, match="'my run' still needs"):
        store.delete(info.sha256, needed_by=["my run"])
    assert store.read(info.sha256) == "some text"


@pytest.mark.parametrize("sha256", ["", "../../etc/passwd", "\0", "A" * 64, "0" * 63, "0" * 10_000, None])
def test_odd_digests_find_nothing(store: CorpusStore, sha256: str) -> None:
    with pytest.raises(InputError, match="no longer here"):
        store.get(sha256)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a\0b", "C:\\x\\y.txt", "n" * 10_000, "\u202egnp.exe", ""])
def test_names_are_for_showing_only(store: CorpusStore, name: str) -> None:
    info = store.add_text("some text", name)
    assert 0 < len(info.name) <= 200 and info.name.isprintable()
    assert {path.stem for path in store.root.iterdir()} == {info.sha256}


def test_a_text_changed_on_disk_is_noticed(store: CorpusStore) -> None:
    info = store.add_text("some text", "a")
    (store.root / f"{info.sha256}.txt").write_text("other text")
    with pytest.raises(InputError, match="changed on disk"):
        store.read(info.sha256)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_every_text_is_read_as_it_was_written(text: str) -> None:
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    utf16 = codecs.BOM_UTF16_LE + text.encode("utf-16-le")
    for data in (codecs.BOM_UTF8 + text.encode(), utf16):
        if expected.strip():
            assert decode(data) == expected
        else:
            with pytest.raises(InputError, match="empty"):
                decode(data)


@given(st.binary())
def test_any_bytes_give_a_text_or_a_sentence(data: bytes) -> None:
    for encoding in (None, "latin-1"):
        try:
            text = decode(data, encoding=encoding)
        except InputError as error:
            assert len(str(error)) < 200
        else:
            assert text.strip() and "\r" not in text and "\0" not in text
            text.encode()


def test_bad_files_get_a_sentence_that_helps(store: CorpusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"not valid UTF-8 \(byte 3.*Latin-1"):
        store.add(b"caf\xe9", "a")
    assert store.read(store.add(b"caf\xe9", "a", encoding="latin-1").sha256) == "café"
    with pytest.raises(InputError, match="NUL"):
        store.add(b"a\0b", "a")
    with pytest.raises(InputError, match="half of a pair"):
        clean("a\ud800")
    with pytest.raises(InputError, match="no encoding"):
        decode(b"a", encoding="klingon")
    monkeypatch.setattr(corpus, "MAX_BYTES", 3)
    with pytest.raises(InputError, match="limit"):
        store.add(b"four", "a")
    monkeypatch.setattr(corpus, "MAX_BYTES", 10**9)
    with pytest.raises(InputError, match="different characters"):
        store.add_text("".join(chr(0x4E00 + i) for i in range(20_001)), "a")


@given(st.integers(0, 500), st.floats(0, 0.5))
def test_a_split_moves_nothing(length: int, fraction: float) -> None:
    ids = np.arange(length)
    train, val = split(ids, fraction)
    np.testing.assert_array_equal(np.concatenate([train, val]), ids)
    assert len(val) == int(length * fraction)


def test_frequencies_count_everything(text: str) -> None:
    counted = frequencies(text)
    assert sum(count for _, count in counted) == len(text)
    assert [count for _, count in counted] == sorted((c for _, c in counted), reverse=True)
