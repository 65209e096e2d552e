"""How else a file that is not UTF-8 might be read: the encodings that its bytes allow, each with what it would read.

No rule tells Cyrillic from Chinese in a few bytes, but whoever brought the text sees at once which line reads right.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nanollm.errors import InputError

# The more common first.
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
    "latin-1": "Latin-1, every byte a character",
}
_LOOKED_AT = 2**16  # bytes, from a little before the first telling one
_BEFORE, _AFTER = 10, 22  # characters of an excerpt around the first one that tells
_CHUNK = 2**20
_TELLING = re.compile(rb"[\x00\x80-\xff]")  # bytes that not all encodings read alike
# What is rare in any language, but common in a text that is read in the wrong encoding: words of accented letters
# alone, capitals inside of words, signs and narrow katakana between letters.
_UNLIKELY = re.compile(
    r"[À-ÖØ-öø-ž]{3,}|[a-zà-öø-ÿа-я][A-ZÀ-ÖØ-ÞА-Я]|[\u2500-\u259f\uff61-\uff9f]|[^\W\d][¡-¿×÷€ƒ†‡ˆ‰]"
)
MOST = 8  # more than these nobody reads through
_NO_TEXT = ("Cc", "Cn", "Co")  # control characters, and code points that stand for nothing


@dataclass(frozen=True)
class EncodingGuess:
    """One way to read a file."""

    encoding: str  # as Python calls it
    label: str
    excerpt: str  # what it makes of the first place where encodings differ, on one line


def likely_encodings(path: str | Path) -> list[EncodingGuess]:
    """The MOST likely ways in which the file's bytes make a text, the likeliest first; empty for plain ASCII.

    Of those that read alike there is only one. Only the first place that tells is looked at: that the rest can be
    read, too, is only known when it was. Raises InputError if the file cannot be read.
    """
    data = _first_telling(path)
    found: dict[str, EncodingGuess] = {}
    for encoding, label in ENCODINGS.items() if data else ():
        text = _read(data, encoding)
        if text and text not in found:
            found[text] = EncodingGuess(encoding, label, _excerpt(text))
    return [found[text] for text in sorted(found, key=_unlikeliness)[:MOST]]


def _first_telling(path: str | Path) -> bytes:
    """Bytes of the file from a little before the first telling one, at an even place; empty if there is none."""
    try:
        with open(path, "rb") as file:
            while data := file.read(_CHUNK):
                if found := _TELLING.search(data):
                    file.seek(max(0, file.tell() - len(data) + found.start() - 2 * _BEFORE) & ~1)
                    return file.read(_LOOKED_AT)
    except OSError as error:
        raise InputError(f"The text {str(path)!r} cannot be read: {error.strerror or error}.") from error
    return b""


def _read(data: bytes, encoding: str) -> str:
    """The bytes as a text (the last character may be cut short); empty if they are none in this encoding."""
    text = ""
    with suppress(UnicodeError):
        text = codecs.getincrementaldecoder(encoding)("strict").decode(data)
    strange = {c for c in text if c not in "\n\r\t\f" and unicodedata.category(c) in _NO_TEXT}
    # The last resort may hold control characters. NUL is the one that is in no text.
    return "" if "\0" in strange or (strange and encoding != "latin-1") else text


def _unlikeliness(text: str) -> float:
    """How much of what is not ASCII looks as if it were misread, 0 to about 1."""
    telling = sum(not c.isascii() for c in text)
    return sum(len(found) for found in _UNLIKELY.findall(text)) / max(1, telling)


def _excerpt(text: str) -> str:
    place = next((place for place, c in enumerate(text) if not c.isascii()), 0)
    around = text[max(0, place - _BEFORE) : place + _AFTER]
    return "".join(c if c.isprintable() else " " for c in " ".join(around.split()))
