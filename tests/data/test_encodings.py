"""Encoding suggestions contain the original encoding and no invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanollm.data.encodings import ENCODINGS, likely_encodings
from nanollm.errors import InputError

SAMPLES = {
    "cp1252": "She said “come in” to the café’s naïve owner.\n",
    "utf-16-le": "Plain words, two bytes each.\n",
    "utf-16-be": "Plain words, two bytes each.\n",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy.\n",
    "cp1251": "Кошка сидела на окне и смотрела на снег.\n",
    "koi8-r": "Кошка сидела на окне и смотрела на снег.\n",
    "cp1253": "Η γάτα κάθεται στο παράθυρο.\n",
    "cp1254": "Kedi pencerede oturuyor, dışarısı soğuk.\n",
    "cp1255": "החתול יושב ליד החלון.\n",
    "cp1256": "القط يجلس قرب النافذة.\n",
    "gb18030": "猫坐在窗边看雪。\n",
    "big5": "貓坐在窗邊看雪。\n",
    "shift_jis": "猫が窓のそばで雪を見ている。\n",
    "euc_jp": "猫が窓のそばで雪を見ている。\n",
    "euc_kr": "고양이가 창가에 앉아 눈을 본다.\n",
    "mac_roman": "She said “come in” to the café’s naïve owner.\n",
    "latin-1": "a\x85b café\n",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("before", [0, 99_999])
def test_the_original_encoding_is_suggested(tmp_path: Path, encoding: str, before: int) -> None:
    """For any position of the first distinctive byte. Another encoding may give the same text."""
    path = tmp_path / "old.txt"
    before = 0 if encoding.startswith("utf-16") else before  # in UTF-16 the first byte is distinctive
    path.write_bytes(("x" * before + " " + SAMPLES[encoding] * 30).encode(encoding))
    found = likely_encodings(path)
    shown = " ".join(SAMPLES[encoding].split())
    telling = next((place for place, c in enumerate(shown) if not c.isascii()), 0)
    right = [shown[telling : telling + 15].replace("\x85", " ") in one.excerpt for one in found]
    assert any(right), found
    assert all(one.label == ENCODINGS[one.encoding] and len(one.excerpt) <= 32 for one in found)
    assert len({one.encoding for one in found}) == len(found) <= 8


def test_suggestions_have_distinct_results(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_bytes(b"caf\xe9 au lait")
    assert [one.encoding for one in likely_encodings(path) if one.excerpt == "café au lait"] == ["cp1252"]


@pytest.mark.parametrize("content", [b"", b"plain", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, bytes(99)])
def test_without_a_valid_encoding_nothing_is_suggested(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert likely_encodings(path) == []


def test_a_deleted_file_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        likely_encodings(tmp_path / "gone.txt")
