"""Evaluation: the mean cross-entropy loss of a model on a text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nanollm.data.token_file import release_pages
from nanollm.model import TransformerLanguageModel, evaluation_mode
from nanollm.train.memory import EVAL_CHARACTERS_PER_PASS
from nanollm.train.workload import MAX_EVAL_CHARACTERS


@dataclass(frozen=True)
class WindowLosses:
    """Losses on n windows of a text, in reading order."""

    sums: np.ndarray  # (n,) float64: nats per window
    characters: np.ndarray  # (n,) int64: predicted characters per window
    total_windows: int  # windows in the whole text

    @property
    def mean(self) -> float:
        """Mean loss in nats per character."""
        return float(self.sums.sum() / self.characters.sum())

    @property
    def error(self) -> float:
        """Standard error of the mean as an estimate of the loss on the whole text; 0 if all of it was measured.

        Windows are the sampling unit, because the losses of neighboring characters are correlated. With the correction
        for a finite population (Cochran 1977, "Sampling Techniques", §2.6).
        """
        return self._standard_error(self.sums / self.characters)

    def is_lower_than(self, other: WindowLosses) -> bool:
        """Whether the mean is lower than that of the same windows in `other`, by more than the sampling noise.

        The noise is the standard error of the differences between the windows: windows that are hard for one model are
        hard for the other, so it is far smaller than that of either mean. It is 0 if the whole text was measured.
        """
        return self.mean - other.mean < -self._standard_error((self.sums - other.sums) / self.characters)

    def _standard_error(self, values: np.ndarray) -> float:
        n, total = len(values), self.total_windows
        if n == total or n < 2:
            return 0.0
        return float(values.std(ddof=1) / math.sqrt(n) * math.sqrt(1 - n / total))


def evaluate(
    model: TransformerLanguageModel, ids: np.ndarray | Tensor, *, max_characters: int = MAX_EVAL_CHARACTERS
) -> float | None:
    """Return the mean loss in nats per character over ids (N,), without dropout; None if there is nothing to predict.

    Reads the windows that window_losses() describes.
    """
    losses = window_losses(model, ids, max_characters=max_characters)
    return losses.mean if losses is not None else None


def window_losses(
    model: TransformerLanguageModel, ids: np.ndarray | Tensor, *, max_characters: int = MAX_EVAL_CHARACTERS
) -> WindowLosses | None:
    """Measure the losses of windows of ids (N,), without dropout. None if there is nothing to predict.

    The windows do not overlap, and the last may be shorter. Of a text longer than max_characters, only evenly spaced
    windows with about that many characters are read, at least one.
    """
    row = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
    T, device = model.config.context_length, model.embedding.weight.device
    sums, characters = [], []
    with evaluation_mode(model):
        for windows in _window_batches(row, T, max_characters):
            chunk = torch.from_numpy(windows).to(device)
            logits, targets = model(chunk[:, :-1]), chunk[:, 1:]
            losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
            sums.append(losses.sum(1, dtype=torch.float64).cpu().numpy())
            characters.append(np.full(len(targets), targets.shape[1]))
    if not sums:
        return None
    return WindowLosses(np.concatenate(sums), np.concatenate(characters), total_windows=math.ceil((len(row) - 1) / T))


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
