"""What plain counting achieves on a text: the losses that a model has to beat before it has learned anything new.

A model that does not look at the text at all loses ln V nats a character. One that knows how often each character
occurs loses less, one that knows what follows each character less again, one that knows what follows each pair still
less. These are judged as the model is: they count in the training part, and predict the end that was kept back.

What was never counted must not get the probability 0, or one new pair would cost an infinite loss. With c(h, w) the
count of character w after history h, c(h) its sum over w, and T(h) how many different characters followed h,

    P(w | h) = (c(h, w) + T(h) P(w | h')) / (c(h) + T(h))

where h' is h without its first character, and below the unigram every character has 1 / V. The more different things
followed a history, the more is left for new ones. This is method C of Witten and Bell, "The zero-frequency problem",
IEEE Transactions on Information Theory 37(4), 1991, interpolated as in Chen and Goodman, "An empirical study of
smoothing techniques for language modeling", Computer Speech and Language 13(4), 1999. It has nothing to tune.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nanollm.data.token_file import iter_chunks
from nanollm.errors import InputError

ORDERS = (1, 2, 3)  # unigram, bigram, trigram
MAX_DISTINCT = 2**22  # n-grams that are remembered; only texts of many megabytes in thousands of characters have more
_MAX_CELLS = 2**22  # n-grams that there could be: up to here each has its own cell, which is faster than sorting
_CHUNK = 2**21  # characters counted at a time: 16 MB of keys
_NOTHING = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Baselines:
    """Losses in nats a character, on the validation text; None where there is none. `uniform` is ln V for any text."""

    uniform: float
    unigram: float | None
    bigram: float | None
    trigram: float | None
    counted: int  # characters of the training text, from its beginning, that were counted; all unless MAX_DISTINCT


def measure_baselines(
    train_ids: np.ndarray | Sequence[int], validation_ids: np.ndarray | Sequence[int], vocab_size: int
) -> Baselines:
    """Count n-grams in the ids (N,) of a training text and predict the ids (M,) that follow it.

    Takes bounded memory (about 300 MB at the most) for any length. Where a text has more different trigrams than
    MAX_DISTINCT, only so much of its beginning is counted as has that many. Raises InputError for ids that are not
    from 0 to V - 1.
    """
    train_ids, validation_ids = _row(train_ids), _row(validation_ids)
    if vocab_size < 1:
        raise InputError("A vocabulary has at least one character: build it from the text.")
    uniform = math.log(vocab_size)
    trigrams = _count(train_ids, 3, vocab_size, MAX_DISTINCT)
    counted = trigrams.characters
    # The first characters that were kept back follow the last ones of the training text.
    judged = np.concatenate([train_ids[-2:], validation_ids]) if len(validation_ids) else validation_ids
    if len(judged) < 3:
        return Baselines(uniform, None, None, None, counted)
    tables = [*(_count(train_ids[:counted], order, vocab_size) for order in (1, 2)), trigrams]
    nats = np.zeros(len(tables))
    for chunk in _chunks(judged, 3):
        keys, counts = _distinct(_keys(chunk, 3, vocab_size), vocab_size**3)
        for row, probabilities in enumerate(_probabilities(tables, keys)):
            nats[row] -= counts @ np.log(probabilities)
    unigram, bigram, trigram = (nats / (len(judged) - 2)).tolist()
    return Baselines(uniform, unigram, bigram, trigram, counted)


class NgramCounts:
    """The n-grams of one order in a text. A key is the n ids of an n-gram as the digits of a number to base V."""

    def __init__(self, keys: np.ndarray, counts: np.ndarray, vocab_size: int, characters: int) -> None:
        """Ascending keys (K,) of those that occur, how often each does (K,), and in a text of how many characters."""
        self.vocab_size = vocab_size
        self.characters = characters
        self._keys, self._counts = keys, counts
        begins = _begins(keys // vocab_size)
        self._histories = keys[begins] // vocab_size  # (H,), ascending: the n - 1 characters before the last one
        self._totals = np.add.reduceat(counts, begins) if len(begins) else counts  # (H,): c(h)
        self._followers = np.diff(begins, append=len(keys))  # (H,): T(h)

    def probabilities(self, keys: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """P(w | h) of the n-grams `keys` (K,), given P(w | h') of each (K,)."""
        histories = keys // self.vocab_size
        count = _looked_up(keys, self._keys, self._counts)
        total = _looked_up(histories, self._histories, self._totals)
        followers = _looked_up(histories, self._histories, self._followers)
        known = total > 0
        return np.where(known, (count + followers * lower) / np.where(known, total + followers, 1), lower)


def _probabilities(tables: Sequence[NgramCounts], keys: np.ndarray) -> Iterator[np.ndarray]:
    """For each order from the unigram on, the probability (K,) of the last character of each of the trigrams (K,)."""
    vocab_size = tables[0].vocab_size
    probabilities = np.full(len(keys), 1 / vocab_size)
    for order, table in zip(ORDERS, tables, strict=True):
        probabilities = table.probabilities(keys % vocab_size**order, probabilities)
        yield probabilities


def _count(ids: np.ndarray, order: int, vocab_size: int, most: float = math.inf) -> NgramCounts:
    """Count the n-grams of a text, or of so much of its beginning as has more than `most` different ones.

    Raises InputError for ids out of range.
    """
    keys, counts = _NOTHING, _NOTHING
    for number, chunk in enumerate(_chunks(ids, order), start=1):
        more = _distinct(_keys(chunk, order, vocab_size), vocab_size**order)
        keys, counts = _merged((keys, counts), more) if len(keys) else more
        if len(keys) > most:
            return NgramCounts(keys, counts, vocab_size, min(len(ids), number * _CHUNK + order - 1))
    return NgramCounts(keys, counts, vocab_size, len(ids))


def _row(ids: np.ndarray | Sequence[int]) -> np.ndarray:
    """The ids as an array (N,). Raises InputError unless they are a row of whole numbers."""
    row = np.asanyarray(ids) if len(ids) else _NOTHING
    if row.ndim != 1 or not np.issubdtype(row.dtype, np.integer):
        raise InputError("The ids must be one row of whole numbers: use tokenizer.encode(text).")
    return row


def _chunks(ids: np.ndarray, order: int) -> Iterator[np.ndarray]:
    """The ids in pieces that overlap, so that each n-gram lies in exactly one of them."""
    return iter_chunks(ids, _CHUNK, order - 1)


def _keys(ids: np.ndarray, order: int, vocab_size: int) -> np.ndarray:
    """The keys (N - n + 1,) of all n-grams, in the order of the text. Raises InputError for ids out of range."""
    if not 0 <= ids.min() <= ids.max() < vocab_size:
        raise InputError(f"Every id must be from 0 to {vocab_size - 1}: encode with its tokenizer.")
    length = len(ids) - order + 1
    keys = ids[:length].astype(np.int64)
    for place in range(1, order):
        keys *= vocab_size
        keys += ids[place : place + length]
    return keys


def _distinct(keys: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The different ones among keys from 0 to cells - 1, ascending, and how often each occurs."""
    if cells <= _MAX_CELLS:
        counts = np.bincount(keys)
        distinct = np.flatnonzero(counts)
        return distinct, counts[distinct]
    keys = np.sort(keys)
    begins = _begins(keys)
    return keys[begins], np.diff(begins, append=len(keys))


def _merged(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Two counts as one."""
    keys = np.concatenate([one[0], other[0]])
    order = np.argsort(keys, kind="stable")  # merges what is sorted already
    keys, counts = keys[order], np.concatenate([one[1], other[1]])[order]
    begins = _begins(keys)
    return keys[begins], np.add.reduceat(counts, begins)


def _begins(keys: np.ndarray) -> np.ndarray:
    """Where in ascending keys each different one occurs first."""
    return np.flatnonzero(np.diff(keys, prepend=-1))


def _looked_up(wanted: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each wanted key, 0 for one that is not among the ascending keys."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
