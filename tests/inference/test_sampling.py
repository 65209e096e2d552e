"""Sampling: temperature, top-k, the draw of a character and the validation of SamplingOptions."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nanollm.config import MAX_SEED
from nanollm.errors import InputError
from nanollm.inference.sampling import SamplingOptions, derived_seeds, draw

logits_arrays = arrays(np.float32, st.integers(1, 30), elements=st.floats(-50, 50, width=32))
temperatures = st.floats(0, 100)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def distributions(logits: np.ndarray, temperature: float, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities by id before and after temperature and top-k, each (V,)."""
    options = SamplingOptions(temperature=temperature, top_k=top_k, candidates=len(logits))
    drawn = draw(logits, np.random.default_rng(0), options)
    by_id = sorted(drawn.candidates)
    assert [candidate.id for candidate in by_id] == list(range(len(logits)))
    return np.array([c.probability for c in by_id]), np.array([c.shaped_probability for c in by_id])


@given(logits_arrays, temperatures, st.integers(1, 40))
def test_both_distributions_sum_to_one(logits: np.ndarray, temperature: float, top_k: int) -> None:
    plain, shaped = distributions(logits, temperature, top_k)
    np.testing.assert_allclose(plain, softmax(logits), rtol=1e-9)
    assert np.isfinite(shaped).all() and (shaped >= 0).all()
    assert shaped.sum() == pytest.approx(1)


@given(logits_arrays, st.floats(0.05, 100), st.integers(1, 40))
def test_temperature_and_top_k_keep_the_ranking(logits: np.ndarray, temperature: float, top_k: int) -> None:
    shaped = distributions(logits, temperature, top_k)[1]
    values = np.unique(logits)
    lowest = np.array([shaped[logits == value].min() for value in values])
    highest = np.array([shaped[logits == value].max() for value in values])
    assert (lowest[1:] >= highest[:-1] - 1e-12).all()


@given(logits_arrays, st.integers(1, 40))
def test_top_k_keeps_the_most_likely_characters_and_their_ratios(logits: np.ndarray, top_k: int) -> None:
    plain, shaped = distributions(logits, 1.0, top_k)
    kept = np.zeros(len(logits), bool)
    kept[sorted(range(len(logits)), key=lambda id: (-logits[id], id))[:top_k]] = True  # ties go to the lower id
    assert (shaped[~kept] == 0).all()
    np.testing.assert_allclose(shaped[kept], plain[kept] / plain[kept].sum(), rtol=1e-9)


@given(logits_arrays, st.floats(0.05, 100))
def test_temperature_divides_the_logits(logits: np.ndarray, temperature: float) -> None:
    np.testing.assert_allclose(
        distributions(logits, temperature, 10**9)[1], softmax(logits.astype(np.float64) / temperature), atol=1e-12
    )


@given(logits_arrays, st.integers(1, 40), st.sampled_from([0, 1e-300, 1e-12]), st.integers(0, 99))
def test_temperature_zero_is_greedy_and_the_limit_of_low_temperatures(
    logits: np.ndarray, top_k: int, temperature: float, seed: int
) -> None:
    if temperature:
        logits = np.unique(logits)  # above temperature 0, tied characters are all possible
    drawn = draw(logits, np.random.default_rng(seed), SamplingOptions(temperature=temperature, top_k=top_k))
    assert drawn.id == logits.argmax() and drawn.rank == 1
    assert drawn.shaped_probability == pytest.approx(1)


def test_a_high_temperature_approaches_uniform() -> None:
    shaped = distributions(np.array([3.0, 1.0, -2.0], np.float32), 100, 40)[1]
    assert shaped.max() - shaped.min() < 0.03


def test_sample_frequencies_follow_the_distribution() -> None:
    logits, random = np.array([2.0, 1.0, 0.0, -1.0], np.float32), np.random.default_rng(0)
    options = SamplingOptions(temperature=0.7, top_k=3)
    ids = [draw(logits, random, options).id for _ in range(20_000)]
    drawn, expected = np.bincount(ids, minlength=4) / 20_000, distributions(logits, 0.7, 3)[1]
    # Within four standard deviations of the binomial frequencies.
    assert (np.abs(drawn - expected) <= 4 * np.sqrt(expected * (1 - expected) / 20_000) + 1e-12).all()


