"""Is it copying? Where a text repeats the training text word for word, and how much of it was never seen there.

Every language repeats itself, so a number means little alone: the same questions are asked of held-out text, which
nobody can have copied. What is found is verbatim; a copy with one letter changed counts as two shorter ones.

The training text is searched through its suffix array (Manber & Myers 1993): the places of the text in the order of
what follows them, in which whatever begins alike stands together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nanollm.errors import InputError
from nanollm.tokenizer import code_points

MAX_CHARACTERS = 10_000_000  # of training text: some 60 bytes each while it is sorted, 8 afterwards
MIN_LENGTH = 20  # a copy shorter than this is a phrase that anyone may hit upon: held-out text is full of them
GRAMS = (4, 8, 12, 16, 24)
CONTROLS = 8  # at most so many stretches of held-out text, each as long as the text in question
CONTROL_CHARACTERS = 4000  # in all of them, unless the text itself is longer


@dataclass(frozen=True)
class Copy:
    """A stretch of a text that stands in the training text, and cannot be made longer to either side."""

    start: int  # in the text
    length: int
    source: int  # where it begins in the training text: one place, if there are several


@dataclass(frozen=True)
class Copying:
    """How much of a text of M characters stands in the training text."""

    matched: np.ndarray  # (M,) int64: how many characters from each place on stand in the training text
    copies: tuple[Copy, ...]  # by their start; they may overlap
    covered: np.ndarray  # (M,) bool: which characters belong to one
    novel: dict[int, float]  # n → share of the text's n-grams that the training text does not have; NaN if it has none

    @property
    def longest(self) -> int:
        """Length of the longest stretch that stands in the training text, however short."""
        return int(self.matched.max(initial=0))


@dataclass(frozen=True)
class Memorization:
    """A text, and as a control stretches of the same length of text that was held out."""

    text: Copying
    controls: tuple[Copying, ...]  # empty if too little was held out

    def usual_novelty(self) -> dict[int, float]:
        """n → mean share of unseen n-grams over the controls; NaN without any."""
        shares = {n: [control.novel[n] for control in self.controls] for n in self.text.novel}
        return {n: float(np.mean(found)) if found else np.nan for n, found in shares.items()}

    def usual_longest(self) -> float:
        """Median length of the controls' longest match; NaN without any."""
        return float(np.median([control.longest for control in self.controls])) if self.controls else np.nan


class TrainingText:
    """A text made ready to be searched: takes a second for a million characters, and then hardly any time."""

    def __init__(self, text: str) -> None:
        """Raises InputError if the text is empty or too long."""
        if not 0 < len(text) <= MAX_CHARACTERS:
            raise InputError(
                f"Copies can be looked for in texts of 1 to {MAX_CHARACTERS:,} characters, not of {len(text):,}."
            )
        self.text = text
        self._order = suffix_array(text).data  # a memoryview gives plain ints, which slice a str faster than numpy's do

    def longest_match(self, text: str, start: int) -> tuple[int, int]:
        """How many characters of `text` from `start` on stand in the training text, and where (0, 0 if none)."""
        whole, order, length = self.text, self._order, 32
        while True:
            wanted = text[start : start + length]
            at = bisect_left(order, wanted, key=lambda place: whole[place : place + length])
            # Whatever begins most like it stands right before or right after its place in the order.
            best = max((_common(text, start, whole, place), place) for place in order[max(0, at - 1) : at + 1])
            if best[0] < length or start + length >= len(text):
                return best if best[0] else (0, 0)
            length *= 8  # more than was compared: the best may be another one


