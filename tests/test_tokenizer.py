"""CharTokenizer: encoding and decoding are lossless, ids are in code-point order, invalid input is rejected."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nanollm.tokenizer
from nanollm.errors import InputError
from nanollm.tokenizer import CharTokenizer, visible

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(texts)
def test_decode_inverts_encode(text: str) -> None:
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text)
    assert tokenizer.vocab_size == len(set(text))


@given(texts)
def test_ids_are_in_code_point_order(text: str) -> None:
    characters = CharTokenizer.from_text(text).characters
    assert list(characters) == sorted(characters)
    assert CharTokenizer.from_text(text[::-1]).characters == characters


@given(texts, st.randoms())
def test_a_given_vocabulary_order_is_kept(text: str, random) -> None:
    characters = list(set(text))
    random.shuffle(characters)
    tokenizer = CharTokenizer(characters)
    assert tokenizer.characters == tuple(characters)
    assert [tokenizer.characters[i] for i in tokenizer.encode(text)] == list(text)


@given(texts, st.text())
def test_unknown_characters_are_named_in_the_error(text: str, other: str) -> None:
    tokenizer = CharTokenizer.from_text(text)
    missing = [c for c in dict.fromkeys(other) if c not in text]
    assert tokenizer.unknown(other) == missing
    if missing:
        with pytest.raises(InputError) as caught:
            tokenizer.encode(other)
        assert all(repr(c) in str(caught.value) for c in missing[:8])
    else:
        assert tokenizer.decode(tokenizer.encode(other)) == other


@pytest.mark.parametrize(("size", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_ids_have_the_smallest_dtype(size: int, dtype: type) -> None:
    tokenizer = CharTokenizer([chr(0x100 + i) for i in range(size)])
    ids = tokenizer.encode("".join(tokenizer.characters))
    assert ids.dtype == tokenizer.id_type == dtype and ids.tolist() == list(range(size))
    for unknown in ("\0", chr(0x100 + size), "\ud800", "\U0010ffff"):
        with pytest.raises(InputError, match="never seen"):
            tokenizer.encode(unknown)


def test_long_texts_are_encoded_like_short_ones(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text[:1000] + "🦊" + text
    tokenizer = CharTokenizer.from_text(text)
    whole = tokenizer.encode(text)
    for chunk in (1, 2, 999, len(text) - 1, len(text)):
        monkeypatch.setattr(nanollm.tokenizer, "_CHUNK", chunk)
        np.testing.assert_array_equal(tokenizer.encode(text), whole)
    with pytest.raises(InputError, match="'é'"):
        tokenizer.encode(text + "é")


def test_build_vocab_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\ufeffbanana 🦊\n", encoding="utf-8")
    tokenizer = CharTokenizer()
    tokenizer.build_vocab(path)
    assert tokenizer.characters == ("\n", " ", "a", "b", "n", "🦊")
    with pytest.raises(InputError, match="cannot be read"):
        tokenizer.build_vocab(tmp_path / "missing.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="not UTF-8"):
        tokenizer.build_vocab(tmp_path / "latin.txt")


@pytest.mark.parametrize("characters", [["ab"], [""], ["a", "a"], ["\ud800"], [7]])
def test_invalid_vocabularies_are_rejected(characters: list) -> None:
    with pytest.raises(InputError):
        CharTokenizer(characters)


@pytest.mark.parametrize("ids", [[3], [-1], [0.5], [True, 9], [[0, 1]], np.array([[2]]), np.array(1), "ab", [2**70]])
def test_invalid_ids_are_rejected(ids: Any) -> None:
    with pytest.raises(InputError):
        CharTokenizer("abc").decode(ids)


@pytest.mark.parametrize("text", [None, 5, b"abc", ["a", "b"], math.nan], ids=repr)
def test_encoding_a_non_string_is_rejected(text: Any) -> None:
    with pytest.raises(InputError, match="a string"):
        CharTokenizer("abc").encode(text)


def test_an_empty_vocabulary_encodes_nothing() -> None:
    assert CharTokenizer().decode(CharTokenizer().encode("")) == ""
    with pytest.raises(InputError):
        CharTokenizer().encode("a")


@pytest.mark.parametrize(("character", "shown"), [(" ", "␣"), ("\n", "⏎"), ("\t", "⇥"), ("a", "a"), ("\x07", "U+0007")])
def test_visible_shows_whitespace(character: str, shown: str) -> None:
    assert visible(character) == shown
