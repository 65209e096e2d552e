"""The meter finds how far back models look whose reach is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.context_use import ContextMeter, context_meter
from nanollm.model import TransformerLanguageModel
from tests.conftest import random_model
from tests.planted import Planted
from tests.strategies import model_configs


def looking_back(distance: int) -> TransformerLanguageModel:
    """Expects the character that stands `distance` before the next one to come again."""
    planted = Planted(vocab_size=4, context_length=32)
    planted.back(0, 0, distance - 1).writes(0, 0, 6 * planted.character)
    return planted.model


def repeating(period: int, length: int = 600) -> np.ndarray:
    return np.resize(np.random.default_rng(period).integers(4, size=period), length)


@pytest.mark.parametrize("distance", [1, 3, 5, 9, 17])
def test_a_model_that_needs_so_many_characters_loses_when_it_has_fewer(distance: int) -> None:
    meter = context_meter(looking_back(distance), repeating(distance))
    assert meter.lengths.tolist() == [1, 2, 4, 8, 16, 32]
    enough = meter.lengths >= distance
    assert (meter.cut[enough] < 0.1).all() and (np.abs(meter.missing[enough]) < 0.05).all()
    assert meter.reach(0.05) == next(length for length in (1, 2, 4, 8, 16, 32) if length >= distance)
    if distance > 1:
        assert (meter.missing[~enough] > 0.3).all()
        assert meter.along[meter.last < distance - 1].min() > 0.3 > 0.1 > meter.along[-1]


@given(model_configs(), st.integers(2, 60), st.integers(1, 400))
def test_both_measurements_are_the_models_losses(config: ModelConfig, length: int, characters: int) -> None:
    model = random_model(config)
    ids = np.random.default_rng(length).integers(config.vocab_size, size=length)
    meter = context_meter(model, ids, max_characters=characters)
    T = min(config.context_length, length - 1)
    logs = lambda row: model(torch.from_numpy(row)[None])[0].double().log_softmax(dim=-1).detach().numpy()  # noqa: E731
    assert meter.first[0] == 0 and meter.last[-1] == T - 1 and (meter.first[1:] == meter.last[:-1] + 1).all()
    places = min(max(8, characters // meter.lengths.sum()), length - T)
    targets = np.linspace(T, length - 1, places, dtype=np.float32).astype(int)
    apart = targets[:: -(-T // max(1, np.diff(targets, prepend=-T).min()))]
    along = np.array([-logs(ids[t - T : t])[np.arange(T), ids[t - T + 1 : t + 1]] for t in apart])
    for first, last, loss in zip(meter.first, meter.last, meter.along, strict=True):
        assert loss == pytest.approx(along[:, first : last + 1].mean(), abs=1e-4)
    for k, loss in zip(meter.lengths, meter.cut, strict=True):
        expected = np.mean([-logs(ids[t - k : t])[-1, ids[t]] for t in targets])
        assert loss == pytest.approx(expected, abs=1e-4)
    assert meter.lengths[-1] == T and meter.missing[-1] == 0
    assert np.isnan(meter.cut_error).all() == (len(targets) == 1)


def test_pairing_makes_the_error_of_a_cut_small() -> None:
    """On a text that a model cannot foresee its losses scatter, but what more context changes is next to nothing."""
    meter = context_meter(looking_back(3), np.random.default_rng(0).integers(4, size=5000))
    assert meter.cut_error[2] > 0.1 and (meter.missing_error[2:] < meter.cut_error[2:] / 10).all()
    assert meter.missing_error[0] > meter.missing_error[2]
    assert meter.missing_error[-1] == 0


def test_reach_is_the_shortest_context_after_which_nothing_is_missing() -> None:
    def reach(*missing: float) -> int:
        some, lengths = np.zeros(1), 2 ** np.arange(len(missing))
        return ContextMeter(some, some, some, some, lengths, some, some, np.array(missing), some).reach(0.02)

    assert reach(0.5, 0.1, 0.01, 0.0) == 4
    assert reach(0.5, 0.01, 0.1, 0.0) == 8  # a dip by chance does not count
    assert reach(0.0, 0.0) == 1 and reach(0.0) == 1


def test_odd_ids_get_a_sentence_and_nothing_is_disturbed() -> None:
    model = random_model(ModelConfig(3, 8, 1, 8, context_length=4)).train()
    for ids in ([], [1], [0, 3], [0.5, 1.0]):
        with pytest.raises(InputError):
            context_meter(model, ids)
    state = torch.get_rng_state()
    context_meter(model, [0, 1, 2, 0, 1])
    assert model.training and all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()
