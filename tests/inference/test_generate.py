"""generate() and its text variants: reproducible, free of side effects, validated at the call, and stoppable."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nanollm.cli import sample as generate_command
from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.inference.generate import (
    MIN_BATCH,
    generate,
    generate_many,
    generate_text,
    generate_texts,
    stream_samples,
    stream_text,
)
from nanollm.inference.sampling import SamplingOptions, draw
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import save_checkpoint
from tests.conftest import ROOT, random_model

VOCABULARY = "\n abcdefghijklmnop"


@pytest.fixture(scope="module")
def model() -> TransformerLanguageModel:
    config = ModelConfig(len(VOCABULARY), embedding_dim=16, num_layers=2, ffn_hidden_dim=32, context_length=16)
    return random_model(config)


@pytest.fixture(scope="module")
def tokenizer() -> CharTokenizer:
    return CharTokenizer(VOCABULARY)


def test_the_same_seed_gives_the_same_text(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    write = lambda seed: generate_text(model, tokenizer, "abc", 80, temperature=1.0, top_k=40, seed=seed)  # noqa: E731
    assert write(1) == write(1) != write(2)


def test_the_text_is_the_prompt_and_max_length_new_characters(
    model: TransformerLanguageModel, tokenizer: CharTokenizer
) -> None:
    for prompt in ("", "a", "abc def" * 9):
        for length in (0, 1, 50):
            text = generate_text(model, tokenizer, prompt, max_length=length)
            assert text.startswith(prompt) and len(text) == len(prompt) + length


def test_an_empty_prompt_starts_from_a_newline(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    assert "\n" + generate_text(model, tokenizer, "", 30) == generate_text(model, tokenizer, "\n", 30)


def test_without_a_newline_an_empty_prompt_starts_from_the_first_character() -> None:
    tokenizer = CharTokenizer("cab")  # ids follow this order
    model = random_model(ModelConfig(3, embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=5))
    written = generate_text(model, tokenizer, "", 20, seed=4)
    assert written == generate_text(model, tokenizer, tokenizer.characters[0], 20, seed=4)[1:]
    assert written != generate_text(model, tokenizer, tokenizer.characters[1], 20, seed=4)[1:]


def test_generating_changes_neither_the_model_nor_random_state(
    model: TransformerLanguageModel, tokenizer: CharTokenizer
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random, numpy_random = torch.get_rng_state(), np.random.get_state()[1].copy()
    generate_text(model, tokenizer, "abc", 60)
    assert torch.equal(random, torch.get_rng_state()) and (numpy_random == np.random.get_state()[1]).all()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.training


def test_unknown_prompt_characters_are_named(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    with pytest.raises(InputError, match="'Z' 'é'"):
        generate_text(model, tokenizer, "aZbéZ")


@pytest.mark.parametrize(
    "ids", [[], [-1], [len(VOCABULARY)], [1.0], [1.7], [True], ["1"], "12", [[1]], 1, None, [None], [2**70]], ids=str
)
def test_invalid_ids_are_rejected_at_the_call(model: TransformerLanguageModel, ids: Any) -> None:
    with pytest.raises(InputError):
        generate(model, ids, max_new_tokens=5)


@pytest.mark.parametrize(("characters", "message"), [("", "take both"), ("abc", "take both"), (VOCABULARY, "a string")])
def test_another_models_tokenizer_or_a_prompt_that_is_not_text_is_rejected(
    model: TransformerLanguageModel, characters: str, message: str
) -> None:
    prompt: Any = "a" if message == "take both" else None
    for function in (stream_samples, stream_text, generate_text, partial(generate_texts, num_samples=2)):
        with pytest.raises(InputError, match=message):
            function(model, CharTokenizer(characters), prompt)


def test_invalid_options_are_rejected_at_the_call(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    for change in ({"temperature": -1}, {"top_k": 0}, {"max_length": -1}, {"seed": -1}):
        arguments: dict[str, Any] = {**change}
        with pytest.raises(InputError):
            generate_text(model, tokenizer, "a", **arguments)
        with pytest.raises(InputError):
            generate_texts(model, tokenizer, "a", num_samples=2, **arguments)
    with pytest.raises(InputError):
        generate(model, [1], max_new_tokens=5, candidates=-1)
    with pytest.raises(InputError):
        generate_texts(model, tokenizer, "a", num_samples=0)


def test_each_character_reports_its_probability_and_candidates(
    model: TransformerLanguageModel, tokenizer: CharTokenizer
) -> None:
    options = SamplingOptions(max_length=60, temperature=1.2, seed=3, candidates=4)
    samples = list(stream_samples(model, tokenizer, "abc", options))
    assert [tokenizer.characters[s.id] for s in samples] == list(stream_text(model, tokenizer, "abc", options))
    for sampled in samples:
        assert len(sampled.candidates) == (4 if sampled.rank <= 4 else 5)
        probabilities = [candidate.probability for candidate in sampled.candidates]
        assert probabilities == sorted(probabilities, reverse=True)
        own = sampled.candidates[min(sampled.rank, 5) - 1]
        assert own == (sampled.id, sampled.probability, sampled.shaped_probability)


@pytest.mark.parametrize("num_samples", [1, 3, MIN_BATCH])  # one numpy engine per sample, and one PyTorch batch
def test_each_of_several_samples_is_the_text_of_its_seed(
    model: TransformerLanguageModel, tokenizer: CharTokenizer, num_samples: int
) -> None:
    texts = generate_texts(model, tokenizer, "abc", num_samples=num_samples, max_length=50, seed=7)
    assert texts == [generate_text(model, tokenizer, "abc", 50, seed=7 + i) for i in range(num_samples)]
    assert len({*texts}) == num_samples


@pytest.mark.parametrize("num_samples", [1, 3, MIN_BATCH])
def test_a_closed_iterator_stops_computing(
    model: TransformerLanguageModel, num_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, drawn = threading.active_count(), []
    monkeypatch.setattr("nanollm.inference.generate.draw", lambda *a, **k: drawn.append(1) or draw(*a, **k))
    streams = [generate(model, [1], max_new_tokens=100_000)] if num_samples == 1 else []
    streams.append(generate_many(model, [1], num_samples, SamplingOptions(max_length=100_000)))
    for stream in streams:
        drawn.clear()
        for _ in range(3):
            next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert list(stream) == [] and threading.active_count() == threads
        assert len(drawn) == 3 * num_samples


def test_weights_are_read_when_the_first_character_is_requested(model: TransformerLanguageModel) -> None:
    trained = random_model(model.config)
    stream = generate(trained, [1], max_new_tokens=20, temperature=0)
    trained.load_state_dict(random_model(model.config, seed=1).state_dict())
    expected = generate(random_model(model.config, seed=1), [1], max_new_tokens=20, temperature=0)
    assert list(stream) == list(expected) != list(generate(model, [1], max_new_tokens=20, temperature=0))


def test_concurrent_threads_generate_the_same_texts_as_one(
    model: TransformerLanguageModel, tokenizer: CharTokenizer
) -> None:
    texts: dict[int, str] = {}
    write = lambda seed: generate_text(model, tokenizer, "abc", 60, seed=seed)  # noqa: E731
    threads = [threading.Thread(target=lambda s=s: texts.update({s: write(s)})) for s in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {seed: write(seed) for seed in range(8)}


def test_the_command_generates_from_a_checkpoint(
    model: TransformerLanguageModel, tokenizer: CharTokenizer, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "a.safetensors", model, step=1, tokenizer=tokenizer)
    command = [sys.executable, "-m", "nanollm.inference.generate"]
    flags = ["a.safetensors", "--prompt", "abc", "--max-length", "40", "--seed", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *flags], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == generate_text(model, tokenizer, "abc", 40, seed=3) + "\n"


@pytest.mark.parametrize(
    "flags",
    [["missing.safetensors"], [], ["a.safetensors", "--prompt", "Z"], ["a.safetensors", "--top-k", "0"]],
    ids=" ".join,
)
def test_the_command_reports_invalid_arguments_in_one_line(
    model: TransformerLanguageModel,
    tokenizer: CharTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
) -> None:
    save_checkpoint(tmp_path / "a.safetensors", model, step=1, tokenizer=tokenizer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["generate", *flags])
    assert generate_command.main() == 2
    output = capsys.readouterr()
    assert output.out == "" and len(output.err.splitlines()) == 1
