"""Attention maps match the model, and a head with hand-made weights attends where it should; the HTML page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.charts import attention as attention_chart
from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.attention import attention_map
from nanollm.tokenizer import CharTokenizer
from tests.conftest import random_model
from tests.strategies import model_configs


@given(model_configs(), st.data())
def test_rows_sum_to_one_and_are_causal(config: ModelConfig, data: st.DataObject) -> None:
    tokenizer = CharTokenizer([chr(97 + i) for i in range(config.vocab_size)])
    text = data.draw(st.text(st.sampled_from(tokenizer.characters), min_size=1, max_size=20))
    shown = attention_map(random_model(config), tokenizer, text)
    T = min(len(text), config.context_length)
    assert shown.weights.shape == (config.num_layers, config.heads, T, T)
    np.testing.assert_allclose(shown.weights.sum(axis=-1), 1, atol=1e-5)
    assert (np.triu(shown.weights, 1) == 0).all()
    assert shown.text == text[-T:] and shown.skipped == len(text) - T
    np.testing.assert_allclose(shown.by_distance().sum(axis=-1), 1, atol=1e-5)
    back = np.arange(T)[:, None] - np.arange(T)
    for distance, share in enumerate(np.moveaxis(shown.by_distance(), -1, 0)):
        np.testing.assert_allclose(share, shown.weights[..., back == distance].sum(axis=-1) / T, atol=1e-5)


def test_a_hand_made_previous_character_head_attends_one_back() -> None:
    """Position embeddings are unit vectors e_t; the query at t matches the key at t - 1."""
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
        attention.qkv.weight[:T] = 20 * torch.eye(T).roll(-1, dims=0)  # the query at t matches the key at t - 1
        attention.qkv.weight[T : 2 * T] = torch.eye(T)
        model.blocks[0].attention_norm.gain.fill_(1.0)
    shown = attention_map(model, CharTokenizer("abc"), "abcabcab")
    assert shown.by_distance()[0, 0].argmax() == 1
    weights = shown.weights[0, 0]
    assert (weights.argmax(axis=-1)[1:] == np.arange(T - 1)).all()
    assert weights[np.arange(1, T), np.arange(T - 1)].min() > 0.95


@pytest.mark.parametrize("limit", [attention_chart.MAX_CELLS, 10])
def test_the_page_contains_every_head_and_loads_nothing_from_the_network(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_chart, "MAX_CELLS", limit)
    text, config = "<b>&ab</b>", ModelConfig(6, 12, 2, 8, num_heads=3)
    shown = attention_map(random_model(config), CharTokenizer("&/<>ab"), text)
    weights = shown.weights
    attention_chart.write_attention_page(weights, shown.characters, tmp_path / "page.html", layer=1, head=2)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    assert text not in page  # markup in the text is escaped
    at = page.index("[{", page.rindex("Plotly.newPlot("))
    data, end = json.JSONDecoder().raw_decode(page[at:])
    layout, _ = json.JSONDecoder().raw_decode(page[at + end :].lstrip(" ,\n"))
    menu, causal = layout["updatemenus"][0], np.tril_indices(len(text))
    as_drawn = lambda z: np.array([[np.nan if cell is None else cell for cell in row] for row in z])  # noqa: E731
    np.testing.assert_allclose(as_drawn(data[0]["z"])[causal], weights[1, 2][causal], atol=1e-3)
    assert menu["buttons"][menu["active"]]["label"] == "L2·H3"
    heads = list(np.ndindex(2, 3)) if limit > weights.size else [(1, 2)]
    assert [button["label"] for button in menu["buttons"]] == [f"L{layer + 1}·H{head + 1}" for layer, head in heads]
    for button, head in zip(menu["buttons"], heads, strict=True):
        np.testing.assert_allclose(as_drawn(button["args"][0]["z"][0])[causal], weights[head][causal], atol=1e-3)


def test_invalid_texts_are_rejected() -> None:
    model, tokenizer = random_model(ModelConfig(3, 8, 1, 8, context_length=4)), CharTokenizer("abc")
    with pytest.raises(InputError, match="text is empty"):
        attention_map(model, tokenizer, "")
    with pytest.raises(InputError, match="'Z'"):
        attention_map(model, tokenizer, "Z" + "abc" * 5)  # also before the window
