"""The model has the properties of a causal Transformer and matches the published formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import PRESETS, ModelConfig, make_configs
from nanollm.errors import InputError
from nanollm.model import (
    Cache,
    Dropout,
    LayerNorm,
    Trace,
    TransformerLanguageModel,
    attention_weights,
    rms_normalize,
    rotary_frequencies,
    rotate,
)
from nanollm.train.step import arithmetic
from tests.conftest import random_model
from tests.strategies import model_configs


def random_ids(config: ModelConfig, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(config.vocab_size, (2, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", PRESETS)
def test_an_untrained_model_predicts_almost_uniformly(name: str) -> None:
    config, _ = make_configs(PRESETS[name], vocab_size=65)
    torch.manual_seed(0)
    model = TransformerLanguageModel.from_config(config).eval()
    ids = random_ids(config, config.context_length)
    loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    # Not exactly uniform: input and output embeddings are tied, so each character predicts itself slightly.
    assert loss.item() == pytest.approx(math.log(65), abs=0.1)


@given(model_configs(), st.data())
def test_logits_do_not_depend_on_later_characters(config: ModelConfig, data: st.DataObject) -> None:
    model, ids = random_model(config), random_ids(config, config.context_length)
    changed = data.draw(st.integers(0, config.context_length - 1))
    other = ids.clone()
    other[:, changed:] = (other[:, changed:] + 1) % config.vocab_size
    before, after = model(ids), model(other)
    assert torch.equal(before[:, :changed], after[:, :changed])


def test_logits_depend_on_earlier_characters() -> None:
    """The counterpart: without it, the test above would also pass for a model that ignores its context."""
    config = ModelConfig(vocab_size=7, embedding_dim=16, num_layers=2, ffn_hidden_dim=16, context_length=8)
    model, ids = random_model(config), random_ids(config, 8)
    other = ids.clone()
    other[:, 0] = (other[:, 0] + 1) % config.vocab_size
    assert (model(ids) - model(other)).abs().amax(dim=-1).min() > 1e-4


@given(model_configs())
def test_attention_rows_sum_to_one_and_are_causal(config: ModelConfig) -> None:
    trace, T = Trace(), config.context_length
    random_model(config)(random_ids(config, T), trace=trace)
    weights = torch.stack(trace.attention)  # (L, B, H, T, T)
    assert weights.shape == (config.num_layers, 2, config.heads, T, T)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(()), atol=1e-5)
    assert (weights.triu(1) == 0).all()
    assert len(trace.residual) == config.num_layers + 1


@given(model_configs(), st.data())
def test_cached_and_uncached_logits_are_equal(config: ModelConfig, data: st.DataObject) -> None:
    model, ids = random_model(config), random_ids(config, config.context_length)
    cut = data.draw(st.integers(0, config.context_length))
    cache, parts = Cache(config, batch_size=2), []
    for part in (ids[:, :cut], *(ids[:, t : t + 1] for t in range(cut, ids.shape[1]))):
        if part.shape[1]:
            parts.append(model(part, cache=cache))
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=1e-4, rtol=0)


@given(model_configs())
def test_more_characters_than_context_length_are_rejected(config: ModelConfig) -> None:
    model = random_model(config)
    with pytest.raises(InputError, match="context_length"):
        model(random_ids(config, config.context_length + 1))
    cache = Cache(config, batch_size=2)
    model(random_ids(config, config.context_length), cache=cache)
    with pytest.raises(InputError, match="context_length"):
        model(random_ids(config, 1), cache=cache)


def test_layer_norm_matches_its_formula() -> None:
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)) * 3 + 2
    norm = LayerNorm(7)
    norm.gain.data = torch.linspace(-1, 2, 7)
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    torch.testing.assert_close(norm(x), (x - mean) / torch.sqrt(variance + 1e-5) * norm.gain)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_rotary_dot_products_depend_only_on_distance(m: int, n: int, shift: int) -> None:
    generator = torch.Generator().manual_seed(m * 41 + n)
    q, k = torch.randn(1, 1, 1, 8, generator=generator), torch.randn(1, 1, 1, 8, generator=generator)
    at = lambda x, position: rotate(x, rotary_frequencies(position, position + 1, 8))  # noqa: E731
    here = (at(q, m) * at(k, n)).sum()
    there = (at(q, m + shift) * at(k, n + shift)).sum()
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(at(q, m).norm(), q.norm(), atol=1e-5, rtol=1e-5)


@given(model_configs())
def test_fused_and_explicit_attention_agree(config: ModelConfig) -> None:
    """The fused kernel is used without a trace, the explicit formula with one."""
    model, ids = random_model(config), random_ids(config, config.context_length)
    torch.testing.assert_close(model(ids), model(ids, trace=Trace()), atol=1e-4, rtol=0)


def test_attention_matches_its_formula() -> None:
    """softmax(QKᵀ/√K)V over past positions, computed position by position."""
    generator = torch.Generator().manual_seed(3)
    q, k, v = torch.randn(3, 1, 1, 9, 4, generator=generator)
    head_outputs = attention_weights(q, k) @ v
    for t in range(9):
        shares = torch.exp(torch.tensor([(q[0, 0, t] @ k[0, 0, s]).item() / 2 for s in range(t + 1)]))
        expected = sum(share * v[0, 0, s] for s, share in enumerate(shares / shares.sum()))
        torch.testing.assert_close(head_outputs[0, 0, t], expected)


def test_dropout_is_active_only_in_training_mode() -> None:
    config = ModelConfig(vocab_size=7, embedding_dim=16, num_layers=2, ffn_hidden_dim=16, dropout=0.5)
    model, ids = random_model(config), random_ids(config, 8)
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_dropout_zeroes_its_fraction_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(5)
    x = torch.ones(1000, 301)  # not a multiple of the eight bytes of a draw
    dropped = Dropout(share)(x)
    exact = round(share * 256) / 256
    silenced = dropped == 0
    assert silenced.float().mean() == pytest.approx(exact, abs=0.003)
    assert torch.allclose(dropped[~silenced], torch.tensor(1 / (1 - exact)))
    assert silenced.float().mean(dim=0).std() < 2 * math.sqrt(
        exact * (1 - exact) / 1000
    )  # no column is treated differently
    assert torch.equal(Dropout(share).eval()(x), x)


def test_dropout_follows_the_global_seed() -> None:
    x = torch.ones(64)
    torch.manual_seed(6)
    first = Dropout(0.5)(x)
    torch.manual_seed(6)
    assert torch.equal(Dropout(0.5)(x), first)
    assert not torch.equal(Dropout(0.5)(x), first)


@given(st.floats(1, 100))
def test_qk_norm_scores_do_not_depend_on_vector_lengths(factor: float) -> None:
    generator = torch.Generator().manual_seed(7)
    q, k = (torch.randn(1, 2, 5, 16, generator=generator) for _ in range(2))
    scores = rms_normalize(factor * q) @ rms_normalize(k).mT / 4
    cosine = F.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1)
    torch.testing.assert_close(scores, 4 * cosine, atol=1e-3, rtol=1e-3)


@given(model_configs())
def test_bf16_is_close_to_float32(config: ModelConfig) -> None:
    model, ids = random_model(config), random_ids(config, config.context_length)
    exact = model(ids)
    with arithmetic("bf16", torch.device("cpu")):
        rounded = model(ids)
    assert rounded.dtype == torch.bfloat16  # else bf16 would not have been used
    assert (rounded.float() - exact).abs().max() <= 0.05 * (1 + exact.abs().max())


def test_the_seed_determines_the_weights() -> None:
    config = ModelConfig(vocab_size=7, embedding_dim=16, num_layers=2, ffn_hidden_dim=16)
    first, second, third = (random_model(config, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)
