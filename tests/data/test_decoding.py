"""Decoding in chunks equals decoding the whole text, for all chunk boundaries."""

from __future__ import annotations

import codecs
import io
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nanollm.data import decoding as plaintext
from nanollm.data.decoding import TextCounter, chunk_text, decode_file, describe_unusual
from nanollm.errors import InputError

# Sequences that a chunk boundary can split: line endings and characters of two, three and four bytes.
texts = st.text(st.one_of(st.sampled_from("\r\n\r\nab é漢🦊"), st.characters(exclude_categories=["Cs"])))
chunks = st.integers(1, 7)
NO_LIMIT = 10**9


@contextmanager
def chunks_of(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plaintext, "CHUNK", size)
        yield


def read(data: bytes, encoding: str | None = None, *, limit: int = NO_LIMIT) -> str:
    return "".join(decode_file(io.BytesIO(data), encoding=encoding, limit=limit))


def with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(texts, chunks)
@example("a\r\nb\r\r\n\r", 1)
@example("🦊\r", 3)
def test_chunk_boundaries_do_not_change_the_text(text: str, chunk: int) -> None:
    with chunks_of(chunk):
        assert read(codecs.BOM_UTF8 + text.encode()) == with_newlines(text)
        assert read(codecs.BOM_UTF16_LE + text.encode("utf-16-le")) == with_newlines(text)
        assert read(codecs.BOM_UTF16_BE + text.encode("utf-16-be")) == with_newlines(text)
        assert "".join(chunk_text(text)) == with_newlines(text)


@given(texts, chunks, st.sampled_from(["utf-8", "UTF-16", "utf_16_be", "utf-32", "utf-32-le", "gb18030"]))
def test_a_given_encoding_is_decoded_like_python_does(text: str, chunk: int, encoding: str) -> None:
    data = text.encode(encoding)
    with chunks_of(chunk):
        assert read(data, encoding) == with_newlines(data.decode(encoding))


def test_utf16_without_bom_is_little_endian() -> None:
    assert read("é漢".encode("utf-16-le"), "utf-16") == read("é漢".encode("utf-32-le"), "utf-32") == "é漢"


@given(st.binary(max_size=40), chunks)
@example(b"caf\xe9", 1)
@example(b"12345\xf0\x9f\xa6", 3)  # the last character is incomplete
@example(b"\xed\xa0\x80", 2)  # an unpaired surrogate
def test_the_error_names_the_first_invalid_byte(data: bytes, chunk: int) -> None:
    try:
        expected = data.decode("utf-8")
    except UnicodeDecodeError as error:
        with chunks_of(chunk), pytest.raises(InputError, match=rf"not valid UTF-8 \(byte {error.start:,}\)"):
            read(data, "utf-8")
    else:
        with chunks_of(chunk):
            assert read(data, "utf-8") == with_newlines(expected)


def test_byte_offsets_count_from_the_start_of_the_file() -> None:
    with pytest.raises(InputError, match=r"byte 300,003\)"):
        read(codecs.BOM_UTF8 + b"a" * 300_000 + b"\xff")
    with pytest.raises(InputError, match=r"not valid UTF-16 \(byte 4\)"):
        read(codecs.BOM_UTF16_LE + b"a\0" + b"b")


@pytest.mark.parametrize("encoding", ["klingon", "base64", "hex", "rot13", "", "a\0b", "ü", "\ud800", "x" * 10_000])
def test_unknown_encodings_raise_an_error(encoding: str) -> None:
    with pytest.raises(InputError, match="no encoding"):
        read(b"a", encoding)


def test_an_endless_file_is_rejected_at_the_limit() -> None:
    with open("/dev/zero", "rb") as endless, pytest.raises(InputError, match="the limit is 1 MB"):
        for _ in decode_file(endless, encoding=None, limit=2**20):
            pass
    assert read(b"four", limit=4) == "four"


@given(st.lists(texts, max_size=6))
def test_text_counter_counts_everything(pieces: list[str]) -> None:
    survey, text = TextCounter(pieces), "".join(pieces)
    assert (survey.characters, survey.bytes) == (len(text), len(text.encode()))
    assert survey.vocabulary() == "".join(sorted(set(text)))
    counted = survey.frequencies()
    assert dict(counted) == Counter(text)
    assert [count for _, count in counted] == sorted((c for _, c in counted), reverse=True)
    for piece, (characters, size) in zip(pieces, survey.starts, strict=True):
        assert text[characters:].startswith(piece) and text.encode()[size:].startswith(piece.encode())


def test_text_counter_rejects_non_text() -> None:
    for empty in ([], [""], [" \n", "\t\u3000"]):
        with pytest.raises(InputError, match="empty"):
            TextCounter(empty).require_text()
    with pytest.raises(InputError, match="NUL"):
        TextCounter(["a", "b\0"]).require_text()
    with pytest.raises(InputError, match="Character 3 of this text is an unpaired surrogate"):
        TextCounter(["ab", "c\ud800"])


@given(texts)
def test_entropy_is_between_zero_and_log_vocab_size(text: str) -> None:
    survey = TextCounter([text])
    counted = Counter(text)
    expected = -sum(count / len(text) * math.log(count / len(text)) for count in counted.values())
    assert survey.entropy() == pytest.approx(expected)
    assert 0 <= survey.entropy() <= math.log(max(1, len(counted))) + 1e-9


@pytest.mark.parametrize(
    ("character", "words"),
    [
        ("\u200b", "U+200B ZERO WIDTH SPACE: invisible"),
        ("\xa0", "U+00A0 NO-BREAK SPACE: a non-standard space"),
        ("\x07", "U+0007: a control character"),
        ("\ue000", "U+E000: private use"),
        ("\U0003ffff", "U+3FFFF: unassigned"),
        ("\u2028", "U+2028 LINE SEPARATOR: a line separator"),
        ("\ufffd", "U+FFFD REPLACEMENT CHARACTER: replacement for undecodable text"),
    ],
)
def test_unusual_characters_are_described(character: str, words: str) -> None:
    assert describe_unusual(character) == words
    assert TextCounter([f"a {character}\n{character}\t"]).unusual() == [(character, 2)]


@given(st.text("abcé漢🦊 \n\t.—“”’", min_size=1))
def test_ordinary_characters_are_not_described(text: str) -> None:
    assert TextCounter([text]).unusual() == []
