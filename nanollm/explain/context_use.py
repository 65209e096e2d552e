"""The context meter: how far back does this model really look?

Two measurements of the same windows. Along the window: a character late in it can be predicted from more than an early
one. And the characters after each window again and again, each time with only so many before them: here nothing else
changes, so that differences of a hundredth can be seen. Neither says what is looked at; long contexts also help by
chance (the same name again).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.explain.context_window import chunks, losses, standard_error, whole_numbers
from nanollm.model import TransformerLanguageModel, evaluation_mode

METER_CHARACTERS = 16_384  # read in all: about half a second for the largest preset, on two cores
FEWEST = 8  # places, if there are: an uncertainty wants several


@dataclass(frozen=True)
class ContextMeter:
    """Losses in nats a character, each with its standard error (NaN where there was too little text for one)."""

    first: np.ndarray  # (B,) where in the window a stretch of places begins: 0, 1, 2, 4, 8, … characters before it
    last: np.ndarray  # (B,) the last place in it
    along: np.ndarray  # (B,) mean loss of the characters predicted at these places
    along_error: np.ndarray  # (B,)
    lengths: np.ndarray  # (K,) characters of context: 1, 2, 4, … and the whole window
    cut: np.ndarray  # (K,) mean loss with the context cut to so many
    cut_error: np.ndarray  # (K,)
    missing: np.ndarray  # (K,) how much of that is due to the cut: the rise over the whole window; 0 at the end
    missing_error: np.ndarray  # (K,) smaller by far, because each character is compared with itself

    def reach(self, nats: float = 0.02) -> int:
        """How many characters of context are enough to come within `nats` of what the whole window gives."""
        return int(self.lengths[np.flatnonzero(self.missing > nats).max(initial=-1) + 1])


def context_meter(
    model: TransformerLanguageModel,
    ids: Sequence[int] | np.ndarray | Tensor,
    *,
    max_characters: int = METER_CHARACTERS,
) -> ContextMeter:
    """Both measurements on ids (N,), best held out, at places evenly spread over them, as many as can be judged by
    reading about `max_characters`: each place is read again for every length.

    A text shorter than the window is measured as if it were the window. Raises InputError for what are no ids of the
    model, or fewer than two.
    """
    row = whole_numbers(model, ids)
    T = min(model.config.context_length, len(row) - 1)
    lengths = np.array([*(2**power for power in range(T.bit_length()) if 2**power < T), T])
    places = min(max(FEWEST, max_characters // int(lengths.sum())), len(row) - T)
    targets = torch.linspace(T, len(row) - 1, places).long()  # (M,)
    with evaluation_mode(model):
        shorter = [_paid(model, row, targets, length)[:, -1] for length in lengths[:-1].tolist()]
        along = _paid(model, row, targets, T)  # (M, T)
    cut = np.stack([*shorter, along[:, -1]], axis=1)  # (M, K)
    along = along[:: _apart(targets, T)]
    first = np.array([0, *(2**power for power in range(T.bit_length()) if 2**power < T)])
    last = np.array([*(first[1:] - 1), T - 1])
    stretches = np.stack([along[:, a : b + 1].mean(axis=1) for a, b in zip(first, last, strict=True)], axis=1)
    missing = cut - cut[:, -1:]
    return ContextMeter(
        *(first, last, stretches.mean(axis=0), standard_error(stretches)),
        *(lengths, cut.mean(axis=0), standard_error(cut), missing.mean(axis=0), standard_error(missing)),
    )


def _paid(model: TransformerLanguageModel, row: Tensor, targets: Tensor, length: int) -> np.ndarray:
    """What the last `length` characters up to each of M targets cost, read from `length` before it on: (M, length).

    A shortened context is read from position 0 on, as if the text began there.
    """
    read = row[targets[:, None] + torch.arange(-length, 1)].to(model.embedding.weight.device, torch.long)
    paid = [losses(model(part[:, :-1]), part[:, 1:]).cpu().numpy() for part in chunks(read)]
    return np.concatenate(paid).astype(np.float64)


def _apart(targets: Tensor, length: int) -> int:
    """Of windows so long before each target, every how many-th there is that overlaps none before it: what two have
    in common would make the scatter of all look smaller than it is."""
    return -(-length // max(1, int(targets.diff().min()))) if len(targets) > 1 else 1
