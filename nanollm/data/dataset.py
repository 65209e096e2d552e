"""The ids of a text as training reads them: split in two, and drawn from in windows."""

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
    """The ids of a text in two parts: what the model learns from, and the end of the text, which judges it.

    They stay in the type they came in, one byte each for most texts, and where they are, in memory or mapped from a
    file. Only what is drawn becomes a tensor of int64, the type that embeddings and losses take.
    """

    train: np.ndarray  # (N,) of some integer type
    val: np.ndarray  # (M,) of the same; empty if nothing was kept back
    lowest: int  # of all ids
    highest: int

    @classmethod
    def from_ids(cls, ids: Sequence[int] | np.ndarray | Tensor, validation_fraction: float) -> Dataset:
        """Split ids (N + M,) without moving any. Raises InputError unless they are a row of whole numbers."""
        array = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asanyarray(ids)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise InputError("The tokens must be one row of whole numbers: use tokenizer.encode(text).")
        ends = [(int(piece.min()), int(piece.max())) for piece in iter_chunks(array)] or [(0, 0)]
        lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
        return cls(*split(array, validation_fraction), lowest, highest)

    def check(self, model: ModelConfig, train: TrainConfig) -> None:
        """Raise InputError if a model of this config cannot learn from these ids."""
        require_enough_text(len(self.train) + len(self.val), model, train)
        if not 0 <= self.lowest <= self.highest < model.vocab_size:
            raise InputError(f"Every token must be from 0 to {model.vocab_size - 1}: encode with its tokenizer.")

    def with_hook(self, between_steps: Callable[[], None]) -> HookedDataset:
        """The same, with somebody looking over one's shoulder."""
        return HookedDataset(self.train, self.val, self.lowest, self.highest, between_steps)

    def batch(self, batch_size: int, context_length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Windows drawn at random places, as int64: what is read (B, T), and at each place what follows (B, T)."""
        starts = torch.randint(len(self.train) - context_length, (batch_size, 1), generator=generator)
        places = starts + torch.arange(context_length + 1)  # (B, T + 1)
        windows = torch.from_numpy(self.train[places.numpy()].astype(np.int64, copy=False))
        release_pages(
            self.train
        )  # a tenth of a millisecond; without it, 200 steps of nano hold all of a text of 400 MB
        return windows[:, :-1], windows[:, 1:]


@dataclass(frozen=True)
class HookedDataset(Dataset):
    """A Dataset that calls `between_steps` before it draws a batch.

    That is the one moment in a step when nothing has changed yet: an exception raised there leaves a TrainState from
    which training goes on bit by bit, however rarely train() yields.
    """

    between_steps: Callable[[], None]

    def batch(self, batch_size: int, context_length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        self.between_steps()
        return super().batch(batch_size, context_length, generator)
