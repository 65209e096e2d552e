"""Temperature, top-k and the draw do what is said of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nanollm.errors import InputError
from nanollm.inference.sampling import check_sampling, draw, shape, softmax

logits_arrays = arrays(np.float32, st.integers(1, 30), elements=st.floats(-50, 50, width=32))
temperatures = st.floats(0, 100)


@given(logits_arrays, temperatures, st.integers(1, 40))
def test_the_shaped_distribution_is_one(logits: np.ndarray, temperature: float, top_k: int) -> None:
    shaped = shape(logits.astype(np.float64), temperature, top_k)
    assert np.isfinite(shaped).all() and (shaped >= 0).all()
    assert shaped.sum() == pytest.approx(1)


@given(logits_arrays, st.floats(0.05, 100), st.integers(1, 40))
def test_neither_control_changes_the_ranking(logits: np.ndarray, temperature: float, top_k: int) -> None:
    shaped = shape(logits.astype(np.float64), temperature, top_k)
    order = np.argsort(logits, kind="stable")
    assert (np.diff(shaped[order]) >= -1e-12).all()


@given(logits_arrays, st.integers(1, 40))
def test_top_k_keeps_the_likeliest_and_their_proportions(logits: np.ndarray, top_k: int) -> None:
    logits = logits.astype(np.float64)
    shaped, plain = shape(logits, 1.0, top_k), softmax(logits)
    kept = np.sort(logits)[-min(top_k, len(logits))] <= logits
    assert (shaped[~kept] == 0).all()
    np.testing.assert_allclose(shaped[kept], plain[kept] / plain[kept].sum(), rtol=1e-9)


@given(logits_arrays)
def test_temperature_zero_is_the_likeliest_and_the_limit(logits: np.ndarray) -> None:
    assert shape(logits, 0, 40).argmax() == logits.argmax()
    assert shape(logits, 0, 40).max() == 1
    logits = np.unique(logits)
    if len(logits) > 1 and np.diff(logits).min() > 0.01:
        assert shape(logits.astype(np.float64), 1e-5, 40)[-1] == pytest.approx(1)


def test_a_high_temperature_makes_all_alike() -> None:
    shaped = shape(np.array([3.0, 1.0, -2.0]), 100, 40)
    assert shaped.max() - shaped.min() < 0.03


def test_draws_follow_the_distribution() -> None:
    logits, random = np.array([2.0, 1.0, 0.0, -1.0], np.float32), np.random.default_rng(0)
    drawn = np.bincount([draw(logits, 0.7, 3, random).id for _ in range(20_000)], minlength=4) / 20_000
    expected = shape(logits.astype(np.float64), 0.7, 3)
    # Four standard deviations of a count of 20,000.
    assert (np.abs(drawn - expected) <= 4 * np.sqrt(expected * (1 - expected) / 20_000) + 1e-12).all()


@given(logits_arrays, temperatures, st.integers(1, 40), st.integers(0, 2**31 - 1))
def test_a_draw_says_how_likely_it_was(logits: np.ndarray, temperature: float, top_k: int, seed: int) -> None:
    sampled = draw(logits, temperature, top_k, np.random.default_rng(seed))
    assert sampled.probability == pytest.approx(softmax(logits.astype(np.float64))[sampled.id])
    assert sampled.shaped_probability == shape(logits.astype(np.float64), temperature, top_k)[sampled.id] > 0
    assert sampled.surprisal == pytest.approx(-math.log2(max(sampled.probability, 1e-300)))


GOOD = {"temperature": 0.8, "top_k": 40, "max_length": 200, "seed": 42}
NEVER: list[Any] = [None, True, False, math.nan, math.inf, -math.inf, -1, "1", [], {}, 1j, "\ud800", "x" * 10**6]


@pytest.mark.parametrize("name", GOOD)
def test_odd_settings_get_a_sentence(name: str) -> None:
    check_sampling(**GOOD)
    for value in NEVER:
        with pytest.raises(InputError) as caught:
            check_sampling(**{**GOOD, name: value})
        assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0}, {"temperature": np.float32(0.5)}, {"top_k": 10**9}, {"top_k": np.int64(3)}, {"max_length": 0}],
)
def test_what_makes_sense_is_let_through(change: dict) -> None:
    check_sampling(**{**GOOD, **change})


@pytest.mark.parametrize(
    "change", [{"top_k": 0}, {"top_k": 1.0}, {"max_length": 100_001}, {"seed": 2**31}, {"seed": 0.0}]
)
def test_what_does_not_is_refused(change: dict) -> None:
    with pytest.raises(InputError):
        check_sampling(**{**GOOD, **change})