def memorization(
    training: TrainingText,
    text: str,
    held_out: str = "",
    *,
    min_length: int = MIN_LENGTH,
    grams: Sequence[int] = GRAMS,
) -> Memorization:
    """How much of a text stands in the training text, beside the same of held-out text as a control.

    Raises InputError if the text is empty, or for a length below 1.
    """
    ask = lambda some: copying(training, some, min_length=min_length, grams=grams)  # noqa: E731
    found, M = ask(text), len(text)
    wanted = min(CONTROLS, len(held_out) // M, max(1, CONTROL_CHARACTERS // M))
    starts = np.linspace(0, len(held_out) - M, wanted).astype(int).tolist()
    return Memorization(found, tuple(ask(held_out[start : start + M]) for start in starts))


def copying(
    training: TrainingText, text: str, *, min_length: int = MIN_LENGTH, grams: Sequence[int] = GRAMS
) -> Copying:
    """How much of a text stands in the training text: all copies of at least `min_length`, unseen n-grams for each n.

    Raises InputError if the text is empty, or for a length below 1.
    """
    if not text:
        raise InputError("There is no text to look for: let the model write some, or paste one.")
    if min([min_length, *grams]) < 1:
        raise InputError("A length must be a whole number of at least 1.")
    M = len(text)
    matches = [training.longest_match(text, start) for start in range(M)]
    matched = np.array([length for length, _ in matches])  # (M,)
    ends = np.arange(M) + matched
    grows = np.diff(ends, prepend=0) > 0  # else the match one place before goes as far, and begins earlier
    starts = np.flatnonzero(grows & (matched >= min_length))
    covered = np.zeros(M, bool)
    for start in starts:
        covered[start : ends[start]] = True
    novel = {n: float((matched[: M - n + 1] < n).mean()) if n <= M else float("nan") for n in grams}
    copies = tuple(Copy(int(start), int(matched[start]), matches[start][1]) for start in starts)
    return Copying(matched, copies, covered, novel)


def suffix_array(text: str) -> np.ndarray:
    """The places of a text (N,), ordered by what stands from each on to the end, in code-point order.

    Ordered first by as many characters as fit into one number, then by twice as many in each round, looking up how the
    second half was ordered before (Larsson & Sadakane 1999). Only places still alike go into the next round: of a text
    of 1.1 million characters nearly all are settled after three.
    """
    compared, keys = _packed(_codes(text))
    order = np.argsort(keys)
    rank = np.empty(len(order), np.int64)  # the same for places that are alike so far: the first slot they may take
    slots = np.arange(len(order))  # of `order`, still to be settled; alike ones stand together
    keys = keys[order]
    while len(slots):
        first = np.diff(keys, prepend=keys[:1] ^ np.uint64(1)) != 0
        rank[order[slots]] = slots[np.maximum.accumulate(np.where(first, np.arange(len(slots)), 0))]
        alone = first & np.append(first[1:], True)
        slots = slots[~alone]
        places = order[slots]
        beyond = places + compared
        after = np.where(beyond < len(rank), rank[np.minimum(beyond, len(rank) - 1)] + 1, 0)  # an end comes first
        keys = rank[places].astype(np.uint64) << np.uint64(32) | after.astype(np.uint64)
        by_key = np.argsort(keys)
        order[slots], keys = places[by_key], keys[by_key]
        compared *= 2
    return order


def _codes(text: str) -> np.ndarray:
    """The characters of a text (N,) as numbers from 1 on without gaps, uint64, in code-point order."""
    points = code_points(text)
    present = np.zeros(int(points.max()) + 1, np.uint64)
    present[points] = 1
    return present.cumsum(dtype=np.uint64)[points]


def _packed(codes: np.ndarray) -> tuple[int, np.ndarray]:
    """How many characters fit into one number, and the number of each place (N,) uint64; codes count from 1."""
    bits = int(codes.max()).bit_length()
    fitting = 64 // bits
    keys = np.zeros(len(codes), np.uint64)
    for index in range(fitting):
        keys <<= np.uint64(bits)
        keys[: max(0, len(codes) - index)] |= codes[index:]  # nothing, 0, stands beyond the end
    return fitting, keys


def _common(text: str, start: int, whole: str, place: int) -> int:
    """How many characters from `start` and from `place` on are the same."""
    most = min(len(text) - start, len(whole) - place)
    low, step = 0, 16
    while low < most:
        step = min(step, most - low)
        if text[start + low : start + low + step] == whole[place + low : place + low + step]:
            low, step = low + step, step * 2
        elif step == 1:
            break
        else:
            step //= 2
    return low
