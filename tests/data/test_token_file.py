"""Token files: writing, memory-mapping, damage detection and chunked iteration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanollm.data.token_file import iter_chunks, map_ids, release_pages, write_ids
from nanollm.errors import InputError
from nanollm.tokenizer import CharTokenizer

OURS, OTHER = "a" * 64, "b" * 64


def written(path: Path, text: str) -> tuple[CharTokenizer, bytes]:
    tokenizer = CharTokenizer.from_text(text)
    with open(path, "wb") as file:
        write_ids(file, OURS, tokenizer, [text[:5], text[5:]])
    return tokenizer, path.read_bytes()


@pytest.mark.parametrize("size", [1, 200, 256, 257, 2000])
def test_a_written_file_can_be_mapped(tmp_path: Path, size: int) -> None:
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


def test_any_damage_is_detected(tmp_path: Path) -> None:
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


def test_an_unknown_character_is_named_in_the_error(tmp_path: Path) -> None:
    with open(tmp_path / "ids", "wb") as file, pytest.raises(InputError, match="'c'"):
        write_ids(file, OURS, CharTokenizer("ab"), ["abc"])


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 2, 5, 6, 7, 12])
def test_chunks_cover_every_window_once(size: int, overlap: int) -> None:
    ids = np.arange(size)
    found = [start for chunk in iter_chunks(ids, 5, overlap) for start in np.arange(len(chunk) - overlap) + chunk[0]]
    assert found == list(range(max(0, size - overlap)))


def test_pages_are_released_while_iterating(tmp_path: Path) -> None:
    status = Path("/proc/self/status")
    if "RssFile" not in (status.read_text() if status.exists() else ""):
        pytest.skip("needs RssFile in /proc/self/status")

    def resident() -> int:
        return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if "RssFile" in line)

    size = 48 * 2**20
    (tmp_path / "ids").write_bytes(bytes(range(256)) * (size // 256))
    ids, most, total = np.memmap(tmp_path / "ids", np.uint8, mode="c"), 0, 0
    before = resident()
    for chunk in iter_chunks(ids, 2**20):
        total += int(chunk.sum(dtype=np.int64))
        most = max(most, resident() - before)
    assert total == size // 256 * sum(range(256)) and 2**19 < most < 8 * 2**20
    ids[5:].sum()
    release_pages(ids[:-1][5:])  # releases the whole file
    assert resident() - before < 2**20 and ids[-1] == 255
    release_pages((ids[:9] + 1)[:7])  # a copy: does nothing


def test_without_madvise_iteration_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("mmap.MADV_DONTNEED", raising=False)  # as on Windows
    ids = np.arange(250, dtype=np.uint8)
    (tmp_path / "ids").write_bytes(ids.tobytes())
    result = np.concatenate(list(iter_chunks(np.memmap(tmp_path / "ids", np.uint8, mode="c"), 100)))
    assert np.array_equal(result, ids)
