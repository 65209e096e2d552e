"""Token files: the ids of a large text, memory-mapped for training instead of loaded.

32 bytes     SHA-256 of everything that follows
one line     JSON: the format, the digest of the text, its characters; padded so that the ids start at a multiple of 64
the rest     the ids in the tokenizer's id_type
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
_CHUNK = 2**20  # bytes hashed at a time
CHUNK_LENGTH = 2**21  # default of iter_chunks()


def write_ids(file: BinaryIO, sha256: str, tokenizer: CharTokenizer, chunks: Iterable[str]) -> None:
    """Encode the text with this digest, given in chunks, into an empty file.

    Raises OSError, or InputError for a character that is not in the tokenizer's vocabulary.
    """
    digest = hashlib.sha256()
    file.write(bytes(_DIGEST))  # placeholder for the digest
    line = json.dumps({"format": FORMAT, "text": sha256, "characters": "".join(tokenizer.characters)}).encode()
    start = -(-(_DIGEST + len(line) + 1) // _ALIGNMENT) * _ALIGNMENT
    line = line.ljust(start - _DIGEST - 1) + b"\n"
    digest.update(line)
    file.write(line)
    for chunk in chunks:
        ids = tokenizer.encode(chunk).tobytes()
        digest.update(ids)
        file.write(ids)
    file.seek(0)
    file.write(digest.digest())


def map_ids(path: Path, sha256: str) -> tuple[CharTokenizer, np.memmap] | None:
    """Memory-map a token file: the tokenizer and the ids (N,) of the text with this digest.

    The whole file is verified by its digest. Returns None if it is missing, damaged, or of another text or format.
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
            # Mode "c" (copy-on-write), because torch only shares the memory of writable arrays. Nothing writes to it.
            return tokenizer, np.memmap(file, dtype=tokenizer.id_type, mode="c", offset=file.tell())
    except OSError:
        return None


def release_pages(ids: np.ndarray) -> None:
    """Release the memory pages of memory-mapped ids that have been read; they are read again when needed.

    Each access loads its surroundings too (64 KB to 2 MB on Linux), so a few hundred random accesses can load a whole
    text. Does nothing for arrays in memory, or on Windows, where the system releases pages on demand.
    """
    mapped = getattr(ids, "_mmap", None)  # None for copies, which numpy also calls memmap
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def iter_chunks(ids: np.ndarray, length: int = CHUNK_LENGTH, overlap: int = 0) -> Iterator[np.ndarray]:
    """Iterate over ids (N,) in chunks of `length`, each followed by the first `overlap` ids of the next."""
    for start in range(0, len(ids) - overlap, length):
        yield np.asarray(ids[start : start + length + overlap])
        release_pages(ids)
