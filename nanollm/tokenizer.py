"""Character-level tokenizer: one id per Unicode code point, in code-point order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nanollm.errors import InputError

# Surrogates are halves of a UTF-16 pair, not characters. All other code points are allowed, private-use ones too.
_SURROGATES = range(0xD800, 0xE000)
_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥"}
_CHUNK = 2**16  # characters encoded at a time, so that temporary arrays fit in the CPU caches


class CharTokenizer:
    """Character-level tokenizer. Id 0 is the lowest code point of the text it was built from."""

    def __init__(self, characters: Iterable[str] = ()) -> None:
        """Use the given characters as vocabulary, in the given order. Without any, call build_vocab() afterwards.

        Raises InputError for a repeated character or an entry that is not a single character.
        """
        self._set_vocabulary(tuple(characters))

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """Build the tokenizer of a text: its distinct characters in code-point order."""
        return cls(sorted(set(text)))

    def build_vocab(self, path: str | Path) -> None:
        """Set the vocabulary to that of a UTF-8 text file. Raises InputError if the file is missing or not UTF-8."""
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise InputError(f"The text {str(path)!r} cannot be read: {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise InputError(f"The text {str(path)!r} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
        self._set_vocabulary(tuple(sorted(set(text))))

    @property
    def characters(self) -> tuple[str, ...]:
        """The vocabulary: `characters[i]` is the character with id i."""
        return self._characters

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self._characters)

    @property
    def id_type(self) -> np.dtype:
        """Smallest unsigned integer dtype that can hold every id."""
        return np.min_scalar_type(max(0, self.vocab_size - 1))

    def encode(self, text: str) -> np.ndarray:
        """Convert a text to ids, one per character: an array (len(text),) of dtype id_type.

        Raises InputError if the text has characters outside of the vocabulary (naming them), or is not a string.
        """
        if not isinstance(text, str):
            raise InputError(f"encode() needs a string, not {type(text).__name__}.")
        ids = np.empty(len(text), dtype=self.id_type)
        for start in range(0, len(text), _CHUNK):
            # "clip" maps code points beyond the table to its last entry, which also means "unknown".
            chunk = self._table.take(code_points(text[start : start + _CHUNK]), mode="clip")
            if chunk.max() == self.vocab_size:
                unknown = self.unknown(text)
                names = " ".join(repr(c) for c in unknown[:8]) + (" and others" if len(unknown) > 8 else "")
                raise InputError(f"This model has never seen {names}: remove characters that its training text lacks.")
            ids[start : start + _CHUNK] = chunk
        return ids

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Convert ids (N,) to text. Raises InputError unless they are a one-dimensional sequence of valid ids."""
        ids = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
        integers = ids.ndim == 1 and (np.issubdtype(ids.dtype, np.integer) or not ids.size)
        if not integers or (ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocab_size):
            raise InputError(f"Ids must be a one-dimensional sequence of integers from 0 to {self.vocab_size - 1}.")
        return "".join(self._characters[i] for i in ids.tolist())

    def unknown(self, text: str) -> list[str]:
        """Return the characters of the text that are not in the vocabulary, each once, in order of appearance."""
        known = set(self._characters)
        return [c for c in dict.fromkeys(text) if c not in known]

    def without_unknown(self, text: str) -> str:
        """Return the text without the characters that are not in the vocabulary."""
        known = set(self._characters)
        return "".join(c for c in text if c in known)

    def _set_vocabulary(self, characters: tuple[str, ...]) -> None:
        if any(not isinstance(c, str) or len(c) != 1 or ord(c) in _SURROGATES for c in characters):
            raise InputError("A vocabulary must be a sequence of single characters.")
        if len(set(characters)) != len(characters):
            raise InputError("A vocabulary must contain each character only once.")
        self._characters = characters
        points = [ord(c) for c in characters]
        # table[code point] is the id, or vocab_size for an unknown character. The last entry is always "unknown".
        unknown = len(characters)
        self._table = np.full(max(points, default=-1) + 2, unknown, dtype=np.min_scalar_type(unknown))
        self._table[points] = np.arange(unknown)


def visible(character: str) -> str:
    """Return a printable form of a character: ␣ for space, ⏎ for newline, ⇥ for tab, U+XXXX if not printable."""
    if character in _VISIBLE:
        return _VISIBLE[character]
    return character if character.isprintable() else f"U+{ord(character):04X}"


def code_points(text: str) -> np.ndarray:
    """Return the code points of a text as uint32 (len(text),), including unpaired surrogates."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
