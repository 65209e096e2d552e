"""A walk through a row of ids that needs no memory for the whole of it, even where the row is mapped from a file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

LENGTH = 2**21  # ids at a time


class Mapped(np.memmap):
    """Ids (N,) mapped from a file, in pages that the system lends. They can be written, because torch wants arrays that
    can, but nobody does: it would be lost with the page."""

    def give_back(self) -> None:
        """Hand in the pages that were read so far; they are read again where they are wanted again.

        Windows cannot be told so; there they stay until the system wants them.
        """
        mapped = self._mmap is not None  # type: ignore[attr-defined]  (else: a copy, which numpy still calls by our name)
        if mapped and hasattr(mmap, "MADV_DONTNEED"):
            self._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def stretches(ids: np.ndarray, length: int = LENGTH, overlap: int = 0) -> Iterator[np.ndarray]:
    """Ids (N,) in pieces of `length`, each with the first `overlap` of those that follow it."""
    for start in range(0, len(ids) - overlap, length):
        yield np.asarray(ids[start : start + length + overlap])
        if isinstance(ids, Mapped):
            ids.give_back()
