"""Reading from a row of ids without keeping all of it in memory, where the row is mapped from a file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

LENGTH = 2**21  # ids at a time


def give_back(ids: np.ndarray) -> None:
    """Of ids (N,) mapped from a file, hand in the pages read so far; they are read again where they are wanted again.

    A look at one place brings its neighbourhood in, 64 KB to 2 MB on Linux: a few hundred places are all of a large
    text. Windows cannot be told to take pages back; there they stay until the system wants them.
    """
    mapped = getattr(ids, "_mmap", None)  # none in an array in memory, nor in a copy that numpy still calls a memmap
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def stretches(ids: np.ndarray, length: int = LENGTH, overlap: int = 0) -> Iterator[np.ndarray]:
    """Ids (N,) in pieces of `length`, each with the first `overlap` of those that follow it."""
    for start in range(0, len(ids) - overlap, length):
        yield np.asarray(ids[start : start + length + overlap])
        give_back(ids)
