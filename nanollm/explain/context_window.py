"""Shared by all inspections: text as one context window, held-out ids as many windows, losses and standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nanollm.errors import InputError
from nanollm.inference.generate import require_vocabulary
from nanollm.model import Block, TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer

BATCH_CHARACTERS = 4096  # characters per forward pass; larger batches fall out of the processor's caches


@dataclass(frozen=True)
class Window:
    """The end of a text, as far as it fits into the model's context window."""

    text: str  # T characters, 1 ≤ T ≤ context_length
    ids: Tensor  # (1, T) int64, on the model's device
    skipped: int  # number of characters of the text before the window


def blocks(model: TransformerLanguageModel) -> list[Block]:
    """The model's layers with their actual type; torch.nn.ModuleList is typed as a list of any modules."""
    return cast("list[Block]", list(model.blocks))


def last_window(model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str) -> Window:
    """The last window of a text. Raises InputError if the text is empty or has characters outside the vocabulary."""
    if not text:
        raise InputError("The text is empty: enter at least one character.")
    require_vocabulary(model, tokenizer)
    tokenizer.encode(text)  # raises for unknown characters, also for those before the window
    window = text[-model.config.context_length :]
    ids = torch.as_tensor(tokenizer.encode(window).astype(np.int64), device=model.embedding.weight.device)
    return Window(window, ids[None], len(text) - len(window))


def require_index(index: int, length: int) -> int:
    """An index into a window of `length` characters, from 0; negative ones count from the end. Raises InputError."""
    if not isinstance(index, (int, np.integer)) or isinstance(index, bool) or not -length <= index < length:
        raise InputError(f"The position must be one of the {length} characters in the window: choose one of them.")
    return int(index) % length


def validated_ids(model: TransformerLanguageModel, ids: Sequence[int] | np.ndarray | Tensor) -> Tensor:
    """Ids (N,) as a tensor, in their own integer type. Raises InputError unless N ≥ 2 and all are in the vocabulary."""
    array = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputError("The ids must be a one-dimensional sequence of integers: use tokenizer.encode(text).")
    if len(array) < 2:
        raise InputError("The text is too short to measure a loss: at least two characters are needed.")
    if not 0 <= int(array.min()) <= int(array.max()) < model.config.vocab_size:
        raise InputError(f"The ids must be from 0 to {model.config.vocab_size - 1}: encode with the model's tokenizer.")
    # PyTorch requires contiguous, writable arrays in native byte order. Most are, and are not copied.
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))


def spread_windows(
    model: TransformerLanguageModel, ids: Sequence[int] | np.ndarray | Tensor, max_characters: int, min_windows: int = 8
) -> Tensor:
    """Windows spread evenly over ids (N,) without overlap: (W, T + 1) int64 on the model's device.

    Columns 0 … T - 1 are inputs, columns 1 … T their targets. Together about `max_characters`, but at least
    `min_windows` if there are as many, because a standard error needs several. A text shorter than a window gives one
    window of what there is. Raises InputError as validated_ids() does.
    """
    row = validated_ids(model, ids)
    T = min(model.config.context_length, len(row) - 1)
    windows = row.unfold(0, T + 1, T)  # a view (W, T + 1); each starts with the last character of the one before
    count = max(min_windows, max_characters // T)
    if len(windows) > count:
        windows = windows[torch.linspace(0, len(windows) - 1, count).long()]
    return windows.to(model.embedding.weight.device, torch.long)


def batches(rows: Tensor) -> tuple[Tensor, ...]:
    """Windows (N, T) in batches of about BATCH_CHARACTERS characters, each (n, T)."""
    return rows.split(max(1, BATCH_CHARACTERS // rows.shape[1]))


def character_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of each target (B, T) given the logits (B, T, V): (B, T)."""
    return F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")


def standard_error(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis of (N, …): (…). NaN if N is 1."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))
