"""Checkpoints load for the numpy engine without PyTorch, with the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nanollm.config import ModelConfig
from nanollm.inference.generate import generate_text, generate_texts
from nanollm.inference.numpy_engine import Weights
from nanollm.inference.weights_file import load_weights, weight_shapes
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import load_model, save_checkpoint
from tests.conftest import random_model

CONFIG = ModelConfig(7, embedding_dim=8, num_layers=2, ffn_hidden_dim=12, context_length=6)


@pytest.mark.parametrize("position", ["rotary", "learned"])
def test_weight_shapes_are_those_of_the_model(position: str) -> None:
    config = replace(CONFIG, position=position)
    state = TransformerLanguageModel.from_config(config).state_dict()
    assert weight_shapes(config) == {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("change", [{}, {"position": "learned"}, {"qk_norm": True}])
def test_the_weights_are_those_of_the_loaded_model(tmp_path: Path, change: dict, half: bool) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(
        path, random_model(replace(CONFIG, **change)), step=5, tokenizer=CharTokenizer("\nabcdef"), half=half
    )
    arrays, model = load_weights(path), load_model(path)
    assert (arrays.info, arrays.tokenizer.characters) == (model.info, model.tokenizer.characters)
    expected = Weights.from_model(model.model)
    assert arrays.model.config == expected.config
    np.testing.assert_array_equal(arrays.model.embedding, expected.embedding)
    np.testing.assert_array_equal(arrays.model.layers[1].qkv, expected.layers[1].qkv)


def test_both_generate_the_same_text(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, random_model(CONFIG), step=5, tokenizer=CharTokenizer("\nabcdef"))
    arrays, model = load_weights(path), load_model(path)
    options = {"max_length": 40, "temperature": 1.0, "seed": 3}
    assert generate_text(arrays.model, arrays.tokenizer, "ab", **options) == generate_text(
        model.model, model.tokenizer, "ab", **options
    )
    alone = [generate_text(arrays.model, arrays.tokenizer, "ab", 20, seed=seed) for seed in range(18)]
    assert generate_texts(arrays.model, arrays.tokenizer, "ab", num_samples=18, max_length=20, seed=0) == alone
