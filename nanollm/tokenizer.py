"""Characters to numbers and back: the vocabulary is the set of characters of the training text, in code-point order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nanollm.errors import InputError

# Private-use and noncharacter code points stay ordinary; only halves of surrogate pairs are no characters at all.
_SURROGATES = range(0xD800, 0xE000)
_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥"}
_CHUNK = 2**16  # characters encoded at a time, so that what is needed in between stays in the processor's caches


class CharTokenizer:
    """One id per character (Unicode code point): id 0 is the lowest code point of the text it was built from."""

    def __init__(self, characters: Iterable[str] = ()) -> None:
        """The given characters in the given order; with none, build_vocab() is to follow.

        Raises InputError for a repeated character, or for an entry that is not a single character.
        """
        self._set(tuple(characters))

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """The tokenizer of a text: its distinct characters in code-point order."""
        return cls(sorted(set(text)))

    def build_vocab(self, path: str | Path) -> None:
        """Take the vocabulary of a UTF-8 text file, in place. Raises InputError if it is missing or not UTF-8."""
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise InputError(f"The text {str(path)!r} cannot be read: {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise InputError(f"The text {str(path)!r} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
        self._set(tuple(sorted(set(text))))

    @property
    def characters(self) -> tuple[str, ...]:
        """The vocabulary: `characters[i]` is the character of id i."""
        return self._characters

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(self._characters)

    @property
    def id_type(self) -> np.dtype:
        """The smallest unsigned integer type that holds every id."""
        return np.min_scalar_type(max(0, self.vocab_size - 1))

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, one per character: (len(text),) of id_type.

        Raises InputError that names the characters which the vocabulary lacks, or for what is no text.
        """
        if not isinstance(text, str):
            raise InputError("A text is expected, as a string.")
        ids = np.empty(len(text), dtype=self.id_type)
        for start in range(0, len(text), _CHUNK):
            # "clip": whatever lies beyond the table gets its last entry, which stands for "unknown" too.
            found = self._table.take(code_points(text[start : start + _CHUNK]), mode="clip")
            if found.max() == self.vocab_size:
                unknown = self.unknown(text)
                names = " ".join(repr(c) for c in unknown[:8]) + (" and others" if len(unknown) > 8 else "")
                raise InputError(f"This model has never seen {names}: leave out what its text did not contain.")
            ids[start : start + _CHUNK] = found
        return ids

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of some ids (N,). Raises InputError unless they are a row of ids of the vocabulary."""
        ids = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
        whole = ids.ndim == 1 and (np.issubdtype(ids.dtype, np.integer) or not ids.size)
        if not whole or (ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocab_size):
            raise InputError(f"Ids must be one row of whole numbers from 0 to {self.vocab_size - 1}.")
        return "".join(self._characters[i] for i in ids.tolist())

    def unknown(self, text: str) -> list[str]:
        """The characters of the text that the vocabulary lacks, each once, in order of appearance."""
        known = set(self._characters)
        return [c for c in dict.fromkeys(text) if c not in known]

    def _set(self, characters: tuple[str, ...]) -> None:
        if any(not isinstance(c, str) or len(c) != 1 or ord(c) in _SURROGATES for c in characters):
            raise InputError("A vocabulary is a sequence of single characters.")
        if len(set(characters)) != len(characters):
            raise InputError("A vocabulary holds each character once.")
        self._characters = characters
        points = [ord(c) for c in characters]
        # The id of each code point up to the highest and one more; vocab_size, which is no id, where there is none.
        unknown = len(characters)
        self._table = np.full(max(points, default=-1) + 2, unknown, dtype=np.min_scalar_type(unknown))
        self._table[points] = np.arange(unknown)


def visible(character: str) -> str:
    """The character as something that can be seen: space ␣, newline ⏎, tab ⇥, other invisible ones as U+XXXX."""
    if character in _VISIBLE:
        return _VISIBLE[character]
    return character if character.isprintable() else f"U+{ord(character):04X}"


def code_points(text: str) -> np.ndarray:
    """(len(text),) uint32; half of a surrogate pair passes here as one."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
