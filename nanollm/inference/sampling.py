"""From logits to the next character: temperature, top-k and the draw."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from nanollm.config import MAX_SEED
from nanollm.errors import InputError

MAX_LENGTH = 100_000
MAX_TEMPERATURE = 100.0
MAX_SAMPLES = 256
_COLDEST = 1e-200  # the likeliest is certain long before, and a difference of logits divided by it is still a number


class Candidate(NamedTuple):
    """A character that might have come: its probability by the model, and after temperature and top-k."""

    id: int
    probability: float
    shaped_probability: float


class Sampled(NamedTuple):
    """One drawn character, how likely it was, and on request what else might have come, the likeliest first."""

    id: int
    probability: float  # by the model
    shaped_probability: float  # after temperature and top-k: what was drawn from
    surprisal: float  # bits, -log2 of the model's probability
    rank: int  # 1 for the model's likeliest; of equals, the lower id comes first
    candidates: tuple[Candidate, ...] = ()


def check_sampling(*, temperature: Any, top_k: Any, max_length: Any, seed: Any, candidates: Any = 0) -> None:
    """Raise InputError with a sentence unless all settings can be sampled with."""
    if not _is(temperature, Real) or not 0 <= temperature <= MAX_TEMPERATURE:
        raise InputError(f"temperature must be a number from 0 (always the likeliest) to {MAX_TEMPERATURE:g}.")
    if not _is(top_k, Integral) or top_k < 1:
        raise InputError("top_k must be a whole number of at least 1: among how many characters to choose.")
    if not _is(max_length, Integral) or not 0 <= max_length <= MAX_LENGTH:
        raise InputError(f"The length must be a whole number from 0 to {MAX_LENGTH:,}.")
    if not _is(seed, Integral) or not 0 <= seed <= MAX_SEED:
        raise InputError(f"The seed must be a whole number from 0 to {MAX_SEED}.")
    check_candidates(candidates)


def check_candidates(candidates: Any) -> None:
    """Raise InputError unless so many candidates can be asked for; more than the vocabulary has means all."""
    if not _is(candidates, Integral) or candidates < 0:
        raise InputError("candidates must be a whole number of at least 0: how many of the likeliest to report.")


def derived_seeds(seed: int, num_samples: Any) -> list[int]:
    """A seed for each of several samples: the given one for the first, then those that follow it.

    So each of them is written again by itself from its own seed. Raises InputError for an odd number of samples.
    """
    if not _is(num_samples, Integral) or not 1 <= num_samples <= MAX_SAMPLES:
        raise InputError(f"num_samples must be a whole number from 1 to {MAX_SAMPLES}.")
    return [(int(seed) + i) % (MAX_SEED + 1) for i in range(num_samples)]  # int: numpy's own would overflow


def draw(
    logits: np.ndarray, random: np.random.Generator, *, temperature: float, top_k: int, candidates: int = 0
) -> Sampled:
    """Draw the next character from logits (V,); takes exactly one number from `random`, also when greedy.

    top_k keeps the k likeliest characters. Temperature divides the logits: below 1 the likely become likelier, at 0
    the likeliest is certain, above 1 all move towards equal. Neither changes who is likelier than whom, so everything
    happens in the order of likelihood; a small change of the settings then leaves most draws of a seed as they were.
    Raises InputError if a logit is not a number, as in a model whose training diverged.
    """
    order = (-logits).argsort(kind="stable")  # likeliest first
    scores = logits[order].astype(np.float64)  # (V,)
    scores -= scores[0]  # softmax does not mind, and no exp overflows
    weights = np.exp(scores)
    total = float(np.add.reduce(weights))
    if not total < math.inf:
        raise InputError("The model's numbers have run out of bounds: choose an earlier snapshot.")
    # (≤ top_k,); cut after the likeliest, any temperature is greedy.
    shaped = np.exp(scores[: top_k if temperature else 1] / max(temperature, _COLDEST))
    steps = np.add.accumulate(shaped)
    shaped_total = steps.item(-1)
    place = min(int(steps.searchsorted(random.random() * shaped_total, "right")), len(steps) - 1)  # in case of rounding
    return Sampled(
        order.item(place),
        weights.item(place) / total,
        shaped.item(place) / shaped_total,
        (math.log(total) - scores.item(place)) / math.log(2),
        place + 1,
        _candidates(order, weights / total, shaped / shaped_total, candidates, place) if candidates else (),
    )


def _candidates(
    order: np.ndarray, probabilities: np.ndarray, shaped: np.ndarray, count: int, drawn: int
) -> tuple[Candidate, ...]:
    """The `count` likeliest, and the drawn one if it is not among them; all arrays in the order of likelihood."""
    places = [*range(min(count, len(order)))]
    return tuple(
        Candidate(order.item(i), probabilities.item(i), shaped.item(i) if i < len(shaped) else 0.0)
        for i in (places if drawn < count else [*places, drawn])
    )


def _is(value: Any, kind: type) -> bool:
    """Whether a value is a number of that kind; True and False are no numbers here."""
    return isinstance(value, kind) and not isinstance(value, (bool, np.bool_))
