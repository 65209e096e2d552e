"""The logit lens ends with the model's predictions, and contributions sum to the logit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.ablation import Part, ablate
from nanollm.explain.context_window import blocks
from nanollm.explain.logit_lens import contributions, logit_lens
from nanollm.tokenizer import CharTokenizer
from tests.conftest import random_model
from tests.planted import Planted
from tests.strategies import model_configs

ALPHABET = "abcdefghijkl"


@given(model_configs(), st.data())
def test_the_last_layer_of_the_lens_is_the_models_prediction(config: ModelConfig, data: st.DataObject) -> None:
    model, tokenizer = random_model(config), CharTokenizer(ALPHABET[: config.vocab_size])
    text = data.draw(st.text(st.sampled_from(tokenizer.characters), min_size=1, max_size=15))
    shown = logit_lens(model, tokenizer, text)
    T = min(len(text), config.context_length)
    assert (shown.text, shown.skipped) == (text[-T:], len(text) - T)
    assert shown.probabilities.shape == (config.num_layers + 1, T, config.vocab_size)
    with torch.no_grad():
        expected = model(torch.from_numpy(tokenizer.encode(shown.text).astype(np.int64))[None])[0].softmax(dim=-1)
    np.testing.assert_allclose(shown.probabilities[-1], expected, atol=1e-4)
    np.testing.assert_allclose(shown.probabilities.sum(axis=-1), 1, atol=1e-4)
    # The lens after a layer equals the prediction with all later layers zero-ablated.
    early = ablate(model, [Part("layer", layer) for layer in range(1, config.num_layers)])
    np.testing.assert_allclose(logit_lens(early, tokenizer, text).probabilities[-1], shown.probabilities[1], atol=1e-4)


@given(model_configs(), st.data())
def test_contributions_sum_to_the_logit(config: ModelConfig, data: st.DataObject) -> None:
    model, tokenizer = random_model(config), CharTokenizer(ALPHABET[: config.vocab_size])
    text = data.draw(st.text(st.sampled_from(tokenizer.characters), min_size=1, max_size=15))
    T = min(len(text), config.context_length)
    index = data.draw(st.integers(-T, T - 1))
    character = data.draw(st.sampled_from(tokenizer.characters))
    shared = contributions(model, tokenizer, text, character, index)
    with torch.no_grad():
        logits = model(torch.from_numpy(tokenizer.encode(text[-T:]).astype(np.int64))[None])[0]
    logit = logits[index, tokenizer.encode(character)[0]].item()
    assert shared.logit == pytest.approx(logit, abs=1e-4)
    assert shared.sum() == pytest.approx(logit, abs=1e-4)
    assert shared.index == index % T and shared.heads.shape == (config.num_layers, config.heads)
    assert config.position == "learned" or shared.position == 0


@given(model_configs(), st.data())
def test_a_contribution_is_the_change_of_the_logit_without_that_part(config: ModelConfig, data: st.DataObject) -> None:
    """Not only the sum: each contribution is what the logit loses when that output is removed from the final stream."""
    model, tokenizer = random_model(config), CharTokenizer(ALPHABET[: config.vocab_size])
    text = data.draw(st.text(st.sampled_from(tokenizer.characters), min_size=1, max_size=9))
    ids = torch.from_numpy(tokenizer.encode(text[-config.context_length :]).astype(np.int64))[None]
    shared, ends, written = contributions(model, tokenizer, text, "a"), [], []
    layer = data.draw(st.integers(0, config.num_layers - 1))
    blocks(model)[layer].attention.register_forward_hook(lambda m, i, output: written.append(output[0, -1]))
    model.norm.register_forward_hook(lambda m, i, output: ends.append(i[0][0, -1]))
    with torch.no_grad():
        model(ids)
        x, attention = ends[0].double(), written[0].double()
        without = x - attention
        scale = torch.sqrt(x.var(correction=0) + 1e-5)  # held constant
        unembed = lambda y: ((y - y.mean()) / scale * model.norm.gain) @ model.embedding.weight[0].double()  # noqa: E731
        lost = (unembed(x) - unembed(without)).item()
    assert shared.heads[layer].sum() + shared.attention_biases[layer] == pytest.approx(lost, abs=1e-3)


def test_the_decisive_head_has_the_largest_contribution() -> None:
    planted = Planted(vocab_size=4, context_length=8)
    planted.back(0, 0, 0).writes(0, 0, 6 * planted.character.roll(-1, 0))  # after a comes b, after b c, …
    shared = contributions(planted.model, CharTokenizer("abcd"), "dab", "c")
    assert shared.heads[0, 0] > 0.9 * shared.logit > 5
    assert shared.heads[0, 1] == shared.attention_biases[0] == shared.feed_forwards[0] == 0
    lens = logit_lens(planted.model, CharTokenizer("abcd"), "dab")
    top_ids = lens.probabilities.argmax(axis=-1).tolist()
    assert top_ids == [[3, 0, 1], [0, 1, 2]]  # before the layer the same character, after it the next one


def test_invalid_arguments_are_rejected_and_the_model_is_unchanged() -> None:
    model, tokenizer = random_model(ModelConfig(3, 8, 1, 8, context_length=4)).train(), CharTokenizer("abc")
    with pytest.raises(InputError, match="text is empty"):
        logit_lens(model, tokenizer, "")
    for arguments, message in (
        (("abc", "Z"), "'Z'"),
        (("abc", "ab"), "single character"),
        (("abc", ""), "single character"),
        (("abcabc", "a", 4), "4 characters"),  # indices count in the window
        (("abc", "a", -4), "3 characters"),
        (("abc", "a", 1.5), "3 characters"),
    ):
        with pytest.raises(InputError, match=message):
            contributions(model, tokenizer, *arguments)
    contributions(model, tokenizer, "abc", "a")
    assert model.training and all(p.grad is None for p in model.parameters())
