"""Context use: how many of the preceding characters the model's predictions depend on.

Two measurements on the same windows. *By position*: the loss at each position of the window, where later characters
have more context. *Truncated context*: the same target characters, predicted from only the last k characters before
them. Only the context differs there, so differences of a hundredth of a nat are measurable (Khandelwal et al. 2018,
"Sharp Nearby, Fuzzy Far Away", truncate the context of LSTMs in the same way). Neither shows which characters the model
uses; and a long context also helps in unspecific ways, for example when a name is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.explain.context_window import batches, character_losses, standard_error, validated_ids
from nanollm.model import TransformerLanguageModel, evaluation_mode

CONTEXT_CHARACTERS = 16_384  # characters read in total: about half a second for the medium preset on two cores
MIN_TARGETS = 8  # if the text has as many: a standard error needs several


@dataclass(frozen=True)
class ContextUse:
    """Mean losses in nats per character, each with its standard error (NaN if there was only one sample).

    Positions are grouped into bins of doubling width: 0, 1, 2–3, 4–7, …
    """

    first: np.ndarray  # (B,) first position of each bin
    last: np.ndarray  # (B,) last position of each bin
    by_position: np.ndarray  # (B,) mean loss of the characters predicted at the positions of the bin
    by_position_error: np.ndarray  # (B,)
    lengths: np.ndarray  # (K,) context lengths in characters: 1, 2, 4, … and the whole window
    truncated: np.ndarray  # (K,) mean loss with the context truncated to that length
    truncated_error: np.ndarray  # (K,)
    increase: np.ndarray  # (K,) truncated loss minus the loss with the whole window; 0 at the end
    increase_error: np.ndarray  # (K,) of the paired differences, hence much smaller than truncated_error

    def sufficient_length(self, tolerance: float = 0.02) -> int:
        """The shortest context length from which on the loss stays within `tolerance` nats of the whole window's."""
        return int(self.lengths[np.flatnonzero(self.increase > tolerance).max(initial=-1) + 1])


def measure_context_use(
    model: TransformerLanguageModel,
    ids: Sequence[int] | np.ndarray | Tensor,
    *,
    max_characters: int = CONTEXT_CHARACTERS,
) -> ContextUse:
    """Measure the loss by position and with truncated context on ids (N,), preferably held out.

    The targets are spread evenly over ids, as many as can be predicted from every context length while reading about
    `max_characters` in total. A text shorter than the window is treated as a full window. Raises InputError unless
    N ≥ 2 and all ids are in the vocabulary.
    """
    row = validated_ids(model, ids)
    T = min(model.config.context_length, len(row) - 1)
    powers = [2**exponent for exponent in range(T.bit_length()) if 2**exponent < T]
    lengths = np.array([*powers, T])
    count = min(max(MIN_TARGETS, max_characters // int(lengths.sum())), len(row) - T)
    targets = torch.linspace(T, len(row) - 1, count).long()  # (M,) indices into ids
    with evaluation_mode(model):
        shorter = [_losses_before(model, row, targets, length)[:, -1] for length in lengths[:-1].tolist()]
        whole = _losses_before(model, row, targets, T)  # (M, T)
    truncated = np.stack([*shorter, whole[:, -1]], axis=1)  # (M, K)
    whole = whole[:: _independent_stride(targets, T)]
    first = np.array([0, *powers])
    last = np.array([*(first[1:] - 1), T - 1])
    bins = np.stack([whole[:, a : b + 1].mean(axis=1) for a, b in zip(first, last, strict=True)], axis=1)
    increase = truncated - truncated[:, -1:]
    return ContextUse(
        *(first, last, bins.mean(axis=0), standard_error(bins)),
        *(lengths, truncated.mean(axis=0), standard_error(truncated)),
        *(increase.mean(axis=0), standard_error(increase)),
    )


def _losses_before(model: TransformerLanguageModel, row: Tensor, targets: Tensor, length: int) -> np.ndarray:
    """Losses of the `length` characters up to and including each of M targets, in nats: (M, length).

    The model reads the `length` characters before the target, starting at position 0 as if the text began there.
    """
    windows = row[targets[:, None] + torch.arange(-length, 1)].to(model.embedding.weight.device, torch.long)
    losses = [character_losses(model(part[:, :-1]), part[:, 1:]).cpu().numpy() for part in batches(windows)]
    return np.concatenate(losses).astype(np.float64)


def _independent_stride(targets: Tensor, length: int) -> int:
    """Every how many-th window of `length` characters before a target overlaps none before it.

    Overlapping windows share losses, which would make the standard error too small.
    """
    return -(-length // max(1, int(targets.diff().min()))) if len(targets) > 1 else 1
