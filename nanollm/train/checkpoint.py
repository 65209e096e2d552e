"""Checkpoints: safetensors files that are written atomically and verified by a digest when they are read.

A checkpoint contains the weights, the vocabulary and both configs: everything that sampling needs. Its metadata contain
the SHA-256 of the whole file, computed with the digest's own 64 hex digits replaced by zeros, because safetensors does
not detect corrupted data. No pickle is involved.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialize_tensors
from torch import Tensor

from nanollm.config import ModelConfig, TrainConfig, current_names, to_dict
from nanollm.errors import InputError
from nanollm.files import write_atomic
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer

FORMAT = 1
FINAL_NAME = "checkpoint_final.safetensors"
_ZERO_DIGEST = b'"digest":"' + b"0" * 64 + b'"'
_MAX_BYTES = 4 * 2**30
_MAX_HEADER = 16 * 2**20  # bytes; a vocabulary of 20,000 characters takes less than 1 MB


@dataclass(frozen=True)
class CheckpointInfo:
    """Metadata of a checkpoint; losses in nats per character, None if not measured."""

    step: int
    model_config: ModelConfig
    train_config: TrainConfig | None
    characters: tuple[str, ...] | None  # the vocabulary, in the order of its ids
    train_loss: float | None
    val_loss: float | None


@dataclass(frozen=True)
class LoadedModel:
    """A model loaded from a checkpoint, in eval mode, with the tokenizer it was trained with."""

    model: TransformerLanguageModel
    tokenizer: CharTokenizer
    info: CheckpointInfo


def snapshot_name(step: int) -> str:
    """Return the file name of the checkpoint at a step."""
    return f"checkpoint_{step:08d}.safetensors"


def resume_name(step: int) -> str:
    """Return the name of the file from which training can resume at a step."""
    return f"resume_{step:08d}.safetensors"


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
    info = _info(path, facts)
    if info.characters is None:
        raise InputError(
            f"{Path(path).name} contains no vocabulary, because train_with_config() was called without a tokenizer: "
            "create the model in Python and use load_checkpoint()."
        )
    if len(info.characters) != info.model_config.vocab_size:
        raise _not_a_checkpoint(path)
    require_size(path, info.model_config, weights)
    model = TransformerLanguageModel.from_config(info.model_config)
    _copy_weights(path, model, weights)
    return LoadedModel(model.eval(), CharTokenizer(info.characters), info)


def load_checkpoint(path: str | Path, model: TransformerLanguageModel) -> CheckpointInfo:
    """Load the weights of a checkpoint into an existing model with the same ModelConfig (dropout may differ).

    All other fields are compared, because a different num_heads or context_length does not change the shape of any
    tensor and would silently produce a wrong model. Raises InputError if a field differs or the file is unusable (see
    load_model()).
    """
    weights, facts = read_tensors(path)
    info = _info(path, facts)
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
    metadata = {"nanollm": json.dumps({"format": FORMAT, **facts}), "digest": "0" * 64}
    content = serialize_tensors(dict(tensors), metadata)
    if content.count(_ZERO_DIGEST) != 1:
        raise AssertionError("the digest must occur exactly once")  # quotes inside the JSON are escaped
    digest = hashlib.sha256(content).hexdigest().encode()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content.replace(_ZERO_DIGEST, b'"digest":"' + digest + b'"'))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the metadata of a file written by write_tensors(), and verify its digest.

    Raises InputError if the file is missing, damaged, not a nano-llm file, or of another format.
    """
    name = Path(path).name
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise _not_a_checkpoint(path)
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {str(path)!r}: choose an existing file.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.") from error
    metadata = _metadata(path, content)
    digest = metadata.get("digest", "")
    signature = f'"digest":"{digest}"'.encode(errors="replace")
    if len(digest) != 64 or content.count(signature) != 1:
        raise _not_a_checkpoint(path)
    if hashlib.sha256(content.replace(signature, _ZERO_DIGEST)).hexdigest() != digest:
        raise InputError(f"{name} is damaged (its checksum does not match): use another checkpoint.")
    try:
        facts = json.loads(metadata["nanollm"])
        version = facts["format"]
        tensors = parse_tensors(content)
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise _not_a_checkpoint(path) from error
    if version != FORMAT:
        raise InputError(f"{name} has format {version!r:.40}, but this version reads format {FORMAT}: update nano-llm.")
    return tensors, facts


def require_size(path: str | Path, model: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Raise InputError if the number of weights in a file differs from that of its ModelConfig.

    Checked before the model is created: a tiny damaged or malicious file could otherwise request a model that fills the
    memory.
    """
    if sum(tensor.numel() for tensor in weights.values()) != model.num_parameters:
        raise _not_a_checkpoint(path)


def require_finite(tensors: Mapping[str, Tensor], complaint: str) -> None:
    """Raise InputError with the given complaint if a value is infinite or NaN."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise InputError(f"{complaint}: use an earlier checkpoint.")


def _metadata(path: str | Path, content: bytes) -> dict[str, str]:
    """Parse the metadata in a safetensors header: 8 bytes of length, then JSON."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        if length > _MAX_HEADER:
            raise ValueError("header too long")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    except (struct.error, KeyError, TypeError, ValueError, RecursionError) as error:
        if len(content) < 8:
            raise InputError(f"{Path(path).name} is damaged (it is truncated): use another checkpoint.") from error
        raise _not_a_checkpoint(path) from error
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _not_a_checkpoint(path)
    return metadata


def _info(path: str | Path, facts: Mapping[str, Any]) -> CheckpointInfo:
    try:
        train, characters = facts["train"], facts["characters"]
        losses = facts["train_loss"], facts["val_loss"]
        if not all(loss is None or isinstance(loss, (int, float)) for loss in losses):
            raise ValueError("a loss must be a number")
        return CheckpointInfo(
            step=int(facts["step"]),
            model_config=ModelConfig(**current_names(facts["model"])),
            train_config=TrainConfig(**current_names(train)) if train is not None else None,
            characters=tuple(characters) if characters is not None else None,
            train_loss=facts["train_loss"],
            val_loss=facts["val_loss"],
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # OverflowError: int() of an infinity
        raise _not_a_checkpoint(path) from error


def _copy_weights(path: str | Path, model: TransformerLanguageModel, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the model after checking names, shapes, types and values; float16 is converted to float32."""
    expected = model.state_dict()
    matches = weights.keys() == expected.keys() and all(
        weights[name].shape == tensor.shape and weights[name].dtype in (tensor.dtype, torch.float16)
        for name, tensor in expected.items()
    )
    if not matches:
        raise _not_a_checkpoint(path)
    require_finite(weights, f"{Path(path).name} has weights that are not finite")
    model.load_state_dict(dict(weights))


def _not_a_checkpoint(path: str | Path) -> InputError:
    return InputError(f"{Path(path).name} is not a nano-llm checkpoint, or it is damaged: use another one.")
