"""Models on disk: safetensors files that are whole or not there, checked before a number of them is used.

A checkpoint holds the weights, the vocabulary and both configs: all that sampling needs. Its metadata carry the SHA-256
of the whole file, computed with the digest's own 64 hex digits taken as zeros, because safetensors itself notices no
flipped bit. Nothing here unpickles.
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
_UNSIGNED = b'"digest":"' + b"0" * 64 + b'"'
_MAX_BYTES = 4 * 2**30
_MAX_HEADER = 16 * 2**20  # bytes; a vocabulary of 20,000 characters takes less than one


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself; losses are nats a character, None where they were not measured."""

    step: int
    model_config: ModelConfig
    train_config: TrainConfig | None
    characters: tuple[str, ...] | None  # the vocabulary, in the order of its ids
    train_loss: float | None
    val_loss: float | None


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint brought back to life: the model in eval mode, and the tokenizer it was trained with."""

    model: TransformerLanguageModel
    tokenizer: CharTokenizer
    info: CheckpointInfo


def snapshot_name(step: int) -> str:
    """File name of the weights at a step."""
    return f"checkpoint_{step:08d}.safetensors"


def resume_name(step: int) -> str:
    """File name of everything that training needs to go on from a step."""
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
    """Write the model as it is now; after a crash the file is there whole or not at all.

    `half` stores the weights in float16: half the size, and no longer bit by bit the same model.
    Raises InputError, and writes nothing, if a weight is not finite. Raises OSError if the disk refuses.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        weights = {name: tensor.half() for name, tensor in weights.items()}
    require_finite(weights, "The model has numbers that are not finite, so it was not saved")
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
    """Model and tokenizer from the file alone.

    Raises InputError if the file is missing, damaged, of another kind or format, or holds no vocabulary.
    """
    weights, facts = read_tensors(path)
    info = _info(path, facts)
    if info.characters is None:
        raise InputError(
            f"{Path(path).name} holds no vocabulary, because train_with_config was given no tokenizer: "
            "create the model yourself and use load_checkpoint."
        )
    if len(info.characters) != info.model_config.vocab_size:
        raise _not_ours(path)
    require_size(path, info.model_config, weights)
    model = TransformerLanguageModel.from_config(info.model_config)
    _fill(path, model, weights)
    return LoadedModel(model.eval(), CharTokenizer(info.characters), info)


def load_checkpoint(path: str | Path, model: TransformerLanguageModel) -> CheckpointInfo:
    """Put a checkpoint's weights into an existing model of the same shape.

    Raises InputError if the file is unusable (see load_model), or if any field of the two ModelConfigs but dropout
    differs: heads and window leave every shape alike, and would give silent garbage.
    """
    weights, facts = read_tensors(path)
    info = _info(path, facts)
    theirs, ours = to_dict(info.model_config), to_dict(model.config)
    differing = [name for name in ours if name != "dropout" and theirs[name] != ours[name]]
    if differing:
        listed = ", ".join(f"{name} {theirs[name]} (this model: {ours[name]})" for name in differing)
        raise InputError(f"{Path(path).name} was trained with {listed}: create the model with the same values.")
    _fill(path, model, weights)
    return info


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """One signed safetensors file with `facts` as its JSON metadata, in a folder made if it is not there.

    Raises OSError if the disk refuses.
    """
    metadata = {"nanollm": json.dumps({"format": FORMAT, **facts}), "digest": "0" * 64}
    content = serialize_tensors(dict(tensors), metadata)
    if content.count(_UNSIGNED) != 1:
        raise AssertionError("the digest's place must be unique")  # quotes inside the JSON are escaped, so it is
    digest = hashlib.sha256(content).hexdigest().encode()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content.replace(_UNSIGNED, b'"digest":"' + digest + b'"'))


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a file that write_tensors wrote, after its digest has been checked.

    Raises InputError that says whether the file is missing, damaged, not ours, or of another format.
    """
    name = Path(path).name
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise _not_ours(path)
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {str(path)!r}: choose one that exists.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.") from error
    metadata = _metadata(path, content)
    digest = metadata.get("digest", "")
    signature = f'"digest":"{digest}"'.encode(errors="replace")
    if len(digest) != 64 or content.count(signature) != 1:
        raise _not_ours(path)
    if hashlib.sha256(content.replace(signature, _UNSIGNED)).hexdigest() != digest:
        raise InputError(f"{name} is damaged (its checksum does not match): use another checkpoint.")
    try:
        facts = json.loads(metadata["nanollm"])
        version = facts["format"]
        tensors = parse_tensors(content)
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise _not_ours(path) from error
    if version != FORMAT:
        raise InputError(f"{name} has format {version!r:.40}, this nano-llm reads format {FORMAT}: update nano-llm.")
    return tensors, facts


def require_size(path: str | Path, model: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Raise InputError unless a file holds as many numbers as a model of the size that it claims to be of has.

    To be asked before such a model is made: a kilobyte can claim to be of one that fills all memory.
    """
    if sum(tensor.numel() for tensor in weights.values()) != model.num_parameters:
        raise _not_ours(path)


def require_finite(tensors: Mapping[str, Tensor], complaint: str) -> None:
    """Raise InputError with the complaint if a number among the tensors is infinite or none."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise InputError(f"{complaint}: use an earlier checkpoint.")


def _metadata(path: str | Path, content: bytes) -> dict[str, str]:
    """The string metadata in the header: 8 bytes of length, then JSON (the safetensors format)."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        if length > _MAX_HEADER:
            raise ValueError("no header is so long")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    except (struct.error, KeyError, TypeError, ValueError, RecursionError) as error:
        if len(content) < 8:
            raise InputError(f"{Path(path).name} is damaged (it is cut short): use another checkpoint.") from error
        raise _not_ours(path) from error
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _not_ours(path)
    return metadata


def _info(path: str | Path, facts: Mapping[str, Any]) -> CheckpointInfo:
    try:
        train, characters = facts["train"], facts["characters"]
        losses = facts["train_loss"], facts["val_loss"]
        if not all(loss is None or isinstance(loss, (int, float)) for loss in losses):
            raise ValueError("a loss is a number")
        return CheckpointInfo(
            step=int(facts["step"]),
            model_config=ModelConfig(**current_names(facts["model"])),
            train_config=TrainConfig(**current_names(train)) if train is not None else None,
            characters=tuple(characters) if characters is not None else None,
            train_loss=facts["train_loss"],
            val_loss=facts["val_loss"],
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:  # the last: int() of an infinity
        raise _not_ours(path) from error


def _fill(path: str | Path, model: TransformerLanguageModel, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the model after checking names, shapes, types and values; float16 becomes float32 there."""
    expected = model.state_dict()
    alike = weights.keys() == expected.keys() and all(
        weights[name].shape == tensor.shape and weights[name].dtype in (tensor.dtype, torch.float16)
        for name, tensor in expected.items()
    )
    if not alike:
        raise _not_ours(path)
    require_finite(weights, f"{Path(path).name} has numbers that are not finite")
    model.load_state_dict(dict(weights))


def _not_ours(path: str | Path) -> InputError:
    return InputError(f"{Path(path).name} is not a nano-llm checkpoint, or it is damaged: use another one.")
