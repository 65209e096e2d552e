"""Checkpoints restore exactly the saved model, and damaged files are rejected."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as serialize_tensors

from nanollm.config import ModelConfig, TrainConfig
from nanollm.errors import InputError
from nanollm.inference.weights_file import load_weights
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import load_checkpoint, load_model, read_tensors, save_checkpoint, write_tensors
from tests.conftest import random_model

VOCABULARY = '\n "\\,/:abdegist{}\u00e9\u2028🦊'  # characters that JSON escapes, and those in the digest's key
CONFIG = ModelConfig(len(VOCABULARY), embedding_dim=8, num_layers=2, ffn_hidden_dim=12, context_length=6)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TransformerLanguageModel]:
    path = tmp_path_factory.mktemp("checkpoints") / "checkpoint_00000007.safetensors"
    model = random_model(CONFIG)
    save_checkpoint(
        path, model, step=7, tokenizer=CharTokenizer(VOCABULARY), train_config=TrainConfig(seed=3), val_loss=1.5
    )
    return path, model


def test_load_model_restores_everything(saved: tuple[Path, TransformerLanguageModel]) -> None:
    path, model = saved
    loaded = load_model(path)
    assert loaded.model.config == CONFIG and not loaded.model.training
    assert loaded.tokenizer.characters == tuple(VOCABULARY)
    assert (loaded.info.step, loaded.info.val_loss, loaded.info.train_loss) == (7, 1.5, None)
    assert loaded.info.train_config == TrainConfig(seed=3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)


def test_load_checkpoint_fills_an_existing_model(saved: tuple[Path, TransformerLanguageModel]) -> None:
    path, model = saved
    other = random_model(CONFIG, seed=9)
    assert load_checkpoint(path, other).step == 7
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    "change",
    [{"num_heads": 2}, {"context_length": 7}, {"position": "learned"}, {"embedding_dim": 16}, {"num_layers": 1}],
)
def test_a_different_config_is_rejected_by_field_name(
    saved: tuple[Path, TransformerLanguageModel], change: dict
) -> None:
    other = random_model(replace(CONFIG, **change))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(InputError, match=next(iter(change))):
        load_checkpoint(saved[0], other)
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_dropout_may_differ(saved: tuple[Path, TransformerLanguageModel]) -> None:
    load_checkpoint(saved[0], random_model(replace(CONFIG, dropout=0.5)))


def as_written_before_the_renames(facts: dict) -> dict:
    model, train = dict(facts["model"]), dict(facts["train"])
    model["similarity"] = "cosine" if model.pop("qk_norm") else "dot"
    train["final_learning_rate"] = train.pop("final_lr_fraction")
    return {**facts, "model": model, "train": train}


@pytest.mark.parametrize("qk_norm", [False, True])
def test_a_checkpoint_with_the_old_names_of_settings_still_loads(tmp_path: Path, qk_norm: bool) -> None:
    config, train = replace(CONFIG, qk_norm=qk_norm), TrainConfig(final_lr_fraction=0.25)
    model, path = random_model(config), tmp_path / "old.safetensors"
    save_checkpoint(path, model, step=1, tokenizer=CharTokenizer(VOCABULARY), train_config=train)
    tensors, facts = read_tensors(path)
    write_tensors(path, tensors, as_written_before_the_renames(facts))
    loaded = load_model(path)
    assert (loaded.info.model_config, loaded.info.train_config) == (config, train)
    assert load_checkpoint(path, random_model(config, seed=9)).step == 1
    with pytest.raises(InputError, match="qk_norm"):
        load_checkpoint(path, random_model(replace(config, qk_norm=not qk_norm)))


def test_load_model_rejects_a_file_without_a_vocabulary(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.safetensors", random_model(CONFIG), step=1)
    for load in (load_model, load_weights):
        with pytest.raises(InputError, match="no vocabulary"):
            load(tmp_path / "a.safetensors")
    assert load_checkpoint(tmp_path / "a.safetensors", random_model(CONFIG, seed=5)).step == 1


@given(st.data())
def test_every_flipped_bit_is_detected(saved: tuple[Path, TransformerLanguageModel], data: st.DataObject) -> None:
    content = bytearray(saved[0].read_bytes())
    position = data.draw(st.integers(0, len(content) * 8 - 1))
    content[position // 8] ^= 1 << position % 8
    damaged = saved[0].with_name("damaged.safetensors")
    damaged.write_bytes(content)
    with pytest.raises(InputError):
        load_model(damaged)


def test_every_truncation_is_detected(saved: tuple[Path, TransformerLanguageModel]) -> None:
    content = saved[0].read_bytes()
    cut = saved[0].with_name("cut.safetensors")
    for percent in range(0, 100, 5):
        cut.write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(InputError):
            load_model(cut)
    cut.write_bytes(content + b"\0")
    with pytest.raises(InputError):
        load_model(cut)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\x80\x04 a pickle.", b"\xff" * 64, b"\0" * 4096])
def test_other_files_are_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_model(path)


def test_missing_files_and_folders_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t, f: (t, {**f, "model": {**f["model"], "num_heads": 3}}),
        lambda t, f: (t, {**f, "model": {**f["model"], "extra": 1}}),
        lambda t, f: (t, {**f, "characters": f["characters"][:-1]}),
        lambda t, f: (t, {**f, "characters": [f["characters"][0]] * len(f["characters"])}),
        lambda t, f: (t, {k: v for k, v in f.items() if k != "step"}),
        lambda t, f: ({k: v for k, v in t.items() if k != "norm.gain"}, f),
        lambda t, f: ({**t, "another": torch.zeros(1)}, f),
        lambda t, f: ({**t, "norm.gain": t["norm.gain"].double()}, f),
        lambda t, f: ({**t, "norm.gain": t["norm.gain"][:-1].clone()}, f),
        lambda t, f: ({**t, "norm.gain": t["norm.gain"] * torch.nan}, f),
    ],
)
def test_a_file_with_valid_digest_but_wrong_content_is_rejected(
    saved: tuple[Path, TransformerLanguageModel], tmp_path: Path, spoil
) -> None:
    tensors, facts = read_tensors(saved[0])
    write_tensors(tmp_path / "wrong.safetensors", *spoil(tensors, facts))
    for load in (load_model, load_weights):
        with pytest.raises(InputError):
            load(tmp_path / "wrong.safetensors")


def test_deeply_nested_metadata_are_rejected(tmp_path: Path) -> None:
    unsigned = {"nanollm": "[" * 100_000, "digest": "0" * 64}  # nested too deeply for the JSON parser
    content = serialize_tensors({"a": torch.zeros(1)}, unsigned)
    path = tmp_path / "deep.safetensors"
    path.write_bytes(content.replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode()))
    with pytest.raises(InputError, match="not a nano-llm checkpoint"):
        load_model(path)


def test_another_format_is_rejected_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanollm.train.checkpoint_file.FORMAT", 99)
    save_checkpoint(tmp_path / "new.safetensors", random_model(CONFIG), step=1)
    monkeypatch.undo()
    with pytest.raises(InputError, match="format 99"):
        load_model(tmp_path / "new.safetensors")


def test_a_model_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    model = random_model(CONFIG)
    model.norm.gain.data[0] = torch.inf
    with pytest.raises(InputError, match="not finite"):
        save_checkpoint(tmp_path / "inf.safetensors", model, step=1)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, random_model(CONFIG), step=1)
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError):
        save_checkpoint(path, random_model(CONFIG, seed=2), step=2)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_header_is_plain_safetensors(saved: tuple[Path, TransformerLanguageModel]) -> None:
    content = saved[0].read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["nanollm"])["step"] == 7
