"""How everything here reads: the end of a text as one window, held-out ids as many."""

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

CHUNK = 4096  # characters that go through a model at a time


@dataclass(frozen=True)
class Window:
    """The part of a text that a model reads at once: its end, where the text is longer than the window."""

    text: str  # T characters, 1 ≤ T ≤ context_length
    ids: Tensor  # (1, T) int64, on the model's device
    skipped: int  # characters of the given text before the window


def blocks(model: TransformerLanguageModel) -> list[Block]:
    """The model's layers, as what they are: torch's ModuleList only promises modules."""
    return cast("list[Block]", list(model.blocks))


def last_window(model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str) -> Window:
    """The window that the model reads of a text. Raises InputError if the text is empty or has unknown characters."""
    if not text:
        raise InputError("There is no text to look at: write some characters.")
    require_vocabulary(model, tokenizer)
    tokenizer.encode(text)  # an unknown character is named even where the window would hide it
    window = text[-model.config.context_length :]
    ids = torch.as_tensor(tokenizer.encode(window).astype(np.int64), device=model.embedding.weight.device)
    return Window(window, ids[None], len(text) - len(window))


def require_place(place: int, length: int) -> int:
    """A place in a text of `length` characters as an index from 0; negative ones count from the end, as in Python."""
    if not isinstance(place, (int, np.integer)) or isinstance(place, bool) or not -length <= place < length:
        raise InputError(f"The text that the model reads has {length} characters: choose a place among them.")
    return int(place) % length


def whole_numbers(model: TransformerLanguageModel, ids: Sequence[int] | np.ndarray | Tensor) -> Tensor:
    """Ids (N,) as a tensor of their own type. Raises InputError unless they are at least two ids of the vocabulary."""
    array = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputError("The tokens must be one row of whole numbers: use tokenizer.encode(text).")
    if len(array) < 2:
        raise InputError("There is too little text to judge the model by: bring at least two characters.")
    if not 0 <= int(array.min()) <= int(array.max()) < model.config.vocab_size:
        raise InputError(f"Every token must be from 0 to {model.config.vocab_size - 1}: encode with its tokenizer.")
    # Torch takes over an array that is contiguous, writable and of this machine's byte order; most are all three.
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))


def windows(
    model: TransformerLanguageModel, ids: Sequence[int] | np.ndarray | Tensor, max_characters: int, at_least: int = 8
) -> Tensor:
    """Windows of a text that do not overlap, evenly spread over it: (N, T + 1) int64 on the model's device.

    The first T of each are read, the last T are what follows them. Together about `max_characters`, but `at_least` so
    many windows if there are: an uncertainty wants several. Of a text shorter than a window, one window of what there
    is. Raises InputError as whole_numbers() does.
    """
    row = whole_numbers(model, ids)
    T = min(model.config.context_length, len(row) - 1)
    all_windows = row.unfold(0, T + 1, T)  # a view: (N, T + 1), each begins with the last one's last character
    wanted = max(at_least, max_characters // T)
    if len(all_windows) > wanted:
        all_windows = all_windows[torch.linspace(0, len(all_windows) - 1, wanted).long()]
    return all_windows.to(model.embedding.weight.device, torch.long)


def chunks(rows: Tensor) -> tuple[Tensor, ...]:
    """Windows (N, T) in batches that a processor's caches still hold, each (n, T)."""
    return rows.split(max(1, CHUNK // rows.shape[1]))


def losses(logits: Tensor, following: Tensor) -> Tensor:
    """What each character of `following` (B, T) cost, in nats, given the logits (B, T, V) before it: (B, T)."""
    return F.cross_entropy(logits.float().transpose(1, 2), following, reduction="none")


def standard_error(values: np.ndarray) -> np.ndarray:
    """How far the mean over the first axis of (N, …) is likely off: (…); NaN where N = 1, which tells nothing."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))
