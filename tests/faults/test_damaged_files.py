"""Guarantees A2, A5: damaged files and unknown formats are detected before any value is used.

And C8, in part: false sizes in a header are detected too.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanollm.config import ModelConfig, TrainConfig
from nanollm.errors import InputError
from nanollm.inference.weights_file import load_weights
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train import checkpoint, checkpoint_file
from nanollm.train.checkpoint import load_checkpoint, load_model, save_checkpoint
from nanollm.train.loop import Dataset, TrainState, train
from tests.conftest import random_model

VOCABULARY = '\n "\\,/:abdegist{}\u00e9\u2028🦊'  # characters that JSON escapes, and those of the digest
CONFIG = ModelConfig(len(VOCABULARY), embedding_dim=8, num_layers=2, ffn_hidden_dim=12, context_length=6)
TRAINING = TrainConfig(num_steps=3, batch_size=2, precision="float32", threads=1)

Load = Callable[[Path], Any]


@pytest.fixture(scope="module", params=["checkpoint", "checkpoint as arrays", "checkpoint into a model", "resume file"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Load]:
    """An intact file and the function that reads it."""
    path = tmp_path_factory.mktemp("files") / "file.safetensors"
    state = TrainState.new(random_model(CONFIG), TRAINING)
    data = Dataset.from_ids([i % len(VOCABULARY) for i in range(200)], 0.1)
    list(train(state, data, TRAINING))
    load: Load = load_model
    if request.param == "resume file":
        state.save(path)
        load = lambda path: TrainState.load(path, TRAINING)  # noqa: E731
    else:
        save_checkpoint(path, state.model, step=3, tokenizer=CharTokenizer(VOCABULARY), train_config=TRAINING)
        if request.param == "checkpoint into a model":
            load = lambda path: load_checkpoint(path, random_model(CONFIG))  # noqa: E731
        elif request.param == "checkpoint as arrays":
            load = load_weights
    load(path)  # the intact file loads
    return path, load


def assert_refused(saved: tuple[Path, Load], content: bytes) -> None:
    damaged = saved[0].with_name("damaged.safetensors")
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=r"^damaged\.safetensors .*[:.]") as error:
        saved[1](damaged)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_a2_flipped_bits_are_detected(saved: tuple[Path, Load]) -> None:
    whole, draw = saved[0].read_bytes(), random.Random(11)
    header = 8 + int.from_bytes(whole[:8], "little")
    # Half of the damage in the header, which is small but has more ways to be misread.
    for bit in [draw.randrange(8 * header) for _ in range(250)] + [draw.randrange(8 * len(whole)) for _ in range(250)]:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        assert_refused(saved, bytes(content))


def test_a2_cut_and_zeroed_files_are_detected(saved: tuple[Path, Load]) -> None:
    whole = saved[0].read_bytes()
    edges = [len(whole) * percent // 100 for percent in range(0, 101, 5)]
    for start, end in itertools.pairwise(edges):
        assert_refused(saved, whole[:start])
        zeroed = whole[:start] + bytes(end - start) + whole[end:]
        assert zeroed != whole
        assert_refused(saved, zeroed)
    assert_refused(saved, whole + b"\0")
    assert_refused(saved, whole + whole)


@pytest.mark.parametrize("version", [0, 2, 99, "1", None])
def test_a5_another_format_is_refused_by_its_version(saved: tuple[Path, Load], monkeypatch, version: object) -> None:
    other = saved[0].with_name("other.safetensors")
    tensors, facts = checkpoint.read_tensors(saved[0])
    facts.pop("format")
    monkeypatch.setattr(checkpoint_file, "FORMAT", version)
    checkpoint.write_tensors(other, tensors, facts)
    monkeypatch.undo()
    with pytest.raises(InputError) as error:
        saved[1](other)
    assert str(error.value) == (
        f"other.safetensors has format {version!r}, but this version reads format {checkpoint_file.FORMAT}: "
        "update nano-llm."
    )


def test_c8_a_small_file_claiming_a_large_model_allocates_none(saved: tuple[Path, Load], monkeypatch) -> None:
    tensors, facts = checkpoint.read_tensors(saved[0])
    facts["model"] |= {"embedding_dim": 4096, "num_layers": 64, "ffn_hidden_dim": 16_384}
    hostile = saved[0].with_name("hostile.safetensors")
    checkpoint.write_tensors(hostile, tensors, facts)

    def check_size(config: ModelConfig) -> None:
        assert config.embedding_dim < 4096, "50 GB would have been allocated"

    original = TransformerLanguageModel.from_config
    monkeypatch.setattr(TransformerLanguageModel, "from_config", lambda config: check_size(config) or original(config))
    with pytest.raises(InputError):
        saved[1](hostile)
