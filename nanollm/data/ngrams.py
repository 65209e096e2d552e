"""N-gram baselines: the losses of uniform, unigram, bigram and trigram models, which a Transformer should beat.

A uniform guess has a loss of ln V nats per character. A unigram model knows the frequency of each character, a bigram
model what follows each character, a trigram model what follows each pair. They are counted on the training split and
evaluated on the validation split, like the model.

Smoothing avoids zero probabilities, for which a single new pair would give an infinite loss. With c(h, w) the count of
character w after history h, c(h) the sum over w, and T(h) the number of distinct characters after h,

    P(w | h) = (c(h, w) + T(h) P(w | h')) / (c(h) + T(h))

where h' is h without its first character; below the unigram, every character has probability 1 / V. The more distinct
characters have followed a history, the more probability remains for new ones. This is Witten–Bell smoothing (method C
of Witten and Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37(4), 1991), interpolated as
in Chen and Goodman, "An empirical study of smoothing techniques for language modeling", Computer Speech and Language
13(4), 1999. It has no hyperparameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nanollm.data.token_file import iter_chunks
from nanollm.errors import InputError

ORDERS = (1, 2, 3)  # unigram, bigram, trigram
MAX_DISTINCT = 2**22  # n-grams stored; only exceeded by texts of many megabytes with thousands of characters
_MAX_CELLS = 2**22  # possible n-grams up to which an array with one cell each is used, which is faster than sorting
_CHUNK = 2**21  # characters counted at a time: 16 MB of keys
_NOTHING = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Baselines:
    """Losses in nats per character on the validation split; None without one. `uniform` is ln V for any text."""

    uniform: float
    unigram: float | None
    bigram: float | None
    trigram: float | None
    counted: int  # characters at the start of the training split that were counted: all, unless limited by MAX_DISTINCT


def measure_baselines(
    train_ids: np.ndarray | Sequence[int], validation_ids: np.ndarray | Sequence[int], vocab_size: int
) -> Baselines:
    """Count n-grams in training ids (N,) and evaluate them on the validation ids (M,) that follow.

    Memory is bounded (about 300 MB) for any length: if a text has more than MAX_DISTINCT distinct trigrams, only its
    beginning up to that number is counted. Raises InputError for ids that are not from 0 to V - 1.
    """
    train_ids, validation_ids = _row(train_ids), _row(validation_ids)
    if vocab_size < 1:
        raise InputError("vocab_size must be at least 1: build the vocabulary from the text.")
    uniform = math.log(vocab_size)
    trigrams = _count(train_ids, 3, vocab_size, MAX_DISTINCT)
    counted = trigrams.characters
    # The history of the first validation characters is the end of the training split.
    evaluated = np.concatenate([train_ids[-2:], validation_ids]) if len(validation_ids) else validation_ids
    if len(evaluated) < 3:
        return Baselines(uniform, None, None, None, counted)
    tables = [*(_count(train_ids[:counted], order, vocab_size) for order in (1, 2)), trigrams]
    nats = np.zeros(len(tables))
    for chunk in _chunks(evaluated, 3):
        keys, counts = _distinct(_keys(chunk, 3, vocab_size), vocab_size**3)
        for row, probabilities in enumerate(_probabilities(tables, keys)):
            nats[row] -= counts @ np.log(probabilities)
    unigram, bigram, trigram = (nats / (len(evaluated) - 2)).tolist()
    return Baselines(uniform, unigram, bigram, trigram, counted)


class NgramCounts:
    """N-gram counts of one order. The key of an n-gram is the number whose n digits in base V are its ids."""

    def __init__(self, keys: np.ndarray, counts: np.ndarray, vocab_size: int, characters: int) -> None:
        """Store ascending keys (K,), their counts (K,), and the number of characters that were counted."""
        self.vocab_size = vocab_size
        self.characters = characters
        self._keys, self._counts = keys, counts
        starts = _first_occurrences(keys // vocab_size)
        self._histories = keys[starts] // vocab_size  # (H,), ascending: the first n - 1 characters
        self._totals = np.add.reduceat(counts, starts) if len(starts) else counts  # (H,): c(h)
        self._followers = np.diff(starts, append=len(keys))  # (H,): T(h)

    def probabilities(self, keys: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Return P(w | h) of the n-grams `keys` (K,), given P(w | h') of each as `lower` (K,)."""
        histories = keys // self.vocab_size
        count = _lookup(keys, self._keys, self._counts)
        total = _lookup(histories, self._histories, self._totals)
        followers = _lookup(histories, self._histories, self._followers)
        known = total > 0
        return np.where(known, (count + followers * lower) / np.where(known, total + followers, 1), lower)


