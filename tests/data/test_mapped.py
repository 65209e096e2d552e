"""Walking through ids: every one of them once, and of those in a file only a stretch in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanollm.data.token_file import iter_chunks, release_pages


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 2, 5, 6, 7, 12])
def test_every_place_begins_one_window(size: int, overlap: int) -> None:
    ids = np.arange(size)
    found = [piece for whole in iter_chunks(ids, 5, overlap) for piece in np.arange(len(whole) - overlap) + whole[0]]
    assert found == list(range(max(0, size - overlap)))


def test_what_was_passed_is_given_back(tmp_path: Path) -> None:
    status = Path("/proc/self/status")
    if "RssFile" not in (status.read_text() if status.exists() else ""):
        pytest.skip("what is mapped is read from /proc")

    def resident() -> int:
        return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if "RssFile" in line)

    size = 48 * 2**20
    (tmp_path / "ids").write_bytes(bytes(range(256)) * (size // 256))
    ids, most, total = np.memmap(tmp_path / "ids", np.uint8, mode="c"), 0, 0
    before = resident()
    for piece in iter_chunks(ids, 2**20):
        total += int(piece.sum(dtype=np.int64))
        most = max(most, resident() - before)
    assert total == size // 256 * sum(range(256)) and 2**19 < most < 8 * 2**20
    ids[5:].sum()
    release_pages(ids[:-1][5:])  # of the whole file, whatever part of it is asked for
    assert resident() - before < 2**20 and ids[-1] == 255
    release_pages((ids[:9] + 1)[:7])  # a copy: there is nothing to be given back


def test_where_pages_cannot_be_given_back_they_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("mmap.MADV_DONTNEED", raising=False)  # as on Windows
    ids = np.arange(250, dtype=np.uint8)
    (tmp_path / "ids").write_bytes(ids.tobytes())
    walked = np.concatenate(list(iter_chunks(np.memmap(tmp_path / "ids", np.uint8, mode="c"), 100)))
    assert np.array_equal(walked, ids)
