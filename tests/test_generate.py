"""Writing: reproducible, without side effects, polite to odd prompts, and stopped when told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nanollm.checkpoint import save_checkpoint
from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.inference.generate import generate, generate_text, stream_text
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from tests.conftest import ROOT, random_model

VOCABULARY = "\n abcdefghijklmnop"


@pytest.fixture(scope="module")
def model() -> TransformerLanguageModel:
    config = ModelConfig(len(VOCABULARY), embedding_dim=16, num_layers=2, ffn_hidden_dim=32, context_length=16)
    return random_model(config)


@pytest.fixture(scope="module")
def tokenizer() -> CharTokenizer:
    return CharTokenizer(VOCABULARY)


def test_the_seed_decides_the_text(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    write = lambda seed: generate_text(model, tokenizer, "abc", 80, temperature=1.0, top_k=40, seed=seed)  # noqa: E731
    assert write(1) == write(1) != write(2)


def test_the_text_is_the_prompt_and_max_length_more(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    for prompt in ("", "a", "abc def" * 9):
        for length in (0, 1, 50):
            text = generate_text(model, tokenizer, prompt, max_length=length)
            assert text.startswith(prompt) and len(text) == len(prompt) + length


def test_an_empty_prompt_starts_from_a_newline(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    assert "\n" + generate_text(model, tokenizer, "", 30) == generate_text(model, tokenizer, "\n", 30)


def test_writing_touches_nothing(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random, numpy_random = torch.get_rng_state(), np.random.get_state()[1].copy()
    generate_text(model, tokenizer, "abc", 60)
    assert torch.equal(random, torch.get_rng_state()) and (numpy_random == np.random.get_state()[1]).all()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.training


def test_unknown_characters_are_named(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    with pytest.raises(InputError, match="'Z' 'é'"):
        generate_text(model, tokenizer, "aZbéZ")


@pytest.mark.parametrize("ids", [[], [-1], [len(VOCABULARY)]])
def test_odd_ids_are_refused_at_the_call(model: TransformerLanguageModel, ids: list[int]) -> None:
    with pytest.raises(InputError):
        generate(model, ids, max_new_tokens=5)


def test_settings_are_refused_at_the_call(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    for change in ({"temperature": -1}, {"top_k": 0}, {"max_length": -1}, {"seed": -1}):
        settings: dict[str, Any] = {**change}
        with pytest.raises(InputError):
            stream_text(model, tokenizer, "a", **settings)


def test_a_closed_iterator_stops_computing(model: TransformerLanguageModel) -> None:
    threads = threading.active_count()
    stream = generate(model, [1], max_new_tokens=100_000)
    for _ in range(3):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert list(stream) == [] and threading.active_count() == threads


def test_eight_at_once_write_what_one_writes(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    texts: dict[int, str] = {}
    write = lambda seed: generate_text(model, tokenizer, "abc", 60, seed=seed)  # noqa: E731
    threads = [threading.Thread(target=lambda s=s: texts.update({s: write(s)})) for s in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {seed: write(seed) for seed in range(8)}


def test_the_command_writes_with_a_checkpoint(
    model: TransformerLanguageModel, tokenizer: CharTokenizer, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "a.safetensors", model, step=1, tokenizer=tokenizer)
    command = [sys.executable, "-m", "nanollm.inference.generate"]
    run = lambda *flags: subprocess.run(  # noqa: E731
        [*command, *flags], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    done = run("a.safetensors", "--prompt", "abc", "--max-length", "40", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == generate_text(model, tokenizer, "abc", 40, seed=3) + "\n"
    for flags in (["missing.safetensors"], [], ["a.safetensors", "--prompt", "Z"], ["a.safetensors", "--top-k", "0"]):
        failed = run(*flags)
        assert failed.returncode == 2 and failed.stdout == ""
        assert len(failed.stderr.strip().splitlines()) == 1 and "Traceback" not in failed.stderr