def _probabilities(tables: Sequence[NgramCounts], keys: np.ndarray) -> Iterator[np.ndarray]:
    """Yield, for orders 1 to 3, the probability (K,) of the last character of each trigram in `keys` (K,)."""
    vocab_size = tables[0].vocab_size
    probabilities = np.full(len(keys), 1 / vocab_size)
    for order, table in zip(ORDERS, tables, strict=True):
        probabilities = table.probabilities(keys % vocab_size**order, probabilities)
        yield probabilities


def _count(ids: np.ndarray, order: int, vocab_size: int, max_distinct: float = math.inf) -> NgramCounts:
    """Count the n-grams of ids, stopping after the chunk in which there are more than `max_distinct` distinct ones.

    Raises InputError for ids out of range.
    """
    keys, counts = _NOTHING, _NOTHING
    for number, chunk in enumerate(_chunks(ids, order), start=1):
        more = _distinct(_keys(chunk, order, vocab_size), vocab_size**order)
        keys, counts = _merged((keys, counts), more) if len(keys) else more
        if len(keys) > max_distinct:
            return NgramCounts(keys, counts, vocab_size, min(len(ids), number * _CHUNK + order - 1))
    return NgramCounts(keys, counts, vocab_size, len(ids))


def _row(ids: np.ndarray | Sequence[int]) -> np.ndarray:
    """Convert ids to an array (N,). Raises InputError unless they are a 1-D sequence of integers."""
    row = np.asanyarray(ids) if len(ids) else _NOTHING
    if row.ndim != 1 or not np.issubdtype(row.dtype, np.integer):
        raise InputError("The ids must be a one-dimensional sequence of integers: use tokenizer.encode(text).")
    return row


def _chunks(ids: np.ndarray, order: int) -> Iterator[np.ndarray]:
    """Iterate over ids in overlapping chunks, so that each n-gram is in exactly one of them."""
    return iter_chunks(ids, _CHUNK, order - 1)


def _keys(ids: np.ndarray, order: int, vocab_size: int) -> np.ndarray:
    """Return the keys (N - n + 1,) of all n-grams, in text order. Raises InputError for ids out of range."""
    if not 0 <= ids.min() <= ids.max() < vocab_size:
        raise InputError(f"Every id must be from 0 to {vocab_size - 1}: use the tokenizer of this vocabulary.")
    length = len(ids) - order + 1
    keys = ids[:length].astype(np.int64)
    for offset in range(1, order):
        keys *= vocab_size
        keys += ids[offset : offset + length]
    return keys


def _distinct(keys: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct keys (in 0 … cells - 1), ascending, and their counts."""
    if cells <= _MAX_CELLS:
        counts = np.bincount(keys)
        distinct = np.flatnonzero(counts)
        return distinct, counts[distinct]
    keys = np.sort(keys)
    starts = _first_occurrences(keys)
    return keys[starts], np.diff(starts, append=len(keys))


def _merged(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    keys = np.concatenate([one[0], other[0]])
    order = np.argsort(keys, kind="stable")  # a merge, because both parts are sorted
    keys, counts = keys[order], np.concatenate([one[1], other[1]])[order]
    starts = _first_occurrences(keys)
    return keys[starts], np.add.reduceat(counts, starts)


def _first_occurrences(keys: np.ndarray) -> np.ndarray:
    """Return the index of the first occurrence of each distinct key, given ascending keys."""
    return np.flatnonzero(np.diff(keys, prepend=-1))


def _lookup(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the values of the queried keys, 0 for those that are not among the ascending `keys`."""
    if not len(keys):
        return np.zeros(len(queries), dtype=np.int64)
    indices = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[indices] == queries, values[indices], 0)
