"""Context use: models that need a known number of characters are measured correctly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.context_use import ContextUse, measure_context_use
from nanollm.model import TransformerLanguageModel
from tests.conftest import random_model
from tests.planted import Planted
from tests.strategies import model_configs


def model_looking_back(distance: int) -> TransformerLanguageModel:
    """A model that predicts the character `distance` before the next one."""
    planted = Planted(vocab_size=4, context_length=32)
    planted.back(0, 0, distance - 1).writes(0, 0, 6 * planted.character)
    return planted.model


def repeating(period: int, length: int = 600) -> np.ndarray:
    return np.resize(np.random.default_rng(period).integers(4, size=period), length)


@pytest.mark.parametrize("distance", [1, 3, 5, 9, 17])
def test_the_loss_rises_when_the_needed_context_is_truncated(distance: int) -> None:
    use = measure_context_use(model_looking_back(distance), repeating(distance))
    assert use.lengths.tolist() == [1, 2, 4, 8, 16, 32]
    sufficient = use.lengths >= distance
    assert (use.truncated[sufficient] < 0.1).all() and (np.abs(use.increase[sufficient]) < 0.05).all()
    assert use.sufficient_length(0.05) == next(length for length in (1, 2, 4, 8, 16, 32) if length >= distance)
    if distance > 1:
        assert (use.increase[~sufficient] > 0.3).all()
        assert use.by_position[use.last < distance - 1].min() > 0.3 > 0.1 > use.by_position[-1]


@given(model_configs(), st.integers(2, 60), st.integers(1, 400))
def test_both_measurements_match_the_model(config: ModelConfig, length: int, characters: int) -> None:
    model = random_model(config)
    ids = np.random.default_rng(length).integers(config.vocab_size, size=length)
    use = measure_context_use(model, ids, max_characters=characters)
    T = min(config.context_length, length - 1)
    logs = lambda row: model(torch.from_numpy(row)[None])[0].double().log_softmax(dim=-1).detach().numpy()  # noqa: E731
    assert use.first[0] == 0 and use.last[-1] == T - 1 and (use.first[1:] == use.last[:-1] + 1).all()
    count = min(max(8, characters // use.lengths.sum()), length - T)
    targets = np.linspace(T, length - 1, count, dtype=np.float32).astype(int)
    independent = targets[:: -(-T // max(1, np.diff(targets, prepend=-T).min()))]
    along = np.array([-logs(ids[t - T : t])[np.arange(T), ids[t - T + 1 : t + 1]] for t in independent])
    for first, last, loss in zip(use.first, use.last, use.by_position, strict=True):
        assert loss == pytest.approx(along[:, first : last + 1].mean(), abs=1e-4)
    for k, loss in zip(use.lengths, use.truncated, strict=True):
        expected = np.mean([-logs(ids[t - k : t])[-1, ids[t]] for t in targets])
        assert loss == pytest.approx(expected, abs=1e-4)
    assert use.lengths[-1] == T and use.increase[-1] == 0
    assert np.isnan(use.truncated_error).all() == (len(targets) == 1)


def test_standard_errors_of_paired_differences_are_small() -> None:
    """On random text the losses vary widely, but the effect of more context is almost zero."""
    use = measure_context_use(model_looking_back(3), np.random.default_rng(0).integers(4, size=5000))
    assert use.truncated_error[2] > 0.1 and (use.increase_error[2:] < use.truncated_error[2:] / 10).all()
    assert use.increase_error[0] > use.increase_error[2]
    assert use.increase_error[-1] == 0


def test_sufficient_length_is_the_shortest_after_which_the_loss_stays_low() -> None:
    def sufficient(*increase: float) -> int:
        some, lengths = np.zeros(1), 2 ** np.arange(len(increase))
        return ContextUse(some, some, some, some, lengths, some, some, np.array(increase), some).sufficient_length(0.02)

    assert sufficient(0.5, 0.1, 0.01, 0.0) == 4
    assert sufficient(0.5, 0.01, 0.1, 0.0) == 8  # a single low value by chance does not count
    assert sufficient(0.0, 0.0) == 1 and sufficient(0.0) == 1


def test_invalid_ids_are_rejected_and_the_model_is_unchanged() -> None:
    model = random_model(ModelConfig(3, 8, 1, 8, context_length=4)).train()
    for ids in ([], [1], [0, 3], [0.5, 1.0]):
        with pytest.raises(InputError):
            measure_context_use(model, ids)
    state = torch.get_rng_state()
    measure_context_use(model, [0, 1, 2, 0, 1])
    assert model.training and all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()
