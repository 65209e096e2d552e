"""How well a model predicts a text: the loss that training judges it by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nanollm.data.token_file import release_pages
from nanollm.model import TransformerLanguageModel, evaluation_mode
from nanollm.train.memory import EVAL_CHARACTERS_PER_PASS
from nanollm.train.workload import MAX_EVAL_CHARACTERS


def evaluate(
    model: TransformerLanguageModel, ids: np.ndarray | Tensor, *, max_characters: int = MAX_EVAL_CHARACTERS
) -> float | None:
    """Mean loss in nats a character over ids (N,), without dropout; None if there is nothing to predict.

    Read in windows that do not overlap (a shorter one at the end); of more than max_characters, as many windows as they
    fill, but at least one, evenly spread.
    """
    row = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
    device = model.embedding.weight.device
    total, count = 0.0, 0
    with evaluation_mode(model):
        for windows in _passes(row, model.config.context_length, max_characters):
            chunk = torch.from_numpy(windows).to(device)
            logits = model(chunk[:, :-1])
            total += F.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten(), reduction="sum").item()
            count += chunk[:, 1:].numel()
    return total / count if count else None


def _passes(row: np.ndarray, T: int, max_characters: int) -> Iterator[np.ndarray]:
    """The windows (B, T + 1) of ids (N,) that evaluate() reads, as int64; the last one, by itself, may be shorter.

    Where the ids are mapped from a file, only those of one pass are in memory.
    """
    full = max(0, len(row) - 1) // T  # windows; each begins with the target of the one before it
    most, at_once = max(1, max_characters // T), max(1, EVAL_CHARACTERS_PER_PASS // T)
    chosen = (torch.arange(full) if full <= most else torch.linspace(0, full - 1, most).long()).numpy()
    for start in range(0, len(chosen), at_once):
        places = T * chosen[start : start + at_once, None] + np.arange(T + 1)  # (B, T + 1)
        yield row[places].astype(np.int64, copy=False)
        release_pages(row)
    if full <= most and len(rest := row[full * T :]) > 1:
        yield rest[None].astype(np.int64)