@given(logits_arrays, temperatures, st.integers(1, 40), st.integers(0, MAX_SEED), st.integers(0, 35))
def test_a_sample_reports_probability_rank_and_candidates(
    logits: np.ndarray, temperature: float, top_k: int, seed: int, candidates: int
) -> None:
    options = SamplingOptions(temperature=temperature, top_k=top_k, candidates=candidates)
    drawn = draw(logits, np.random.default_rng(seed), options)
    plain, shaped = distributions(logits, temperature, top_k)
    assert (drawn.probability, drawn.shaped_probability) == (plain[drawn.id], shaped[drawn.id])
    assert drawn.shaped_probability > 0
    assert drawn.surprisal == pytest.approx(-math.log2(softmax(logits)[drawn.id]), abs=1e-9)
    ranking = sorted(range(len(logits)), key=lambda id: (-logits[id], id))
    assert ranking[drawn.rank - 1] == drawn.id
    listed = [candidate.id for candidate in drawn.candidates]
    expected = ranking[:candidates]
    assert listed == (expected if not candidates or drawn.id in expected else [*expected, drawn.id])
    assert all(c.probability == plain[c.id] and c.shaped_probability == shaped[c.id] for c in drawn.candidates)
    # Reporting candidates does not change the sample.
    assert drawn[:5] == draw(logits, np.random.default_rng(seed), replace(options, candidates=0))[:5]


def test_surprisal_is_finite_where_the_probability_underflows() -> None:
    options = SamplingOptions(temperature=100, top_k=2)
    draws = (draw(np.array([0, -1000], np.float32), np.random.default_rng(n), options) for n in range(10**6))
    drawn = next(drawn for drawn in draws if drawn.id == 1)
    assert drawn.probability == 0 and drawn.surprisal == pytest.approx(1000 / math.log(2))


def test_every_draw_consumes_one_random_number() -> None:
    random, reference = np.random.default_rng(3), np.random.default_rng(3)
    for temperature, top_k, candidates in ((0, 1, 0), (0.8, 40, 3), (100, 2, 0)):
        options = SamplingOptions(temperature=temperature, top_k=top_k, candidates=candidates)
        draw(np.arange(5, dtype=np.float32), random, options)
        reference.random()
    assert random.bit_generator.state == reference.bit_generator.state


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_rejected(bad: float) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(InputError, match="earlier snapshot"):
        draw(np.array([0, bad, 1], np.float32), np.random.default_rng(0), SamplingOptions())


def test_derived_seeds_are_consecutive_and_distinct() -> None:
    assert derived_seeds(42, 3)[0] == 42
    seeds = derived_seeds(MAX_SEED, 256)
    assert len({*seeds}) == 256 and all(0 <= seed <= MAX_SEED for seed in seeds)
    for kind in (np.int32, np.uint8, np.uint64):
        assert derived_seeds(kind(200), 100) == list(range(200, 300))
    for invalid in (0, -1, 257, 1.5, True, None, math.nan, "3"):
        with pytest.raises(InputError):
            derived_seeds(42, invalid)


VALID = {"temperature": 0.8, "top_k": 40, "max_length": 200, "seed": 42, "candidates": 0}
INVALID: list[Any] = [None, True, False, math.nan, math.inf, -math.inf, -1, "1", [], {}, 1j, "\ud800", "x" * 10**6]


@pytest.mark.parametrize("name", VALID)
def test_invalid_values_give_a_short_message(name: str) -> None:
    SamplingOptions(**VALID)
    for value in INVALID:
        with pytest.raises(InputError, match=name) as caught:
            SamplingOptions(**{**VALID, name: value})
        assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": np.float32(0.5)},
        {"temperature": Fraction(1, 3)},
        {"top_k": 10**400},
        {"top_k": np.int64(3)},
        {"max_length": 0},
        {"candidates": 10**9},
    ],
)
def test_unusual_but_valid_options_are_accepted(change: dict) -> None:
    SamplingOptions(**{**VALID, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"top_k": 0},
        {"top_k": 1.0},
        {"temperature": 10**400},
        {"max_length": 100_001},
        {"max_length": 10**400},
        {"seed": 2**31},
        {"seed": 0.0},
        {"candidates": 2.5},
    ],
)
def test_values_outside_the_range_are_rejected(change: dict) -> None:
    with pytest.raises(InputError):
        SamplingOptions(**{**VALID, **change})
