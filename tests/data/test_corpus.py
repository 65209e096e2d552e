"""Corpus store: texts are cleaned or rejected, and stored under their digest."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.data import corpus
from nanollm.data import decoding as plaintext
from nanollm.data.corpus import CorpusStore, split
from nanollm.data.ngrams import measure_baselines
from nanollm.errors import InputError
from nanollm.limits import LOCAL, Limits
from nanollm.tokenizer import CharTokenizer
from tests.conftest import ROOT
from tests.speed import within

TALE = "Ein Füchslein 🦊 lief über die Straße.\r\nSchnell!\r" * 40
CLEAN = TALE.replace("\r\n", "\n").replace("\r", "\n")


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "corpora")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use tiny chunks, so that a short text has many chunk boundaries."""
    monkeypatch.setattr(plaintext, "CHUNK", 7)
    monkeypatch.setattr(corpus, "CHUNK", 7)


@pytest.fixture
def all_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every text as large, so that its ids are memory-mapped."""
    monkeypatch.setattr(corpus, "MAX_IN_MEMORY", 0)


def assert_encoded(store: CorpusStore, sha256: str, text: str) -> np.ndarray:
    """Check that encoded() equals encoding the whole text; return the ids."""
    tokenizer, ids = store.encoded(sha256)
    expected = CharTokenizer.from_text(text)
    assert tokenizer.characters == expected.characters
    assert ids.dtype == expected.encode(text).dtype
    np.testing.assert_array_equal(ids, expected.encode(text))
    return ids


def test_the_bundled_text_is_listed(store: CorpusStore, text: str) -> None:
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


def test_a_text_is_stored_under_its_digest(store: CorpusStore) -> None:
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


def test_adding_a_file_of_the_store_keeps_its_name_and_position(store: CorpusStore) -> None:
    info = store.add_text(TALE, "tale.txt", builtin="a-tale")
    other = store.add_text("another text", "another")
    assert store.add_file(store.root / f"{info.sha256}.txt") == info
    assert store.list()[1:] == [other, info]


def test_a_text_that_a_run_needs_is_not_deleted(store: CorpusStore) -> None:
    info = store.add_text("some text", "a")
    with pytest.raises(InputError, match="'my run' still needs"):
        store.delete(info.sha256, needed_by=["my run"])
    assert store.read(info.sha256) == "some text"


@pytest.mark.parametrize("sha256", ["", "../../etc/passwd", "\0", "A" * 64, "0" * 63, "0" * 10_000, None])
def test_invalid_digests_are_not_found(store: CorpusStore, sha256: str) -> None:
    with pytest.raises(InputError, match="no longer here"):
        store.get(sha256)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a\0b", "C:\\x\\y.txt", "n" * 10_000, "\u202egnp.exe", ""])
def test_names_are_never_used_as_paths(store: CorpusStore, name: str) -> None:
    info = store.add_text("some text", name)
    assert 0 < len(info.name) <= 200 and info.name.isprintable()
    assert {path.stem for path in store.root.iterdir()} == {info.sha256}


def test_a_text_changed_on_disk_is_detected(store: CorpusStore) -> None:
    info = store.add_text("some text", "a")
    (store.root / f"{info.sha256}.txt").write_text("other text")
    with pytest.raises(InputError, match="changed on disk"):
        store.read(info.sha256)


def read(data: bytes, encoding: str | None = None) -> str:
    """Return the text that is stored for a file with these bytes."""
    pieces = list(plaintext.decode_file(io.BytesIO(data), encoding=encoding, limit=LOCAL.text_bytes))
    plaintext.TextCounter(pieces).require_text()
    return "".join(pieces)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_every_text_round_trips(text: str) -> None:
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    utf16 = codecs.BOM_UTF16_LE + text.encode("utf-16-le")
    for data in (codecs.BOM_UTF8 + text.encode(), utf16):
        if expected.strip():
            assert read(data) == expected
        else:
            with pytest.raises(InputError, match="empty"):
                read(data)


@given(st.binary())
def test_any_bytes_are_stored_or_rejected_with_an_error(data: bytes) -> None:
    for encoding in (None, "latin-1"):
        try:
            text = read(data, encoding)
        except InputError as error:
            assert len(str(error)) < 200
        else:
            assert text.strip() and "\r" not in text and "\0" not in text
            text.encode()


def test_errors_for_bad_files_are_helpful(store: CorpusStore) -> None:
    with pytest.raises(InputError, match=r"not valid UTF-8 \(byte 3.*Latin-1"):
        store.add(b"caf\xe9", "a")
    assert store.read(store.add(b"caf\xe9", "a", encoding="latin-1").sha256) == "café"
    with pytest.raises(InputError, match="NUL"):
        store.add(b"a\0b", "a")
    with pytest.raises(InputError, match="unpaired surrogate"):
        store.add_text("a\ud800", "a")
    with pytest.raises(InputError, match="no encoding"):
        store.add(b"a", "a", encoding="klingon")
    small = CorpusStore(store.root, Limits(text_bytes=3))
    with pytest.raises(InputError, match="limit"):
        small.add(b"four", "a")
    with pytest.raises(InputError, match="limit"):
        small.add_text("\U0001f98a", "a")  # one character, four bytes
    with pytest.raises(InputError, match="distinct characters"):
        store.add_text("".join(chr(0x4E00 + i) for i in range(20_001)), "a")


@given(st.integers(0, 500), st.floats(0, 0.5))
def test_split_keeps_all_ids_in_order(length: int, fraction: float) -> None:
    ids = np.arange(length)
    train, val = split(ids, fraction)
    np.testing.assert_array_equal(np.concatenate([train, val]), ids)
    assert len(val) == int(length * fraction)


def test_adding_a_file_equals_adding_its_bytes(store: CorpusStore, tmp_path: Path, small_chunks: None) -> None:
    path = tmp_path / "tale.txt"
    for data, encoding in ((TALE.encode(), None), (TALE.encode("utf-16"), None), (TALE.encode("utf-32"), "utf-32")):
        path.write_bytes(data)
        info = store.add_file(path, encoding=encoding)
        for same in (store.add(data, "tale.txt", encoding=encoding), store.add_text(TALE, "tale.txt")):
            assert replace(same, added=info.added) == info
        assert (info.name, info.characters, info.vocab_size) == ("tale.txt", len(CLEAN), len(set(CLEAN)))
    assert store.read(info.sha256) == CLEAN
    assert store.add_file(path, "another name", encoding="utf-32").name == "another name"
    assert len(list(store.root.iterdir())) == 2


def test_adding_the_bundled_file_returns_the_bundled_text(store: CorpusStore) -> None:
    assert store.add_file(corpus.BUNDLED).bundled and list(store.root.iterdir()) == []


def test_a_file_that_is_too_large_is_rejected_without_reading_it(store: CorpusStore, tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with open(path, "wb") as file:
        file.truncate(LOCAL.text_bytes + 1)
    with within(1, time.thread_time), pytest.raises(InputError, match="has 201 MB, but the limit is 200 MB"):
        store.add_file(path)


def test_an_unreadable_file_raises_an_error(store: CorpusStore, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            store.add_file(path)
    with pytest.raises(InputError, match="the limit is 1 MB"):  # its reported size is 0
        CorpusStore(store.root, Limits(text_bytes=2**20)).add_file("/dev/zero")
    info = store.add_text("kept, and then made unreadable", "a")
    (store.root / f"{info.sha256}.txt").unlink()
    (store.root / f"{info.sha256}.txt").mkdir()
    for ask in (store.read, store.frequencies, store.encoded, lambda sha256: store.page(sha256, 0, 5)):
        with pytest.raises(InputError, match="'a' cannot be read"):
            ask(info.sha256)


def test_a_rejected_text_leaves_no_files(store: CorpusStore, small_chunks: None) -> None:
    many = "".join(map(chr, range(256, 20_300))).encode()
    for data in (b"some words, then \xff", b"a zero \0 byte", b" \n \n", many):
        with pytest.raises(InputError):
            store.add(data, "a")
    assert list(store.root.iterdir()) == []


def test_stale_temporary_files_are_deleted(store: CorpusStore) -> None:
    store.root.mkdir()
    old, new = store.root / ".1-aa.part", store.root / ".2-bb.part"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    store.add_text("some text", "a")
    assert not old.exists() and new.exists()


@given(st.text("a\né漢🦊", min_size=1), st.integers(-3, 40), st.integers(0, 40), st.integers(1, 9))
def test_a_page_is_a_slice_of_the_text(text: str, start: int, length: int, chunk: int) -> None:
    text += "end"
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(plaintext, "CHUNK", chunk)
        patch.setattr(corpus, "CHUNK", chunk)
        store = CorpusStore(folder)
        sha256 = store.add_text(text, "a").sha256
        assert store.page(sha256, start, length) == text[max(0, start) :][:length]
        assert store.page(sha256, 0, len(text)) == text


def test_pages_and_frequencies_follow_changes_on_disk(store: CorpusStore, text: str) -> None:
    bundled = store.list()[0].sha256
    assert store.page(bundled, 1000, 50) == text[1000:1050]
    counted = store.frequencies(bundled)
    assert dict(counted) == Counter(text)
    assert [count for _, count in counted] == sorted((count for _, count in counted), reverse=True)
    info = store.add_text("some text", "a")
    assert store.page(info.sha256, 5, 99) == "text" and dict(store.frequencies(info.sha256))["e"] == 2
    (store.root / f"{info.sha256}.txt").write_text("another text")
    for ask in (store.frequencies, store.encoded, lambda sha256: store.page(sha256, 0, 5)):
        with pytest.raises(InputError, match="changed on disk"):
            ask(info.sha256)


def test_small_texts_are_encoded_in_memory(store: CorpusStore, text: str, small_chunks: None) -> None:
    assert not isinstance(assert_encoded(store, store.list()[0].sha256, text), np.memmap)
    info = store.add_text(TALE, "a")
    assert not isinstance(assert_encoded(store, info.sha256, CLEAN), np.memmap)
    assert not (store.root / f"{info.sha256}.ids").exists()


def test_large_texts_are_encoded_once_and_memory_mapped(
    store: CorpusStore, small_chunks: None, all_mapped: None
) -> None:
    for text in (CLEAN, CLEAN + "".join(map(chr, range(0x4E00, 0x4E00 + 300)))):
        info = store.add_text(text, "a")
        path = store.root / f"{info.sha256}.ids"
        assert isinstance(assert_encoded(store, info.sha256, text), np.memmap)
        made = path.stat()
        assert_encoded(store, info.sha256, text)
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    store.delete(info.sha256)
    assert not path.exists()


def test_a_damaged_token_file_is_rebuilt(store: CorpusStore, all_mapped: None) -> None:
    info = store.add_text(TALE, "a")
    path = store.root / f"{info.sha256}.ids"
    store.encoded(info.sha256)
    whole = path.read_bytes()
    for damaged in (whole[:-1] + b"\0", whole[:100], b"", whole + b"\0"):
        path.write_bytes(damaged)
        assert_encoded(store, info.sha256, CLEAN)
        assert path.read_bytes() == whole


def test_a_changed_text_is_not_encoded(store: CorpusStore, all_mapped: None) -> None:
    info = store.add_text(TALE, "a")
    (store.root / f"{info.sha256}.txt").write_text(CLEAN[::-1], encoding="utf-8")
    with pytest.raises(InputError, match="changed on disk"):
        store.encoded(info.sha256)
    assert not (store.root / f"{info.sha256}.ids").exists()


def test_without_disk_space_ids_stay_in_memory(store: CorpusStore, all_mapped: None) -> None:
    info = store.add_text(TALE, "a")
    (store.root / f"{info.sha256}.ids").mkdir()  # prevents writing the file, like a full disk
    assert not isinstance(assert_encoded(store, info.sha256, CLEAN), np.memmap)
    assert len(list(store.root.iterdir())) == 3  # the text, its metadata and that folder


def test_two_processes_can_encode_a_text_at_once(store: CorpusStore, all_mapped: None) -> None:
    info = store.add_text(TALE * 500, "a")
    report = (
        "import sys, hashlib; from nanollm.data import corpus; corpus.MAX_IN_MEMORY = 0; sys.stdin.read(1);"
        "_, ids = corpus.CorpusStore(sys.argv[1]).encoded(sys.argv[2]);"
        "print(hashlib.sha256(ids.tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", report, str(store.root), info.sha256]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("!")
        process.stdin.flush()
    answers = {process.communicate()[0].strip() for process in both}
    expected = CharTokenizer.from_text(CLEAN).encode(CLEAN * 500)
    assert answers == {hashlib.sha256(expected.tobytes()).hexdigest()}
    assert {path.suffix for path in store.root.iterdir()} == {".txt", ".json", ".ids"}


def test_baselines_are_computed_once_per_split(store: CorpusStore, text: str, monkeypatch) -> None:
    info = store.add_text(text[::2], "every second character")
    tokenizer, ids = store.encoded(info.sha256)
    expected = {
        fraction: measure_baselines(*split(ids, fraction), tokenizer.vocab_size) for fraction in (0.1, 0.25, 0.0)
    }
    assert {fraction: store.baselines(info.sha256, fraction) for fraction in expected} == expected
    monkeypatch.setattr(corpus, "measure_baselines", lambda *_: pytest.fail("counted again"))
    assert {fraction: CorpusStore(store.root).baselines(info.sha256, fraction) for fraction in expected} == expected
    monkeypatch.undo()
    path = store.root / f"{info.sha256}.counted"
    for damaged in ("", "[]", "[" * 100_000, '{"0.1": 3}', '{"0.1": {"other": 1}}', path.read_text()[:-9]):
        path.write_text(damaged)
        assert store.baselines(info.sha256) == expected[0.1]
    store.delete(info.sha256)
    assert list(store.root.iterdir()) == []
    with pytest.raises(InputError, match="no longer here"):
        store.baselines(info.sha256)
