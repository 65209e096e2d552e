"""Evaluation: the mean cross-entropy loss of a model on a text."""

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
    """Return the mean loss in nats per character over ids (N,), without dropout; None if there is nothing to predict.

    The ids are read in non-overlapping windows (the last may be shorter). Of a text longer than max_characters, only
    evenly spaced windows with about that many characters are read, at least one.
    """
    row = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
    device = model.embedding.weight.device
    total, count = 0.0, 0
    with evaluation_mode(model):
        for windows in _window_batches(row, model.config.context_length, max_characters):
            chunk = torch.from_numpy(windows).to(device)
            logits = model(chunk[:, :-1])
            total += F.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten(), reduction="sum").item()
            count += chunk[:, 1:].numel()
    return total / count if count else None


def _window_batches(row: np.ndarray, T: int, max_characters: int) -> Iterator[np.ndarray]:
    """Yield batches of windows (B, T + 1) of ids (N,), as int64. A shorter last window is yielded separately.

    If the ids are mapped from a file, only those of the current batch are in memory.
    """
    full = max(0, len(row) - 1) // T  # complete windows; each starts with the last target of the previous one
    max_windows, batch = max(1, max_characters // T), max(1, EVAL_CHARACTERS_PER_PASS // T)
    chosen = (torch.arange(full) if full <= max_windows else torch.linspace(0, full - 1, max_windows).long()).numpy()
    for start in range(0, len(chosen), batch):
        places = T * chosen[start : start + batch, None] + np.arange(T + 1)  # (B, T + 1)
        yield row[places].astype(np.int64, copy=False)
        release_pages(row)
    if full <= max_windows and len(rest := row[full * T :]) > 1:
        yield rest[None].astype(np.int64)
