"""The ids of a large text in a file of their own, so that training maps what it reads instead of holding all of it.

32 bytes     SHA-256 of everything that follows
one line     JSON: the format, the text's digest, its characters; padded, so that the ids begin at a multiple of 64
the rest     the ids, each in the tokenizer's id_type
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nanollm.tokenizer import CharTokenizer

FORMAT = 1
_DIGEST = hashlib.sha256().digest_size
_ALIGNMENT = 64
_CHUNK = 2**20  # bytes checked at a time
LENGTH = 2**21  # ids that chunks() reads at a time


def write_ids(file: BinaryIO, sha256: str, tokenizer: CharTokenizer, pieces: Iterable[str]) -> None:
    """Write the ids of the text with this digest into an empty file, given its pieces.

    Raises OSError, and InputError for a character that the tokenizer lacks.
    """
    digest = hashlib.sha256()
    file.write(bytes(_DIGEST))  # known at the end
    line = json.dumps({"format": FORMAT, "text": sha256, "characters": "".join(tokenizer.characters)}).encode()
    begin = -(-(_DIGEST + len(line) + 1) // _ALIGNMENT) * _ALIGNMENT
    line = line.ljust(begin - _DIGEST - 1) + b"\n"
    digest.update(line)
    file.write(line)
    for piece in pieces:
        ids = tokenizer.encode(piece).tobytes()
        digest.update(ids)
        file.write(ids)
    file.seek(0)
    file.write(digest.digest())


def map_ids(path: Path, sha256: str) -> tuple[CharTokenizer, np.memmap] | None:
    """The tokenizer and the ids (N,) that were written for the text with this digest, checked from end to end.

    None if there is no such file, or it is damaged, or of another text or format.
    """
    try:
        with open(path, "rb") as file:
            expected, digest = file.read(_DIGEST), hashlib.sha256()
            while data := file.read(_CHUNK):
                digest.update(data)
            if digest.digest() != expected:
                return None
            file.seek(_DIGEST)
            facts = json.loads(file.readline())
            if (facts["format"], facts["text"]) != (FORMAT, sha256):
                return None
            tokenizer = CharTokenizer(facts["characters"])
            # "copy on write": torch shares the memory of writable arrays only, though nobody writes into this one.
            return tokenizer, np.memmap(file, dtype=tokenizer.id_type, mode="c", offset=file.tell())
    except OSError:
        return None


def release_pages(ids: np.ndarray) -> None:
    """Of ids (N,) mapped from a file, hand in the pages read so far; they are read again where they are wanted again.

    A look at one place brings its neighbourhood in, 64 KB to 2 MB on Linux: a few hundred places are all of a large
    text. Windows cannot be told to take pages back; there they stay until the system wants them.
    """
    mapped = getattr(ids, "_mmap", None)  # none in an array in memory, nor in a copy that numpy still calls a memmap
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def iter_chunks(ids: np.ndarray, length: int = LENGTH, overlap: int = 0) -> Iterator[np.ndarray]:
    """Ids (N,) in pieces of `length`, each with the first `overlap` of those that follow it."""
    for start in range(0, len(ids) - overlap, length):
        yield np.asarray(ids[start : start + length + overlap])
        release_pages(ids)
