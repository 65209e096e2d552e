"""Checkpoints of PyTorch models: safetensors files that are written atomically and verified when they are read.

See checkpoint_file.py for the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialize_tensors
from torch import Tensor

from nanollm.config import ModelConfig, TrainConfig, to_dict
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint_file import (
    CheckpointInfo,
    checkpoint_info,
    not_a_checkpoint,
    read_verified,
    unsigned_metadata,
    vocabulary_of,
    write_signed,
)


@dataclass(frozen=True)
class LoadedModel:
    """A model loaded from a checkpoint, in eval mode, with the tokenizer it was trained with."""

    model: TransformerLanguageModel
    tokenizer: CharTokenizer
    info: CheckpointInfo


def save_checkpoint(
    path: str | Path,
    model: TransformerLanguageModel,
    *,
    step: int,
    tokenizer: CharTokenizer | None = None,
    train_config: TrainConfig | None = None,
    train_loss: float | None = None,
    val_loss: float | None = None,
    half: bool = False,
) -> None:
    """Write a model to a checkpoint file, atomically.

    `half` stores the weights as float16, which halves the size but rounds the weights.
    Raises InputError (and writes nothing) if a weight is not finite, OSError if the file cannot be written.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        weights = {name: tensor.half() for name, tensor in weights.items()}
    require_finite(weights, "The model has weights that are not finite, so it was not saved")
    facts = {
        "step": step,
        "model": to_dict(model.config),
        "train": to_dict(train_config) if train_config else None,
        "characters": list(tokenizer.characters) if tokenizer else None,
        "train_loss": train_loss,
        "val_loss": val_loss,
    }
    write_tensors(path, weights, facts)


def load_model(path: str | Path) -> LoadedModel:
    """Load the model and its tokenizer from a checkpoint.

    Raises InputError if the file is missing, damaged, not a checkpoint, of another format, or has no vocabulary.
    """
    weights, facts = read_tensors(path)
    info = checkpoint_info(path, facts)
    characters = vocabulary_of(path, info)
    require_size(path, info.model_config, weights)
    model = TransformerLanguageModel.from_config(info.model_config)
    _copy_weights(path, model, weights)
    return LoadedModel(model.eval(), CharTokenizer(characters), info)


def load_checkpoint(path: str | Path, model: TransformerLanguageModel) -> CheckpointInfo:
    """Load the weights of a checkpoint into an existing model with the same ModelConfig (dropout may differ).

    All other fields are compared, because a different num_heads or context_length does not change the shape of any
    tensor and would silently produce a wrong model. Raises InputError if a field differs or the file is unusable (see
    load_model()).
    """
    weights, facts = read_tensors(path)
    info = checkpoint_info(path, facts)
    in_file, in_model = to_dict(info.model_config), to_dict(model.config)
    differing = [name for name in in_model if name != "dropout" and in_file[name] != in_model[name]]
    if differing:
        listed = ", ".join(f"{name} {in_file[name]} (this model: {in_model[name]})" for name in differing)
        raise InputError(f"{Path(path).name} was trained with {listed}: create the model with the same values.")
    _copy_weights(path, model, weights)
    return info


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a safetensors file with `facts` as JSON metadata and a digest, creating its folder if necessary.

    Raises OSError if the file cannot be written.
    """
    write_signed(path, serialize_tensors(dict(tensors), unsigned_metadata(facts)))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the metadata of a file written by write_tensors(), and verify its digest.

    Raises InputError if the file is missing, damaged, not a nano-llm file, or of another format.
    """
    content, facts = read_verified(path)
    try:
        return parse_tensors(content), facts
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise not_a_checkpoint(path) from error


def require_size(path: str | Path, model: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Raise InputError if the number of weights in a file differs from that of its ModelConfig.

    Checked before the model is created: a tiny damaged or malicious file could otherwise request a model that fills the
    memory.
    """
    if sum(tensor.numel() for tensor in weights.values()) != model.num_parameters:
        raise not_a_checkpoint(path)


def require_finite(tensors: Mapping[str, Tensor], complaint: str) -> None:
    """Raise InputError with the given complaint if a value is infinite or NaN."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise InputError(f"{complaint}: use an earlier checkpoint.")


def _copy_weights(path: str | Path, model: TransformerLanguageModel, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the model after checking names, shapes, types and values; float16 is converted to float32."""
    expected = model.state_dict()
    matches = weights.keys() == expected.keys() and all(
        weights[name].shape == tensor.shape and weights[name].dtype in (tensor.dtype, torch.float16)
        for name, tensor in expected.items()
    )
    if not matches:
        raise not_a_checkpoint(path)
    require_finite(weights, f"{Path(path).name} has weights that are not finite")
    model.load_state_dict(dict(weights))
