"""The context meter: how far back does this model really look?

Two measurements. Along the window: a character late in it can be predicted from more than an early one. And the same
characters again and again, each time with only so many before them: here nothing else changes, so that differences of
a hundredth can be seen. Neither says what is looked at; long contexts also help by chance (the same name again).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.explain.reading import CHUNK, chunks, losses, standard_error, undisturbed, whole_numbers, windows
from nanollm.model import TransformerLanguageModel

# The second measurement reads every place again for each length: so many are about a second for the largest preset.
ALONG_CHARACTERS = 8192
PLACES = 48


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
    max_characters: int = ALONG_CHARACTERS,
    places: int = PLACES,
) -> ContextMeter:
    """Both measurements on ids (N,), best held out: the first over about so many characters, the second at so many
    `places`, evenly spread.

    A text shorter than the window is measured as if it were the window. Raises InputError for what are no ids of the
    model, or fewer than two.
    """
    row = whole_numbers(model, ids)
    with undisturbed(model):
        along = _along(model, windows(model, row, max_characters))  # (N, T)
        lengths, cut = _cut(model, row, places)  # (K,), (M, K)
    T = along.shape[1]
    first = np.array([0, *(2**power for power in range(T.bit_length()) if 2**power < T)])
    last = np.array([*(first[1:] - 1), T - 1])
    stretches = np.stack([along[:, a : b + 1].mean(axis=1) for a, b in zip(first, last, strict=True)], axis=1)
    missing = cut - cut[:, -1:]
    return ContextMeter(
        *(first, last, stretches.mean(axis=0), standard_error(stretches)),
        *(lengths, cut.mean(axis=0), standard_error(cut), missing.mean(axis=0), standard_error(missing)),
    )


def _along(model: TransformerLanguageModel, read: Tensor) -> np.ndarray:
    """What was paid at each place of windows (N, T + 1): (N, T)."""
    found = [losses(model(batch[:, :-1]), batch[:, 1:]).cpu().numpy() for batch in chunks(read)]
    return np.concatenate(found).astype(np.float64)


def _cut(model: TransformerLanguageModel, row: Tensor, places: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of context (K,), and what the same M characters cost after each (M, K).

    A shortened context is read from position 0 on, as if the text began there.
    """
    whole = min(model.config.context_length, len(row) - 1)
    lengths = np.array([*(2**power for power in range(whole.bit_length()) if 2**power < whole), whole])
    targets = torch.linspace(whole, len(row) - 1, max(1, min(places, len(row) - whole))).long()  # (M,)
    paid = np.empty((len(targets), len(lengths)))
    for column, length in enumerate(lengths.tolist()):
        contexts = row[targets[:, None] + torch.arange(-length, 1)].to(model.embedding.weight.device, torch.long)
        parts = contexts.split(max(1, CHUNK // length))  # (m, length + 1): the context, and the character after it
        said = [losses(model(part[:, :-1])[:, -1:], part[:, -1:])[:, 0].cpu().numpy() for part in parts]
        paid[:, column] = np.concatenate(said)
    return lengths, paid
