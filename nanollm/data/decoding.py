"""A text in pieces: bytes read strictly and cleaned, characters counted, never the whole of it in memory.

One emoji makes Python spend 4 bytes on every character of the str that it stands in. So a large text passes by as many
short ones, each no longer than CHUNK.
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

CHUNK = 2**18  # bytes (or characters) at a time: small enough for the processor's caches

# These two say by a mark which byte of a character comes first; without one it is the lower, as everywhere today.
_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}


class WrongEncodingError(InputError):
    """The bytes make no text in the encoding that they were read in; likely_encodings() knows others."""


def decode_file(file: BinaryIO, *, encoding: str | None, limit: int) -> Iterator[str]:
    """The text of a file, piece by piece, with all line ends as newlines.

    UTF-8 (with or without its mark) and UTF-16 with its mark are recognised; everything else needs `encoding` said.
    Raises WrongEncodingError where the bytes are not such a text, InputError for more than `limit` bytes.
    """
    data = file.read(4)  # the length of the longest mark
    if encoding is None:
        encoding = "utf-16" if data.startswith(_MARKS["utf-16"]) else "utf-8-sig"
    # It also joins what the border of two chunks cuts apart: the bytes of a character, and "\r" from its "\n".
    decoder = io.IncrementalNewlineDecoder(_decoder(encoding, data), translate=True)
    size = len(data)
    while True:
        require_size(size, limit)
        try:
            piece = decoder.decode(data, final=not data)
        except UnicodeError as error:
            # What could not be decoded ends where the file was read up to; the mark is no longer part of it.
            start = size - len(error.object) + error.start if isinstance(error, UnicodeDecodeError) else 0
            raise WrongEncodingError(
                f"This file is not valid {encoding.removesuffix('-sig').upper()} (byte {start:,}): save it as UTF-8, "
                "or read it as Latin-1 if it is an old Western text."
            ) from error
        if piece:
            yield piece
        if not data:
            return
        data = file.read(CHUNK)
        size += len(data)


def chunk_text(text: str) -> Iterator[str]:
    """The same of a text that is at hand."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    for start in range(0, len(text), CHUNK):
        yield newlines.decode(text[start : start + CHUNK])
    yield newlines.decode("", final=True)


def require_size(size: int, limit: int) -> None:
    """Raise InputError for more bytes than the limit."""
    if size > limit:
        raise InputError(
            f"This file has {math.ceil(size / 2**20):,} MB, the limit is {limit // 2**20} MB: bring a part of it."
        )


def _decoder(encoding: str, head: bytes) -> codecs.IncrementalDecoder:
    """A strict decoder for a file that begins with `head`. Raises InputError if there is no such encoding."""
    try:
        "".encode(encoding)  # says no to what Python also calls codecs, but what makes no text, such as base64
        name = codecs.lookup(encoding).name
        if name in _MARKS and not head.startswith(_MARKS[name]):
            name += "-le"
        return codecs.getincrementaldecoder(name)("strict")
    except (LookupError, ValueError) as error:
        raise InputError(f"There is no encoding {encoding!r}: try latin-1.") from error


class TextCounter:
    """What a text consists of, counted while its pieces pass by."""

    def __init__(self, pieces: Iterable[str] = ()) -> None:
        """Count these pieces, or none yet. Raises InputError as add() does."""
        self.characters = 0  # how many in all
        self.bytes = 0  # and in how many bytes of UTF-8
        self.starts: list[tuple[int, int]] = []  # of each piece: the characters and the bytes before it
        self._counts = np.zeros(1, dtype=np.int64)  # of each code point up to the highest so far
        for piece in pieces:
            self.add(piece)

    def add(self, piece: str) -> bytes:
        """Count one more piece; returns it as UTF-8. Raises InputError for half of a surrogate pair."""
        try:
            content = piece.encode()
        except UnicodeEncodeError as error:
            place = self.characters + error.start
            raise InputError(f"Character {place:,} of this text is half of a pair: copy the text again.") from error
        counts = np.bincount(code_points(piece), minlength=len(self._counts))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        self.starts.append((self.characters, self.bytes))
        self.characters += len(piece)
        self.bytes += len(content)
        return content

    def require_text(self) -> None:
        """Raise InputError if there is nothing to read in it, WrongEncodingError for what no text holds (NUL)."""
        if not self.vocabulary().strip():
            raise InputError("This text is empty: bring one with some characters in it; 100,000 are plenty.")
        if self._counts[0]:
            raise WrongEncodingError("This is not a text (it holds NUL bytes): choose a plain .txt file.")

    def vocabulary(self) -> str:
        """The distinct characters in code-point order."""
        return "".join(map(chr, np.flatnonzero(self._counts)))

    def frequencies(self) -> list[tuple[str, int]]:
        """Each character and how often it occurs, the most frequent first."""
        points = np.flatnonzero(self._counts)
        counts = self._counts[points]
        order = np.argsort(-counts, kind="stable")
        return [(chr(point), count) for point, count in zip(points[order], counts[order].tolist(), strict=True)]

    def odd(self) -> list[tuple[str, int]]:
        """Those characters that oddity() has a word for, the most frequent first."""
        return [(character, count) for character, count in self.frequencies() if oddity(character)]

    def entropy(self) -> float:
        """Of the characters, in nats each: the loss of somebody who knows how often each occurs, and nothing else."""
        shares = self._counts[self._counts > 0] / max(1, self.characters)
        return float(-shares @ np.log(shares)) + 0.0  # not -0.0


def oddity(character: str) -> str:
    """What is odd about a character that can hide in a text: its code point, name and kind; empty for an honest one."""
    kind = _ODD.get(unicodedata.category(character), "")
    if character in " \n\t" or not (kind or character == "\ufffd"):
        return ""
    name = unicodedata.name(character, "")
    kind = kind or "stands for what could not be read"
    return f"U+{ord(character):04X}{f' {name}' if name else ''}: {kind}"


# By Unicode's general category.
_ODD = {
    "Cc": "a control character",
    "Cf": "invisible",
    "Cn": "no character (yet)",
    "Co": "for private use",
    "Zl": "a line end of its own",
    "Zp": "a paragraph end of its own",
    "Zs": "a space of its own width",
}
