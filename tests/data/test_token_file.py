"""Ids on disk are those of the text, whole, or they are not taken at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanollm.data.token_file import map_ids, write_ids
from nanollm.errors import InputError
from nanollm.tokenizer import CharTokenizer

OURS, OTHER = "a" * 64, "b" * 64


def written(path: Path, text: str) -> tuple[CharTokenizer, bytes]:
    tokenizer = CharTokenizer.from_text(text)
    with open(path, "wb") as file:
        write_ids(file, OURS, tokenizer, [text[:5], text[5:]])
    return tokenizer, path.read_bytes()


@pytest.mark.parametrize("size", [1, 200, 256, 257, 2000])
def test_what_was_written_is_mapped(tmp_path: Path, size: int) -> None:
    text = "".join(chr(0x1F000 + i) for i in range(size)) * 2
    tokenizer, content = written(tmp_path / "ids", text)
    mapped = map_ids(tmp_path / "ids", OURS)
    assert mapped is not None
    assert mapped[0].characters == tokenizer.characters
    assert isinstance(mapped[1], np.memmap) and mapped[1].dtype == tokenizer.id_type
    np.testing.assert_array_equal(mapped[1], tokenizer.encode(text))
    assert mapped[1].ctypes.data % 64 == 0
    mapped[1][0] = 1  # stays in this process
    assert (tmp_path / "ids").read_bytes() == content


def test_damage_of_any_kind_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    _, content = written(path, "banana 🦊\n")
    assert map_ids(path, OURS) is not None and map_ids(path, OTHER) is None
    for place in range(len(content)):
        path.write_bytes(content[:place])
        assert map_ids(path, OURS) is None
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert map_ids(path, OURS) is None
    path.write_bytes(content + b"\0")
    assert map_ids(path, OURS) is None
    path.unlink()
    assert map_ids(path, OURS) is None


def test_a_character_that_the_tokenizer_lacks_is_named(tmp_path: Path) -> None:
    with open(tmp_path / "ids", "wb") as file, pytest.raises(InputError, match="'c'"):
        write_ids(file, OURS, CharTokenizer("ab"), ["abc"])
