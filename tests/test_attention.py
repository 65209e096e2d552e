"""The attention map is what the model computes, and a head built by hand looks where it was built to look."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.attention import attention_map
from nanollm.tokenizer import CharTokenizer
from tests.conftest import random_model
from tests.strategies import model_configs


@given(model_configs(), st.data())
def test_rows_sum_to_one_and_look_back(config: ModelConfig, data: st.DataObject) -> None:
    tokenizer = CharTokenizer([chr(97 + i) for i in range(config.vocab_size)])
    text = data.draw(st.text(st.sampled_from(tokenizer.characters), min_size=1, max_size=20))
    shown = attention_map(random_model(config), tokenizer, text)
    T = min(len(text), config.context_length)
    assert shown.weights.shape == (config.num_layers, config.heads, T, T)
    np.testing.assert_allclose(shown.weights.sum(axis=-1), 1, atol=1e-5)
    assert (np.triu(shown.weights, 1) == 0).all()
    assert shown.text == text[-T:] and shown.skipped == len(text) - T
    np.testing.assert_allclose(shown.by_distance().sum(axis=-1), 1, atol=1e-5)


def test_a_head_built_to_look_one_back_does() -> None:
    """Learned positions e_t; the head's query at t is made to match the key at t - 1."""
    T = 8
    config = ModelConfig(
        3, embedding_dim=T, num_layers=1, ffn_hidden_dim=4, num_heads=1, context_length=T, position="learned"
    )
    model = random_model(config)
    with torch.no_grad():
        model.embedding.weight.zero_()
        model.positions.weight.copy_(torch.eye(T))
        attention = model.blocks[0].attention
        attention.qkv.weight.zero_()
        attention.qkv.weight[:T] = 20 * torch.eye(T).roll(-1, dims=0)  # query of position t points to t - 1
        attention.qkv.weight[T : 2 * T] = torch.eye(T)
        model.blocks[0].attention_norm.gain.fill_(1.0)
    shown = attention_map(model, CharTokenizer("abc"), "abcabcab")
    assert shown.by_distance()[0, 0].argmax() == 1
    weights = shown.weights[0, 0]
    assert (weights.argmax(axis=-1)[1:] == np.arange(T - 1)).all()
    assert weights[np.arange(1, T), np.arange(T - 1)].min() > 0.95


def test_odd_texts_get_a_sentence() -> None:
    model, tokenizer = random_model(ModelConfig(3, 8, 1, 8, context_length=4)), CharTokenizer("abc")
    with pytest.raises(InputError, match="no text"):
        attention_map(model, tokenizer, "")
    with pytest.raises(InputError, match="'Z'"):
        attention_map(model, tokenizer, "Z" + "abc" * 5)  # named even where the window would hide it
