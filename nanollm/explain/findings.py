"""What was found out about a snapshot on text that it never trained on, kept beside it for when the text is not here.

With the models that come along their text does not. These figures were measured on it, more finely than anybody would
want to wait for. A run that is exported takes them with it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.ablation import HeadEffect, Means, Part, rank_heads
from nanollm.explain.backup_heads import Backup, find_backup
from nanollm.explain.context_use import ContextMeter, context_meter
from nanollm.explain.head_types import PATTERNS, HeadScores, head_scores
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import read_tensors, write_tensors

NAMED_BY = 16_384  # characters of held-out text that windows for naming heads are taken from
RANKED_BY = 32_768
METERED_BY = 524_288

# Layers, heads, patterns, stretches of the window, lengths of context: what an array counts along, by name.
_SHAPES = {
    **{"scores.scores": "LHP", "scores.even": "P", "scores.by_distance": "LHP"},
    **{"effects.increase": "LH", "effects.error": "LH"},
    **{f"meter.{name}": "B" for name in ("first", "last", "along", "along_error")},
    **{f"meter.{name}": "K" for name in ("lengths", "cut", "cut_error", "missing", "missing_error")},
}
_COUNTED = ("meter.first", "meter.last", "meter.lengths")  # whole numbers; all others may be missing in a place: NaN


@dataclass(frozen=True)
class Findings:
    """A model's heads named and ranked, and how far back it looks."""

    scores: HeadScores
    effects: list[HeadEffect]  # one for each head, from the first layer on
    meter: ContextMeter
    backup: Backup | None = None  # two heads that stand in for each other, if any do, and were sought

    def fit(self, config: ModelConfig) -> bool:
        """Whether they can be of a model of this shape."""
        shape = (config.num_layers, config.heads)
        return self.scores.scores.shape[:2] == shape and bool(self.meter.lengths[-1] <= config.context_length)


def find(
    model: TransformerLanguageModel,
    tokenizer: CharTokenizer,
    ids: np.ndarray,
    means: Means | None,
    *,
    backups: bool = False,
) -> Findings:
    """Everything on ids (N,), best held out. Takes a minute where the page takes seconds, for smaller errors; some
    more for the largest preset where heads that stand in for each other are sought, too.

    Raises InputError as the functions do that it calls.
    """
    return Findings(
        head_scores(model, tokenizer, tokenizer.decode(ids[:NAMED_BY])),
        list(rank_heads(model, ids, means, max_characters=RANKED_BY)),
        context_meter(model, ids, max_characters=METERED_BY),
        find_backup(model, ids, means) if backups else None,
    )


def save_findings(path: str | Path, findings: Findings) -> None:
    """Write findings as one small signed file. Raises OSError."""
    arrays = {f"scores.{name}": array for name, array in _arrays(findings.scores).items()}
    arrays |= {f"meter.{name}": array for name, array in _arrays(findings.meter).items()}
    shape = findings.scores.scores.shape[:2]
    for name in ("increase", "error"):
        arrays[f"effects.{name}"] = np.array([getattr(effect, name) for effect in findings.effects]).reshape(shape)
    if found := findings.backup:
        arrays["backup.heads"] = np.array([(part.layer, part.head) for part in found.pair])
        arrays["backup.nats"] = np.array([*found.alone, found.together, found.error])
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    write_tensors(path, tensors, {"patterns": PATTERNS})


def load_findings(path: str | Path) -> Findings:
    """The findings that save_findings wrote. Raises InputError if the file is missing, damaged or of another kind."""
    if not Path(path).is_file():
        raise InputError("Nothing was kept of what was found out about this snapshot: measure it on a text.")
    tensors, facts = read_tensors(path)
    try:
        if list(facts["patterns"]) != list(PATTERNS):
            raise ValueError("measured by other rules")
        kept = {name: tensor.numpy() for name, tensor in tensors.items()}
        arrays = _checked(kept)
        scores = HeadScores(**_under("scores", arrays))
        meter = ContextMeter(**_under("meter", arrays))
        increase, error = arrays["effects.increase"], arrays["effects.error"]  # (L, H) each
        effects = [
            HeadEffect(Part("head", layer, head), float(increase[layer, head]), float(error[layer, head]))
            for layer, head in np.ndindex(increase.shape)
        ]
        return Findings(scores, effects, meter, _backup(kept, increase.shape) if "backup.heads" in kept else None)
    except (KeyError, TypeError, ValueError) as problem:
        raise InputError(f"{Path(path).name} holds no findings that can be read: measure them on a text.") from problem


def _backup(arrays: dict[str, np.ndarray], shape: tuple[int, ...]) -> Backup:
    """Raises KeyError or ValueError unless the arrays hold one, of a model of so many layers and heads."""
    heads, nats = arrays["backup.heads"], arrays["backup.nats"]
    if heads.shape != (2, 2) or heads.dtype.kind != "i" or nats.shape != (4,) or not np.isfinite(nats).all():
        raise ValueError("two heads are told of in another way")
    if (heads < 0).any() or (heads >= shape).any():
        raise ValueError("there are no such heads")
    one, other = (Part("head", int(layer), int(head)) for layer, head in heads)
    alone, as_well, together, error = map(float, nats)
    return Backup((one, other), (alone, as_well), together, error)


def _checked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays. Raises KeyError or ValueError unless they are those of one model's findings, and in order."""
    sizes = {"P": len(PATTERNS)}
    for name, counted in _SHAPES.items():
        array = arrays[name]
        if len(counted) != array.ndim or not array.size:
            raise ValueError(f"{name} has another shape")
        if any(sizes.setdefault(what, size) != size for what, size in zip(counted, array.shape, strict=True)):
            raise ValueError(f"{name} has another shape")
        if array.dtype.kind != ("i" if name in _COUNTED else "f") or np.isinf(array).any():
            raise ValueError(f"{name} holds something else")
    first, lengths = arrays["meter.first"], arrays["meter.lengths"]
    if first[0] < 0 or lengths[0] < 1 or (np.diff(first) < 1).any() or (np.diff(lengths) < 1).any():
        raise ValueError("the meter goes back")
    if arrays["meter.missing"][-1] != 0:
        raise ValueError("the whole window misses something")
    return arrays


def _arrays(found: HeadScores | ContextMeter) -> dict[str, np.ndarray]:
    return {field.name: getattr(found, field.name) for field in fields(found)}


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with the prefix and a dot, without it."""
    return {name.removeprefix(f"{prefix}."): array for name, array in arrays.items() if name.startswith(f"{prefix}.")}
