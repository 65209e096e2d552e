"""How well a model predicts a text: the loss that training judges it by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nanollm.memory import EVALUATED_AT_ONCE
from nanollm.model import TransformerLanguageModel

MAX_EVAL_CHARACTERS = 2**17  # of each split that an evaluation reads: the last tenth of a megabyte is read whole


@torch.no_grad()
def evaluate(
    model: TransformerLanguageModel, ids: Tensor, *, max_characters: int = MAX_EVAL_CHARACTERS
) -> float | None:
    """Mean loss in nats a character over ids (N,), without dropout; None if there is nothing to predict.

    Read in windows that do not overlap (a shorter one at the end); of more than max_characters, as many windows as they
    fill, but at least one, evenly spread.
    """
    T = model.config.context_length
    device = model.embedding.weight.device
    was_training = model.training
    model.eval()
    windows = ids[: (len(ids) - 1) // T * T + 1].unfold(0, T + 1, T) if len(ids) > T else ids.new_empty((0, T + 1))
    rest = ids[len(windows) * T :]  # begins with the last window's last target
    most = max(1, max_characters // T)
    if len(windows) > most:
        windows, rest = windows[torch.linspace(0, len(windows) - 1, most).long()], ids[:0]
    chunks = [*windows.split(max(1, EVALUATED_AT_ONCE // T)), rest[None]]
    total, count = 0.0, 0
    for chunk in chunks:  # (b, t + 1)
        if chunk.shape[1] < 2:
            continue
        chunk = chunk.to(device, torch.long)
        logits = model(chunk[:, :-1])
        total += F.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten(), reduction="sum").item()
        count += chunk[:, 1:].numel()
    model.train(was_training)
    return total / count if count else None
