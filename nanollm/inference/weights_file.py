"""Load a checkpoint for NumpyEngine, without importing PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_arrays

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.inference.numpy_engine import Weights
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint_file import (
    CheckpointInfo,
    checkpoint_info,
    not_a_checkpoint,
    read_verified,
    vocabulary_of,
)


@dataclass(frozen=True)
class LoadedWeights:
    """The weights of a checkpoint, prepared for NumpyEngine, with the tokenizer the model was trained with."""

    model: Weights
    tokenizer: CharTokenizer
    info: CheckpointInfo


def load_weights(path: str | Path) -> LoadedWeights:
    """Load the weights and the tokenizer from a checkpoint: like load_model(), but for generation only.

    Raises InputError if the file is missing, damaged, not a checkpoint, of another format, or has no vocabulary.
    """
    content, facts = read_verified(path)
    info = checkpoint_info(path, facts)
    characters = vocabulary_of(path, info)
    try:
        arrays = parse_arrays(content)
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise not_a_checkpoint(path) from error
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != weight_shapes(info.model_config) or any(a.dtype not in ("f4", "f2") for a in arrays.values()):
        raise not_a_checkpoint(path)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise InputError(f"{Path(path).name} has weights that are not finite: use an earlier checkpoint.")
    weights = Weights.from_arrays(info.model_config, {name: a.astype(np.float32) for name, a in arrays.items()})
    return LoadedWeights(weights, CharTokenizer(characters), info)


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the state dict of TransformerLanguageModel.from_config(config)."""
    D, F = config.embedding_dim, config.ffn_hidden_dim
    block = {
        "attention_norm.gain": (D,),
        "attention.qkv.weight": (3 * D, D),
        "attention.output.weight": (D, D),
        "attention.output.bias": (D,),
        "feed_forward_norm.gain": (D,),
        "feed_forward.up.weight": (F, D),
        "feed_forward.down.weight": (D, F),
        "feed_forward.down.bias": (D,),
    }
    shapes = {"embedding.weight": (config.vocab_size, D), "norm.gain": (D,)}
    if config.position == "learned":
        shapes["positions.weight"] = (config.context_length, D)
    blocks = {f"blocks.{i}.{name}": shape for i in range(config.num_layers) for name, shape in block.items()}
    return {**shapes, **blocks}
