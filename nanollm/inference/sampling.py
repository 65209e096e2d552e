"""From logits to the next character: temperature, top-k and the draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from nanollm.config import MAX_SEED
from nanollm.errors import InputError

MAX_LENGTH = 100_000
MAX_TEMPERATURE = 100.0


@dataclass(frozen=True)
class Sampled:
    """One drawn character: its probability by the model, and after temperature and top-k shaped the distribution."""

    id: int
    probability: float
    shaped_probability: float

    @property
    def surprisal(self) -> float:
        """Bits of surprise by the model's own distribution: -log2 probability."""
        return -math.log2(max(self.probability, 1e-300))


def check_sampling(*, temperature: Any, top_k: Any, max_length: Any, seed: Any) -> None:
    """Raise InputError with a sentence unless all four settings can be sampled with."""
    if not _is(temperature, Real) or not 0 <= temperature <= MAX_TEMPERATURE:
        raise InputError(f"temperature must be a number from 0 (always the likeliest) to {MAX_TEMPERATURE:g}.")
    if not _is(top_k, Integral) or top_k < 1:
        raise InputError("top_k must be a whole number of at least 1: among how many characters to choose.")
    if not _is(max_length, Integral) or not 0 <= max_length <= MAX_LENGTH:
        raise InputError(f"The length must be a whole number from 0 to {MAX_LENGTH:,}.")
    if not _is(seed, Integral) or not 0 <= seed <= MAX_SEED:
        raise InputError(f"The seed must be a whole number from 0 to {MAX_SEED}.")


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities (..., V) of scores (..., V)."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def shape(logits: np.ndarray, temperature: float, top_k: int) -> np.ndarray:
    """The distribution (V,) that is drawn from.

    top_k keeps the k likeliest characters (and what ties with the last of them); temperature divides the logits:
    below 1 the likely become likelier, at 0 the likeliest is certain, above 1 all move towards equal.
    """
    if temperature == 0:
        return np.eye(1, len(logits), int(logits.argmax()))[0]
    if top_k < len(logits):
        threshold = np.partition(logits, -top_k)[-top_k]
        logits = np.where(logits >= threshold, logits, -np.inf)
    with np.errstate(over="ignore"):  # by a temperature near 0, all but the likeliest go to -inf, as they should
        return softmax((logits - logits.max()) / temperature)


def draw(logits: np.ndarray, temperature: float, top_k: int, random: np.random.Generator) -> Sampled:
    """Draw the next character from logits (V,); takes exactly one number from `random`, also when greedy."""
    logits = logits.astype(np.float64)
    shaped = shape(logits, temperature, top_k)
    id = int(np.searchsorted(shaped.cumsum(), random.random() * shaped.sum(), side="right"))
    id = min(id, len(shaped) - 1)  # a sum rounded up past the last step of the staircase
    return Sampled(id, float(softmax(logits)[id]), float(shaped[id]))


def _is(value: Any, kind: type) -> bool:
    """Whether a value is a finite number of that kind; True and False are no numbers here."""
    return isinstance(value, kind) and not isinstance(value, (bool, np.bool_)) and math.isfinite(float(value))
