"""Sampling options, and the draw of one character from logits with temperature and top-k."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from nanollm.config import MAX_SEED
from nanollm.errors import InputError

MAX_LENGTH = 100_000
MAX_TEMPERATURE = 100.0
MAX_SAMPLES = 256
_MIN_TEMPERATURE = 1e-200  # the draw is greedy long before; logit differences divided by this are still finite


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample a continuation. Raises InputError, naming the field and its value, for invalid options."""

    max_length: int = 200
    """Number of new characters, 0 to MAX_LENGTH; the prompt is not counted."""
    temperature: float = 0.8
    """Divisor of the logits, 0 to MAX_TEMPERATURE: below 1 favors likely characters, 0 is greedy decoding."""
    top_k: int = 40
    """Sample among the k most likely characters only; a value above the vocabulary size means all."""
    seed: int = 42
    """Random seed, 0 to MAX_SEED; the same seed reproduces the text."""
    candidates: int = 0
    """Number of most likely alternatives to report with each character; does not affect the text."""

    def __post_init__(self) -> None:
        if not _is(self.temperature, Real) or not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise _invalid("temperature", self.temperature, f"a number from 0 (greedy) to {MAX_TEMPERATURE:g}")
        if not _is(self.top_k, Integral) or self.top_k < 1:
            raise _invalid("top_k", self.top_k, "a whole number of at least 1")
        if not _is(self.max_length, Integral) or not 0 <= self.max_length <= MAX_LENGTH:
            raise _invalid("max_length", self.max_length, f"a whole number from 0 to {MAX_LENGTH:,}")
        if not _is(self.seed, Integral) or not 0 <= self.seed <= MAX_SEED:
            raise _invalid("seed", self.seed, f"a whole number from 0 to {MAX_SEED:,}")
        check_candidates(self.candidates)
        object.__setattr__(self, "temperature", float(self.temperature))  # numpy scalars and fractions are accepted


class Candidate(NamedTuple):
    """A possible next character, with its probability before and after temperature and top-k."""

    id: int
    probability: float
    shaped_probability: float


class Sampled(NamedTuple):
    """A sampled character and its probability; with `candidates`, the most likely alternatives as well."""

    id: int
    probability: float  # softmax of the model's logits
    shaped_probability: float  # after temperature and top-k: the probability it was sampled with
    surprisal: float  # bits: -log2(probability)
    rank: int  # 1 for the model's most likely character; ties go to the lower id
    candidates: tuple[Candidate, ...] = ()  # most likely first; the sampled one comes last if it is not among them


def check_candidates(candidates: Any) -> None:
    """Raise InputError unless `candidates` is a whole number of at least 0."""
    if not _is(candidates, Integral) or candidates < 0:
        raise _invalid("candidates", candidates, "a whole number of at least 0")


def derived_seeds(seed: int, num_samples: Any) -> list[int]:
    """The seeds of several samples: seed, seed + 1, …, so that each sample can be reproduced on its own.

    Raises InputError unless num_samples is a whole number from 1 to MAX_SAMPLES.
    """
    if not _is(num_samples, Integral) or not 1 <= num_samples <= MAX_SAMPLES:
        raise _invalid("num_samples", num_samples, f"a whole number from 1 to {MAX_SAMPLES}")
    return [(int(seed) + i) % (MAX_SEED + 1) for i in range(num_samples)]  # int(): numpy integers could overflow


def draw(logits: np.ndarray, random: np.random.Generator, options: SamplingOptions) -> Sampled:
    """Sample one character id from logits (V,). Uses `temperature`, `top_k` and `candidates` of the options.

    Consumes exactly one random number, even when greedy. Temperature and top-k keep the ranking of the characters, so
    the draw inverts the cumulative distribution in ranking order: a small change of either leaves most draws of a seed
    unchanged. Raises InputError if a logit is NaN or infinite, as after a diverged training.
    """
    order = (-logits).argsort(kind="stable")  # (V,) ids, most likely first; stable: ties go to the lower id
    scores = logits[order].astype(np.float64)  # (V,)
    scores -= scores[0]  # softmax is invariant to a shift, and exp cannot overflow
    weights = np.exp(scores)
    total = float(np.add.reduce(weights))
    if not total < math.inf:
        raise InputError("The model's logits are not finite, as after a diverged training: choose an earlier snapshot.")
    temperature = options.temperature
    # (≤ top_k,) unnormalised probabilities. Greedy decoding is top-1 sampling, at any temperature.
    shaped = np.exp(scores[: options.top_k if temperature else 1] / max(temperature, _MIN_TEMPERATURE))
    cumulative = np.add.accumulate(shaped)
    shaped_total = cumulative.item(-1)
    index = int(cumulative.searchsorted(random.random() * shaped_total, "right"))
    index = min(index, len(cumulative) - 1)  # the product may round up to the total
    return Sampled(
        order.item(index),
        weights.item(index) / total,
        shaped.item(index) / shaped_total,
        (math.log(total) - scores.item(index)) / math.log(2),
        index + 1,
        tuple(_candidates(order, weights / total, shaped / shaped_total, options.candidates, index))
        if options.candidates
        else (),
    )


def _candidates(
    order: np.ndarray, probabilities: np.ndarray, shaped: np.ndarray, count: int, sampled: int
) -> Iterator[Candidate]:
    """The `count` most likely characters, then the sampled one if it is not among them; arrays are in rank order."""
    ranks = [*range(min(count, len(order)))]
    for i in ranks if sampled < count else [*ranks, sampled]:
        yield Candidate(order.item(i), probabilities.item(i), shaped.item(i) if i < len(shaped) else 0.0)


def _is(value: Any, kind: type) -> bool:
    """Whether the value is a number of this kind; booleans are not accepted as numbers."""
    return isinstance(value, kind) and not isinstance(value, (bool, np.bool_))


def _invalid(name: str, value: Any, expected: str) -> InputError:
    try:
        shown = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        shown = "a very large number"
    return InputError(f"{name} ({shown if len(shown) <= 40 else shown[:39] + '…'}) must be {expected}.")
