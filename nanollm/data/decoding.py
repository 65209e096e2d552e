"""Streaming text input: strict decoding, newline normalization and character statistics, in chunks.

A large text is never held as one str, because a single emoji makes Python use 4 bytes for each of its characters.
"""

from __future__ import annotations

import codecs
import io
import math
import unicodedata
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from nanollm.errors import InputError
from nanollm.tokenizer import code_points

CHUNK = 2**18  # bytes (or characters) per chunk; fits in the CPU caches

# Byte order marks. Without one, these encodings are read as little-endian.
_BYTE_ORDER_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}


class WrongEncodingError(InputError):
    """The file is not valid in the encoding used to read it; likely_encodings() suggests others."""


def decode_file(file: BinaryIO, *, encoding: str | None, limit: int) -> Iterator[str]:
    """Decode a file in chunks, with all line endings converted to newlines.

    Without `encoding`, UTF-8 (with or without BOM) and UTF-16 with BOM are detected. Raises WrongEncodingError if the
    bytes are not valid in that encoding, InputError for more than `limit` bytes.
    """
    data = file.read(4)  # length of the longest byte order mark
    if encoding is None:
        encoding = "utf-16" if data.startswith(_BYTE_ORDER_MARKS["utf-16"]) else "utf-8-sig"
    # It also handles characters and "\r\n" pairs that are split between two chunks.
    decoder = io.IncrementalNewlineDecoder(_decoder(encoding, data), translate=True)
    size = len(data)
    while True:
        require_size(size, limit)
        try:
            chunk = decoder.decode(data, final=not data)
        except UnicodeError as error:
            # error.object ends at the current file position, but may lack the byte order mark at its start.
            start = size - len(error.object) + error.start if isinstance(error, UnicodeDecodeError) else 0
            raise WrongEncodingError(
                f"This file is not valid {encoding.removesuffix('-sig').upper()} (byte {start:,}). Save it as UTF-8, "
                "or choose its encoding, such as Latin-1 for old Western texts."
            ) from error
        if chunk:
            yield chunk
        if not data:
            return
        data = file.read(CHUNK)
        size += len(data)


def chunk_text(text: str) -> Iterator[str]:
    """Split a string into chunks, with all line endings converted to newlines."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    for start in range(0, len(text), CHUNK):
        yield newlines.decode(text[start : start + CHUNK])
    yield newlines.decode("", final=True)


def require_size(size: int, limit: int) -> None:
    """Raise InputError if a size in bytes exceeds the limit."""
    if size > limit:
        raise InputError(
            f"This file has {math.ceil(size / 2**20):,} MB, but the limit is {limit // 2**20} MB: use a part of it."
        )


def _decoder(encoding: str, head: bytes) -> codecs.IncrementalDecoder:
    """Create a strict decoder for a file that starts with `head`. Raises InputError for an unknown encoding."""
    try:
        "".encode(encoding)  # fails for codecs that are not text encodings, such as base64
        name = codecs.lookup(encoding).name
        if name in _BYTE_ORDER_MARKS and not head.startswith(_BYTE_ORDER_MARKS[name]):
            name += "-le"
        return codecs.getincrementaldecoder(name)("strict")
    except (LookupError, ValueError) as error:
        raise InputError(f"There is no encoding {encoding!r}: try latin-1.") from error


class TextCounter:
    """Statistics of a text, collected chunk by chunk."""

    def __init__(self, chunks: Iterable[str] = ()) -> None:
        """Count the given chunks. Raises InputError like add()."""
        self.characters = 0  # total number
        self.bytes = 0  # total size in UTF-8
        self.starts: list[tuple[int, int]] = []  # per chunk: the numbers of characters and bytes before it
        self._counts = np.zeros(1, dtype=np.int64)  # counts[code point], up to the highest one so far
        for chunk in chunks:
            self.add(chunk)

    def add(self, chunk: str) -> bytes:
        """Count a chunk and return it as UTF-8. Raises InputError for an unpaired surrogate."""
        try:
            content = chunk.encode()
        except UnicodeEncodeError as error:
            position = self.characters + error.start
            raise InputError(
                f"Character {position:,} of this text is an unpaired surrogate: copy the text again."
            ) from error
        counts = np.bincount(code_points(chunk), minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        self.starts.append((self.characters, self.bytes))
        self.characters += len(chunk)
        self.bytes += len(content)
        return content

    def require_text(self) -> None:
        """Raise InputError if the text is blank, WrongEncodingError if it contains NUL bytes."""
        if not self.vocabulary().strip():
            raise InputError("This text is empty: choose one with more characters; 100,000 are plenty.")
        if self._counts[0]:
            raise WrongEncodingError("This is not a text (it contains NUL bytes): choose a plain .txt file.")

    def vocabulary(self) -> str:
        """Return the distinct characters in code-point order."""
        return "".join(map(chr, np.flatnonzero(self._counts)))

    def frequencies(self) -> list[tuple[str, int]]:
        """Return (character, count) pairs, the most frequent first."""
        points = np.flatnonzero(self._counts)
        counts = self._counts[points]
        order = np.argsort(-counts, kind="stable")
        return [(chr(point), count) for point, count in zip(points[order], counts[order].tolist(), strict=True)]

    def unusual(self) -> list[tuple[str, int]]:
        """Return (character, count) pairs of unusual characters (see describe_unusual()), the most frequent first."""
        return [(character, count) for character, count in self.frequencies() if describe_unusual(character)]

    def entropy(self) -> float:
        """Return the unigram entropy in nats per character: the loss of a model that knows only the frequencies."""
        probabilities = self._counts[self._counts > 0] / max(1, self.characters)
        return float(-probabilities @ np.log(probabilities)) + 0.0  # avoids -0.0


def describe_unusual(character: str) -> str:
    """Describe an invisible or unusual character by code point, name and kind; return "" for ordinary characters."""
    kind = _UNUSUAL_CATEGORIES.get(unicodedata.category(character), "")
    if character in " \n\t" or not (kind or character == "\ufffd"):
        return ""
    name = unicodedata.name(character, "")
    kind = kind or "replacement for undecodable text"
    return f"U+{ord(character):04X}{f' {name}' if name else ''}: {kind}"


# Descriptions by Unicode general category.
_UNUSUAL_CATEGORIES = {
    "Cc": "a control character",
    "Cf": "invisible",
    "Cn": "unassigned",
    "Co": "private use",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Zs": "a non-standard space",
}
