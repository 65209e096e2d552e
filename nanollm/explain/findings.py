"""Findings: head types, head importance and context use of a snapshot, measured on held-out text and saved beside it.

The pretrained models are distributed without their training text. Their findings were measured on it in advance, on
more text than a user would wait for. They are part of an exported run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.ablation import HeadEffect, Means, Part, rank_heads
from nanollm.explain.backup_heads import BackupPair, find_backup_pair
from nanollm.explain.context_use import ContextUse, measure_context_use
from nanollm.explain.head_types import PATTERNS, HeadScores, head_scores
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import read_tensors, write_tensors

HEAD_TYPE_CHARACTERS = 16_384  # of held-out text, from which windows for head types are taken
RANKING_CHARACTERS = 32_768
CONTEXT_CHARACTERS = 524_288

# Names of the arrays in the file, by field. Some differ from the fields: the file format is older than their names.
_SCORES = {"scores": "scores.scores", "uniform": "scores.even", "by_distance": "scores.by_distance"}
_CONTEXT_USE = {
    "first": "meter.first",
    "last": "meter.last",
    "by_position": "meter.along",
    "by_position_error": "meter.along_error",
    "lengths": "meter.lengths",
    "truncated": "meter.cut",
    "truncated_error": "meter.cut_error",
    "increase": "meter.missing",
    "increase_error": "meter.missing_error",
}
# Axes of the arrays in the file: layers, heads, patterns, bins of positions, context lengths (K).
_AXES = {
    **{"scores.scores": "LHP", "scores.even": "P", "scores.by_distance": "LHP"},
    **{"effects.increase": "LH", "effects.error": "LH"},
    **dict.fromkeys(("meter.first", "meter.last", "meter.along", "meter.along_error"), "B"),
    **dict.fromkeys(("meter.lengths", "meter.cut", "meter.cut_error", "meter.missing", "meter.missing_error"), "K"),
}
_INTEGERS = ("meter.first", "meter.last", "meter.lengths")  # all others are floats, which may be NaN


@dataclass(frozen=True)
class Findings:
    """Head types, head importance and context use of one model."""

    scores: HeadScores
    effects: list[HeadEffect]  # one for each head, from the first layer on
    context_use: ContextUse
    backup: BackupPair | None = None  # None if there is none, or it was not searched for

    def fit(self, config: ModelConfig) -> bool:
        """Whether a model of this shape can have these findings."""
        shape = (config.num_layers, config.heads)
        return self.scores.scores.shape[:2] == shape and bool(self.context_use.lengths[-1] <= config.context_length)


def measure_findings(
    model: TransformerLanguageModel,
    tokenizer: CharTokenizer,
    ids: np.ndarray,
    means: Means | None,
    *,
    backups: bool = False,
) -> Findings:
    """Measure all findings on ids (N,), preferably held out, and with `backups` search for a pair of backup heads.

    Takes about a minute, because it reads more text than the playground does; with `backups` some minutes more for the
    medium preset. Raises InputError as the measurements do.
    """
    return Findings(
        head_scores(model, tokenizer, tokenizer.decode(ids[:HEAD_TYPE_CHARACTERS])),
        list(rank_heads(model, ids, means, max_characters=RANKING_CHARACTERS)),
        measure_context_use(model, ids, max_characters=CONTEXT_CHARACTERS),
        find_backup_pair(model, ids, means) if backups else None,
    )


def save_findings(path: str | Path, findings: Findings) -> None:
    """Write findings to a safetensors file with a digest. Raises OSError."""
    arrays = {name: getattr(findings.scores, field) for field, name in _SCORES.items()}
    arrays |= {name: getattr(findings.context_use, field) for field, name in _CONTEXT_USE.items()}
    shape = findings.scores.scores.shape[:2]
    for name in ("increase", "error"):
        arrays[f"effects.{name}"] = np.array([getattr(effect, name) for effect in findings.effects]).reshape(shape)
    if found := findings.backup:
        arrays["backup.heads"] = np.array([(part.layer, part.head) for part in found.pair])
        arrays["backup.nats"] = np.array([*found.alone, found.together, found.error])
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    write_tensors(path, tensors, {"patterns": PATTERNS})


def load_findings(path: str | Path) -> Findings:
    """Read findings saved by save_findings(). Raises InputError if the file is missing, damaged or of another kind."""
    if not Path(path).is_file():
        raise InputError("This snapshot has no saved findings: measure them on a text.")
    tensors, metadata = read_tensors(path)
    try:
        if list(metadata["patterns"]) != list(PATTERNS):
            raise ValueError("measured with other head types")
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        _check_arrays(arrays)
        scores = HeadScores(**{field: arrays[name] for field, name in _SCORES.items()})
        context_use = ContextUse(**{field: arrays[name] for field, name in _CONTEXT_USE.items()})
        increase, error = arrays["effects.increase"], arrays["effects.error"]  # (L, H) each
        effects = [
            HeadEffect(Part("head", layer, head), float(increase[layer, head]), float(error[layer, head]))
            for layer, head in np.ndindex(increase.shape)
        ]
        backup = _backup_pair(arrays, increase.shape) if "backup.heads" in arrays else None
        return Findings(scores, effects, context_use, backup)
    except (KeyError, TypeError, ValueError) as problem:
        raise InputError(f"{Path(path).name} contains no valid findings: measure them on a text.") from problem


def _backup_pair(arrays: dict[str, np.ndarray], shape: tuple[int, ...]) -> BackupPair:
    """The backup pair in the arrays of a file. Raises KeyError or ValueError if invalid for shape (layers, heads)."""
    heads, nats = arrays["backup.heads"], arrays["backup.nats"]
    if heads.shape != (2, 2) or heads.dtype.kind != "i" or nats.shape != (4,) or not np.isfinite(nats).all():
        raise ValueError("a backup pair has an unexpected shape or type")
    if (heads < 0).any() or (heads >= shape).any():
        raise ValueError("a backup pair has heads outside of the model")
    one, other = (Part("head", int(layer), int(head)) for layer, head in heads)
    one_alone, other_alone, together, error = map(float, nats)
    return BackupPair((one, other), (one_alone, other_alone), together, error)


def _check_arrays(arrays: dict[str, np.ndarray]) -> None:
    """Raise KeyError or ValueError unless the arrays of a file are complete, consistent and in order."""
    sizes = {"P": len(PATTERNS)}
    for name, axes in _AXES.items():
        array = arrays[name]
        if len(axes) != array.ndim or not array.size:
            raise ValueError(f"{name} has an unexpected shape")
        if any(sizes.setdefault(axis, size) != size for axis, size in zip(axes, array.shape, strict=True)):
            raise ValueError(f"{name} has an unexpected shape")
        if array.dtype.kind != ("i" if name in _INTEGERS else "f") or np.isinf(array).any():
            raise ValueError(f"{name} has an unexpected type or infinite values")
    first, lengths = arrays["meter.first"], arrays["meter.lengths"]
    if first[0] < 0 or lengths[0] < 1 or (np.diff(first) < 1).any() or (np.diff(lengths) < 1).any():
        raise ValueError("positions or context lengths do not ascend")
    if arrays["meter.missing"][-1] != 0:
        raise ValueError("the loss increase with the whole window is not 0")
