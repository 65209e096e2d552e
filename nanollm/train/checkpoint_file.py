"""Checkpoint files without PyTorch: names, verified content, metadata.

A checkpoint is a safetensors file with the weights, the vocabulary and both configs: everything that sampling needs.
Its metadata contain the SHA-256 of the whole file, computed with the digest's own 64 hex digits replaced by zeros,
because safetensors does not detect corrupted data. No pickle is involved.
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

from nanollm.config import ModelConfig, TrainConfig, current_names
from nanollm.errors import InputError
from nanollm.files import write_atomic

FORMAT = 1
FINAL_NAME = "checkpoint_final.safetensors"
_NO_DIGEST = "0" * 64
_ZERO_DIGEST = f'"digest":"{_NO_DIGEST}"'.encode()
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


def snapshot_name(step: int) -> str:
    """Return the file name of the checkpoint at a step."""
    return f"checkpoint_{step:08d}.safetensors"


def resume_name(step: int) -> str:
    """Return the name of the file from which training can resume at a step."""
    return f"resume_{step:08d}.safetensors"


def unsigned_metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a safetensors file with `facts` as JSON, for write_signed()."""
    return {"nanollm": json.dumps({"format": FORMAT, **facts}), "digest": _NO_DIGEST}


def write_signed(path: str | Path, content: bytes) -> None:
    """Insert the digest into the content of a file with unsigned_metadata() and write it, creating its folder.

    Raises OSError if the file cannot be written.
    """
    if content.count(_ZERO_DIGEST) != 1:
        raise AssertionError("the digest must occur exactly once")  # quotes inside the JSON are escaped
    digest = hashlib.sha256(content).hexdigest().encode()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content.replace(_ZERO_DIGEST, b'"digest":"' + digest + b'"'))


def read_verified(path: str | Path) -> tuple[bytes, dict[str, Any]]:
    """Read the content and the metadata of a file written by write_signed(), and verify its digest.

    Raises InputError if the file is missing, damaged, not a nano-llm file, or of another format.
    """
    name = Path(path).name
    content = _content(path)
    metadata = _metadata(path, content)
    digest = metadata.get("digest", "")
    signature = f'"digest":"{digest}"'.encode(errors="replace")
    if len(digest) != 64 or content.count(signature) != 1:
        raise not_a_checkpoint(path)
    if hashlib.sha256(content.replace(signature, _ZERO_DIGEST)).hexdigest() != digest:
        raise InputError(f"{name} is damaged (its checksum does not match): use another checkpoint.")
    try:
        facts = json.loads(metadata["nanollm"])
        version = facts["format"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise not_a_checkpoint(path) from error
    if version != FORMAT:
        raise InputError(f"{name} has format {version!r:.40}, but this version reads format {FORMAT}: update nano-llm.")
    return content, facts


def checkpoint_info(path: str | Path, facts: Mapping[str, Any]) -> CheckpointInfo:
    """Parse the metadata of a checkpoint. Raises InputError if a field is missing or invalid."""
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
        raise not_a_checkpoint(path) from error


def vocabulary_of(path: str | Path, info: CheckpointInfo) -> tuple[str, ...]:
    """Return the vocabulary of a checkpoint. Raises InputError if it has none, or one of another size."""
    if info.characters is None:
        raise InputError(
            f"{Path(path).name} contains no vocabulary, because train_with_config() was called without a tokenizer: "
            "create the model in Python and use load_checkpoint()."
        )
    if len(info.characters) != info.model_config.vocab_size:
        raise not_a_checkpoint(path)
    return info.characters


def not_a_checkpoint(path: str | Path) -> InputError:
    """Return the error for a file that is readable, but not a checkpoint."""
    return InputError(f"{Path(path).name} is not a nano-llm checkpoint, or it is damaged: use another one.")


def _content(path: str | Path) -> bytes:
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise not_a_checkpoint(path)
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {str(path)!r}: choose an existing file.") from error
    except OSError as error:
        raise InputError(f"{Path(path).name} cannot be read: {error.strerror or error}.") from error


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
        raise not_a_checkpoint(path) from error
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise not_a_checkpoint(path)
    return metadata
