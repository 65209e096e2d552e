"""Encoding suggestions for a file that is not UTF-8: the encodings in which it is valid, each with an excerpt.

A few bytes do not determine whether a text is Cyrillic or Chinese, but the user can recognize the right excerpt.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nanollm.errors import InputError

# In order of how common they are.
ENCODINGS = {
    "cp1252": "Western European",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16, other byte order",
    "cp1250": "Central European",
    "cp1251": "Cyrillic",
    "koi8-r": "Cyrillic, KOI8-R",
    "cp1253": "Greek",
    "cp1254": "Turkish",
    "cp1255": "Hebrew",
    "cp1256": "Arabic",
    "gb18030": "Chinese, simplified",
    "big5": "Chinese, traditional",
    "shift_jis": "Japanese, Shift JIS",
    "euc_jp": "Japanese, EUC",
    "euc_kr": "Korean",
    "mac_roman": "Western European, old Macintosh",
    "latin-1": "Latin-1 (accepts any bytes)",
}
_SAMPLE_BYTES = 2**16  # decoded, from shortly before the first distinctive byte
_BEFORE, _AFTER = 10, 22  # characters of an excerpt around the first distinctive one
_CHUNK = 2**20
_DISTINCTIVE = re.compile(rb"[\x00\x80-\xff]")  # bytes that depend on the encoding
# Patterns that are rare in all languages but common in wrongly decoded text: words of accented letters only, capitals
# inside words, and symbols or half-width katakana between letters.
_UNLIKELY = re.compile(
    r"[À-ÖØ-öø-ž]{3,}|[a-zà-öø-ÿа-я][A-ZÀ-ÖØ-ÞА-Я]|[\u2500-\u259f\uff61-\uff9f]|[^\W\d][¡-¿×÷€ƒ†‡ˆ‰]"
)
MAX_GUESSES = 8  # suggestions shown
_NOT_TEXT = ("Cc", "Cn", "Co")  # Unicode categories: control, unassigned, private use


@dataclass(frozen=True)
class EncodingGuess:
    encoding: str  # its name in Python
    label: str
    excerpt: str  # the decoded text around the first distinctive byte, on one line


def likely_encodings(path: str | Path) -> list[EncodingGuess]:
    """Return the most plausible encodings of a file (at most MAX_GUESSES), best first; none for plain ASCII.

    Encodings with identical results are listed once. Only the text around the first distinctive byte is decoded, so
    decoding the whole file may still fail. Raises InputError if the file cannot be read.
    """
    data = _distinctive_bytes(path)
    found: dict[str, EncodingGuess] = {}
    for encoding, label in ENCODINGS.items() if data else ():
        text = _decoded(data, encoding)
        if text and text not in found:
            found[text] = EncodingGuess(encoding, label, _excerpt(text))
    return [found[text] for text in sorted(found, key=_unlikeliness)[:MAX_GUESSES]]


def _distinctive_bytes(path: str | Path) -> bytes:
    """Read bytes from shortly before the first distinctive one, at an even offset (for UTF-16); b"" if none."""
    try:
        with open(path, "rb") as file:
            while data := file.read(_CHUNK):
                if found := _DISTINCTIVE.search(data):
                    file.seek(max(0, file.tell() - len(data) + found.start() - 2 * _BEFORE) & ~1)
                    return file.read(_SAMPLE_BYTES)
    except OSError as error:
        raise InputError(f"The text {str(path)!r} cannot be read: {error.strerror or error}.") from error
    return b""


def _decoded(data: bytes, encoding: str) -> str:
    """Decode the bytes, ignoring an incomplete last character; return "" if they are not valid in this encoding."""
    text = ""
    with suppress(UnicodeError):
        text = codecs.getincrementaldecoder(encoding)("strict").decode(data)
    non_text = {c for c in text if c not in "\n\r\t\f" and unicodedata.category(c) in _NOT_TEXT}
    # Latin-1 is the fallback and may contain control characters, but no text contains NUL.
    return "" if "\0" in non_text or (non_text and encoding != "latin-1") else text


def _unlikeliness(text: str) -> float:
    """Return the fraction of non-ASCII characters that look wrongly decoded, from 0 to about 1."""
    non_ascii = sum(not c.isascii() for c in text)
    return sum(len(found) for found in _UNLIKELY.findall(text)) / max(1, non_ascii)


def _excerpt(text: str) -> str:
    position = next((i for i, c in enumerate(text) if not c.isascii()), 0)
    around = text[max(0, position - _BEFORE) : position + _AFTER]
    return "".join(c if c.isprintable() else " " for c in " ".join(around.split()))
