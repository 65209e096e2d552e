"""Every engine computes what the model computes, for every model there can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import PRESETS, ModelConfig, make_configs
from nanollm.inference.generate import generate, window_start
from nanollm.inference.numpy_engine import NumpyEngine
from nanollm.inference.torch_engine import TorchEngine
from nanollm.model import TransformerLanguageModel
from tests.conftest import random_model
from tests.strategies import model_configs

ENGINES = [NumpyEngine, TorchEngine]


def recomputed(model: TransformerLanguageModel, ids: list[int]) -> np.ndarray:
    """Logits (V,) after ids, by the model's plain forward pass over the window that DESIGN settles."""
    with torch.no_grad():
        window = ids[window_start(len(ids), model.config.context_length) :]
        return model(torch.tensor([window]))[0, -1].numpy()


@pytest.mark.parametrize("engine_class", ENGINES)
@given(config=model_configs(), data=st.data())
def test_cached_equals_recomputed(engine_class: type, config: ModelConfig, data: st.DataObject) -> None:
    model = random_model(config)
    T = config.context_length
    ids = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=T, max_size=T))
    cut = data.draw(st.integers(1, T))
    engine = engine_class(model)
    engine.read(np.zeros(T, int))  # what was read before must leave no trace
    logits = engine.read(np.array(ids[:cut]))
    for t in range(cut, T + 1):
        np.testing.assert_allclose(logits, recomputed(model, ids[:t]), atol=1e-4, rtol=1e-4)
        if t < T:
            logits = engine.next(ids[t])


@pytest.mark.parametrize("name", PRESETS)
def test_cached_equals_recomputed_at_the_presets(name: str) -> None:
    model = random_model(make_configs(PRESETS[name], 65)[0])
    for parameter in model.parameters():
        parameter.data *= 0.5
    ids = torch.randint(65, (model.config.context_length,), generator=torch.Generator().manual_seed(1)).tolist()
    for engine in (NumpyEngine(model), TorchEngine(model)):
        engine.read(np.array(ids[:20]))
        for id in ids[20:]:
            logits = engine.next(id)
        np.testing.assert_allclose(logits, recomputed(model, ids), atol=1e-4, rtol=1e-4)


@given(st.integers(0, 3000), st.integers(1, 300))
def test_the_window_slides_by_halves(length: int, context_length: int) -> None:
    start = window_start(length, context_length)
    half = max(1, context_length // 2)
    assert 0 <= start <= length and start % half == 0
    assert length - start <= context_length
    assert start == 0 or length - start > context_length - half  # never shorter than it must be
    assert window_start(length + 1, context_length) - start in (0, half)


@given(config=model_configs(), data=st.data())
def test_greedy_text_equals_recomputing(config: ModelConfig, data: st.DataObject) -> None:
    """Far past the window, from prompts shorter and longer than it."""
    model = random_model(config)
    ids = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=1, max_size=2 * config.context_length + 3))
    written = [s.id for s in generate(model, ids, max_new_tokens=3 * config.context_length + 2, temperature=0)]
    for id in written:
        logits = recomputed(model, ids)
        assert logits[id] >= logits.max() - 1e-4
        ids = [*ids, id]


def test_both_engines_write_the_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(ModelConfig(20, embedding_dim=16, num_layers=2, ffn_hidden_dim=32, context_length=16))
    write = lambda: [s.id for s in generate(model, [1, 2, 3], max_new_tokens=100, temperature=0.9, seed=5)]  # noqa: E731
    plain = write()
    monkeypatch.setattr("nanollm.inference.generate.NumpyEngine", TorchEngine)
    assert write() == plain


def test_an_engine_keeps_the_weights_it_was_made_with() -> None:
    model = random_model(ModelConfig(20, embedding_dim=16, num_layers=2, ffn_hidden_dim=32, context_length=16))
    ids, engine = np.array([1, 2, 3]), NumpyEngine(model)
    before = engine.read(ids)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    np.testing.assert_array_equal(engine.read(ids), before)
    assert np.abs(NumpyEngine(model).read(ids) - before).max() > 1e-3
