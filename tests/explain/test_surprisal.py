"""Surprisal: matches the model at every character, matches generation, and is a distribution over texts."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.surprisal import _score, surprisal
from nanollm.inference.generate import stream_samples, window_start
from nanollm.inference.sampling import SamplingOptions
from nanollm.tokenizer import CharTokenizer
from tests.conftest import ROOT, random_model
from tests.strategies import model_configs


def tokenizer_of(config: ModelConfig) -> CharTokenizer:
    return CharTokenizer([chr(97 + i) for i in range(config.vocab_size)])


@given(model_configs(), st.data())
def test_each_character_is_scored_with_the_window_before_it(config: ModelConfig, data: st.DataObject) -> None:
    """Also for texts far longer than the window, with the same window as in generate()."""
    model, tokenizer = random_model(config), tokenizer_of(config)
    text = data.draw(st.text(st.sampled_from(tokenizer.characters), min_size=1, max_size=40))
    k = data.draw(st.integers(0, 14))
    read = surprisal(model, tokenizer, text, candidates=k)
    ids = tokenizer.encode(text).astype(int).tolist()
    k = min(k, config.vocab_size)
    assert read.bits.shape == read.ranks.shape == (len(ids),) and read.candidate_ids.shape == (len(ids), k)
    for n, id in enumerate(ids):
        before = ids[window_start(n, config.context_length) : n] or [0]
        with torch.no_grad():
            expected = model(torch.tensor([before]))[0, -1].double().softmax(-1).numpy()
        np.testing.assert_allclose(read.probabilities[n], expected[id], atol=1e-5)
        np.testing.assert_allclose(read.bits[n], -math.log2(expected[id]), atol=1e-3)
        np.testing.assert_allclose(read.candidate_probabilities[n], np.sort(expected)[::-1][:k], atol=1e-5)
        np.testing.assert_allclose(expected[read.candidate_ids[n]], read.candidate_probabilities[n], atol=1e-5)
        assert (expected > expected[id] + 1e-5).sum() < read.ranks[n] <= (expected >= expected[id] - 1e-5).sum()
        if read.ranks[n] <= k:
            assert read.candidate_ids[n, read.ranks[n] - 1] == id


def test_scoring_in_small_batches_gives_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(9, embedding_dim=16, num_layers=1, ffn_hidden_dim=16, context_length=8)
    model, tokenizer = random_model(config), tokenizer_of(config)
    whole = surprisal(model, tokenizer, "abcdefghi" * 9, candidates=3)
    monkeypatch.setattr("nanollm.explain.surprisal.MAX_LOGITS", 20)  # two characters at a time
    batches = surprisal(model, tokenizer, "abcdefghi" * 9, candidates=3)
    np.testing.assert_allclose(batches.bits, whole.bits, atol=1e-5)
    np.testing.assert_array_equal(batches.ranks, whole.ranks)
    np.testing.assert_array_equal(batches.candidate_ids, whole.candidate_ids)


def test_ties_go_to_the_lower_id() -> None:
    logits, targets = torch.tensor([[1.0, 2.0, 2.0, 0.0, 2.0]]).repeat(5, 1), torch.arange(5)
    bits, _, ranks, top_ids, _ = _score(logits, targets, 5)
    assert ranks.tolist() == [4, 1, 2, 5, 3] and top_ids[0].tolist() == [1, 2, 4, 0, 3]
    assert bits.shape == (5,) and _score(logits, targets, 0)[3].shape == (5, 0)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_is_bounded_for_large_vocabularies() -> None:
    """With a vocabulary of 20,000, the logits of all positions at once would take several hundred megabytes."""
    code = """
import torch
from nanollm.config import ModelConfig
from nanollm.explain.surprisal import surprisal
from nanollm.train.memory import peak_bytes
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
config = ModelConfig(20_000, embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=64)
model, tokenizer = TransformerLanguageModel.from_config(config), CharTokenizer([chr(0x4E00 + i) for i in range(20_000)])
surprisal(model, tokenizer, chr(0x4E00), candidates=5)
before = peak_bytes()
surprisal(model, tokenizer, "".join(chr(0x4E00 + 6 * i) for i in range(1_000)), candidates=5)
print(peak_bytes() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400e6


@pytest.mark.parametrize("position", ["rotary", "learned"])
@pytest.mark.parametrize("prompt", ["a", "abcab", "abcdefg" * 9])
def test_generated_text_is_scored_with_its_sampling_probabilities(prompt: str, position: str) -> None:
    config = ModelConfig(9, embedding_dim=16, num_layers=2, ffn_hidden_dim=32, context_length=16, position=position)
    model, tokenizer = random_model(config), tokenizer_of(config)
    options = SamplingOptions(max_length=90, temperature=1.3, top_k=7, candidates=3)
    written = list(stream_samples(model, tokenizer, prompt, options))
    text = prompt + tokenizer.decode([sampled.id for sampled in written])
    read = surprisal(model, tokenizer, text, candidates=3)
    np.testing.assert_allclose(read.bits[len(prompt) :], [sampled.surprisal for sampled in written], atol=1e-3)
    assert read.ranks[len(prompt) :].tolist() == [sampled.rank for sampled in written]
    assert read.candidate_ids[len(prompt) :].tolist() == [[c.id for c in s.candidates[:3]] for s in written]
    np.testing.assert_allclose(2.0**-read.bits, read.probabilities)
    assert read.bits_per_character == pytest.approx(read.bits.sum() / len(text))


def test_probabilities_of_all_texts_of_a_length_sum_to_one() -> None:
    """The chain rule: over all 3⁴ texts of four characters the products of probabilities sum to 1."""
    config = ModelConfig(3, embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=2)
    model, tokenizer = random_model(config), tokenizer_of(config)
    texts = ["".join("abc"[n // 3**i % 3] for i in range(4)) for n in range(3**4)]
    assert sum(2.0 ** -surprisal(model, tokenizer, text).bits.sum() for text in texts) == pytest.approx(1, abs=1e-5)


def test_the_first_character_follows_a_newline() -> None:
    config = ModelConfig(3, embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=4)
    model, tokenizer = random_model(config), CharTokenizer("a\nb")
    assert surprisal(model, tokenizer, "ab").bits[0] == surprisal(model, tokenizer, "\na").bits[1]


def test_the_model_is_unchanged_and_scored_without_dropout() -> None:
    config = ModelConfig(3, embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=4, dropout=0.5)
    model, tokenizer = random_model(config), tokenizer_of(config)
    expected = surprisal(model, tokenizer, "abcabcabc").bits
    model.train()
    np.testing.assert_array_equal(surprisal(model, tokenizer, "abcabcabc").bits, expected)
    assert model.training


def test_invalid_arguments_are_rejected() -> None:
    config = ModelConfig(3, embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=4)
    model, tokenizer = random_model(config), tokenizer_of(config)
    for text, candidates, match in (
        ("", 0, "text is empty"),
        ("aZ", 0, "'Z'"),
        ("a", -1, "candidates"),
        ("a", 1.5, "whole"),
    ):
        with pytest.raises(InputError, match=match):
            surprisal(model, tokenizer, text, candidates=candidates)
    with pytest.raises(InputError, match="tokenizer"):
        surprisal(model, CharTokenizer("abcd"), "a")
