"""Dataset: the ids of a text, split into training and validation, and batches of random windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.config import ModelConfig, TrainConfig, require_enough_text
from nanollm.data.corpus import split
from nanollm.data.token_file import iter_chunks, release_pages
from nanollm.errors import InputError


@dataclass(frozen=True)
class Dataset:
    """The ids of a text in two splits: training, and validation (the end of the text).

    The ids keep their dtype (one byte each for most texts) and stay in memory or in a memory-mapped file. Only batches
    are converted to int64, as required by embeddings and losses.
    """

    train: np.ndarray  # (N,), any integer dtype
    val: np.ndarray  # (M,), same dtype; empty without a validation split
    lowest: int  # smallest id of both splits
    highest: int  # largest id of both splits

    @classmethod
    def from_ids(cls, ids: Sequence[int] | np.ndarray | Tensor, validation_fraction: float) -> Dataset:
        """Split ids (N + M,) without copying. Raises InputError unless they are a 1-D sequence of integers."""
        array = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asanyarray(ids)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise InputError("The tokens must be a one-dimensional sequence of integers: use tokenizer.encode(text).")
        ends = [(int(chunk.min()), int(chunk.max())) for chunk in iter_chunks(array)] or [(0, 0)]
        lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
        return cls(*split(array, validation_fraction), lowest, highest)

    def check(self, model: ModelConfig, train: TrainConfig) -> None:
        """Raise InputError if the text is too short or has ids outside of the model's vocabulary."""
        require_enough_text(len(self.train) + len(self.val), model, train)
        if not 0 <= self.lowest <= self.highest < model.vocab_size:
            raise InputError(f"Every token must be from 0 to {model.vocab_size - 1}: use the model's tokenizer.")

    def with_hook(self, between_steps: Callable[[], None]) -> HookedDataset:
        """Return a dataset that calls `between_steps` before each batch."""
        return HookedDataset(self.train, self.val, self.lowest, self.highest, between_steps)

    def batch(self, batch_size: int, context_length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw random windows of the training split: ids (B, T) and the characters that follow them (B, T), int64."""
        starts = torch.randint(len(self.train) - context_length, (batch_size, 1), generator=generator)
        positions = starts + torch.arange(context_length + 1)  # (B, T + 1)
        windows = torch.from_numpy(self.train[positions.numpy()].astype(np.int64, copy=False))
        release_pages(self.train)  # takes 0.1 ms; otherwise 200 steps of nano would load all of a 400 MB text
        return windows[:, :-1], windows[:, 1:]


@dataclass(frozen=True)
class HookedDataset(Dataset):
    """A Dataset that calls `between_steps` before each batch, to pause or stop training.

    At that moment the step has changed nothing yet: if the callback raises, the TrainState can be saved and resumed
    bit-identically, no matter how rarely train() yields an event.
    """

    between_steps: Callable[[], None]

    def batch(self, batch_size: int, context_length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        self.between_steps()
        return super().batch(batch_size, context_length, generator)
