"""Memorization: which passages of a text occur verbatim in the training text, and how many of its n-grams do not.

Natural language repeats itself, so the figures are only meaningful in comparison: held-out text of the same length,
which cannot have been copied, is measured as a control. Only verbatim copies count; a copy with one character changed
counts as two shorter ones. Similar measures for language models: Carlini et al. 2023, "Quantifying Memorization Across
Neural Language Models" (verbatim copies) and McCoy et al. 2023, "How Much Do Language Models Copy…?" (novel n-grams).

The training text is searched with a suffix array (Manber & Myers 1993): all positions, sorted by the text that follows
them, so that suffixes with a common prefix are adjacent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nanollm.errors import InputError
from nanollm.tokenizer import code_points

MAX_CHARACTERS = 10_000_000  # of training text; about 60 bytes per character while sorting, 8 afterwards
MIN_LENGTH = 20  # of a copy; shorter matches are common phrases, which held-out text contains as well
NGRAM_SIZES = (4, 8, 12, 16, 24)
MAX_CONTROLS = 8  # passages of held-out text, each as long as the text
CONTROL_CHARACTERS = 4000  # in all controls together, unless the text itself is longer


@dataclass(frozen=True)
class Copy:
    """A passage that occurs in the training text and cannot be extended to either side."""

    start: int  # index in the text
    length: int
    source: int  # index in the training text, of one occurrence if there are several


@dataclass(frozen=True)
class Overlap:
    """The overlap of a text of M characters with the training text."""

    match_lengths: np.ndarray  # (M,) int64: length of the longest match that starts at each index
    copies: tuple[Copy, ...]  # sorted by start; copies may overlap
    covered: np.ndarray  # (M,) bool: whether each character is part of a copy
    novelty: dict[int, float]  # n → share of the text's n-grams not in the training text; NaN for texts shorter than n

    @property
    def longest(self) -> int:
        """Length of the longest match, even if it is too short to count as a copy."""
        return int(self.match_lengths.max(initial=0))


@dataclass(frozen=True)
class Memorization:
    """Overlap of a text with the training text, and of held-out passages of the same length as controls."""

    text: Overlap
    controls: tuple[Overlap, ...]  # empty if the held-out text is shorter than the text

    def control_novelty(self) -> dict[int, float]:
        """n → mean share of novel n-grams over the controls; NaN without controls."""
        shares = {n: [control.novelty[n] for control in self.controls] for n in self.text.novelty}
        return {n: float(np.mean(found)) if found else np.nan for n, found in shares.items()}

    def control_longest(self) -> float:
        """Median over the controls of the length of the longest match; NaN without controls."""
        return float(np.median([control.longest for control in self.controls])) if self.controls else np.nan


class TrainingText:
    """A training text with its suffix array; building it takes about a second per million characters."""

    def __init__(self, text: str) -> None:
        """Build the suffix array. Raises InputError if the text is empty or longer than MAX_CHARACTERS."""
        if not 0 < len(text) <= MAX_CHARACTERS:
            raise InputError(
                f"The training text has {len(text):,} characters: copies can be searched in 1 to {MAX_CHARACTERS:,}."
            )
        self.text = text
        self._order = suffix_array(text).data  # a memoryview yields Python ints, which slice a str faster

    def longest_match(self, text: str, start: int) -> tuple[int, int]:
        """Length and index in the training text of the longest match of text[start:]; (0, 0) if there is none."""
        training, order, length = self.text, self._order, 32
        while True:
            prefix = text[start : start + length]
            at = bisect_left(order, prefix, key=lambda index: training[index : index + length])
            # The suffix with the longest common prefix is adjacent to the insertion point.
            best = max((_common_length(text, start, training, i), i) for i in order[max(0, at - 1) : at + 1])
            if best[0] < length or start + length >= len(text):
                return best if best[0] else (0, 0)
            length *= 8  # the match is longer than the compared prefix: another suffix may match further


def memorization(training: TrainingText, text: str, held_out: str = "") -> Memorization:
    """Measure the overlap of a text with the training text, and of held-out passages as controls.

    Raises InputError if the text is empty.
    """
    found, M = overlap(training, text), len(text)
    count = min(MAX_CONTROLS, len(held_out) // M, max(1, CONTROL_CHARACTERS // M))
    starts = np.linspace(0, len(held_out) - M, count).astype(int).tolist()
    return Memorization(found, tuple(overlap(training, held_out[start : start + M]) for start in starts))


def overlap(
    training: TrainingText, text: str, *, min_length: int = MIN_LENGTH, ngram_sizes: Sequence[int] = NGRAM_SIZES
) -> Overlap:
    """Find all copies of at least `min_length` characters, and the share of novel n-grams for each n-gram size.

    Raises InputError if the text is empty, or if min_length or an n-gram size is below 1.
    """
    if not text:
        raise InputError("The text is empty: generate or paste one.")
    if (shortest := min([min_length, *ngram_sizes])) < 1:
        raise InputError(f"min_length and n-gram sizes must be at least 1, not {shortest}.")
    M = len(text)
    matches = [training.longest_match(text, start) for start in range(M)]
    lengths = np.array([length for length, _ in matches])  # (M,)
    ends = np.arange(M) + lengths
    extends = np.diff(ends, prepend=0) > 0  # otherwise part of the match before it
    starts = np.flatnonzero(extends & (lengths >= min_length))
    covered = np.zeros(M, bool)
    for start in starts:
        covered[start : ends[start]] = True
    novelty = {n: float((lengths[: M - n + 1] < n).mean()) if n <= M else float("nan") for n in ngram_sizes}
    copies = tuple(Copy(int(start), int(lengths[start]), matches[start][1]) for start in starts)
    return Overlap(lengths, copies, covered, novelty)


def suffix_array(text: str) -> np.ndarray:
    """Indices of a text (N,), sorted by the suffixes that start there, in code-point order.

    Prefix doubling (Larsson & Sadakane 1999): suffixes are sorted by their first characters, as many as fit into 64
    bits, and then in each round by twice as many, using the ranks of the previous round for the second half. Only
    suffixes that are still tied enter the next round: of 1.1 million characters, nearly all are sorted after three.
    """
    compared, keys = _packed(_codes(text))
    order = np.argsort(keys)
    rank = np.empty(len(order), np.int64)  # the first slot of each group of suffixes that are tied so far
    slots = np.arange(len(order))  # indices into `order` that are not final yet; ties are adjacent
    keys = keys[order]
    while len(slots):
        first = np.diff(keys, prepend=keys[:1] ^ np.uint64(1)) != 0
        rank[order[slots]] = slots[np.maximum.accumulate(np.where(first, np.arange(len(slots)), 0))]
        unique = first & np.append(first[1:], True)
        slots = slots[~unique]
        suffixes = order[slots]
        rest = suffixes + compared  # where the second half of the compared characters starts
        rest_rank = np.where(rest < len(rank), rank[np.minimum(rest, len(rank) - 1)] + 1, 0)  # the end sorts first
        keys = rank[suffixes].astype(np.uint64) << np.uint64(32) | rest_rank.astype(np.uint64)
        by_key = np.argsort(keys)
        order[slots], keys = suffixes[by_key], keys[by_key]
        compared *= 2
    return order


def _codes(text: str) -> np.ndarray:
    """Characters as consecutive codes from 1, in code-point order: (N,) uint64."""
    points = code_points(text)
    present = np.zeros(int(points.max()) + 1, np.uint64)
    present[points] = 1
    return present.cumsum(dtype=np.uint64)[points]


def _packed(codes: np.ndarray) -> tuple[int, np.ndarray]:
    """As many consecutive codes as fit into 64 bits: their number, and the packed key at each index, (N,) uint64."""
    bits = int(codes.max()).bit_length()
    count = 64 // bits
    keys = np.zeros(len(codes), np.uint64)
    for offset in range(count):
        keys <<= np.uint64(bits)
        keys[: max(0, len(codes) - offset)] |= codes[offset:]  # 0 beyond the end sorts before all codes
    return count, keys


def _common_length(text: str, start: int, training: str, index: int) -> int:
    longest = min(len(text) - start, len(training) - index)
    low, step = 0, 16
    while low < longest:
        step = min(step, longest - low)
        if text[start + low : start + low + step] == training[index + low : index + low + step]:
            low, step = low + step, step * 2
        elif step == 1:
            break
        else:
            step //= 2
    return low
