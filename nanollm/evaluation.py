"""How well a model predicts a text: the loss that training judges it by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nanollm.model import TransformerLanguageModel

MAX_EVAL_WINDOWS = 1024  # windows of each split that an evaluation reads: 131,072 characters at a window of 128
AT_ONCE = 8192  # characters read in one pass


@torch.no_grad()
def evaluate(model: TransformerLanguageModel, ids: Tensor, *, max_windows: int = MAX_EVAL_WINDOWS) -> float | None:
    """Mean loss in nats a character over ids (N,), without dropout; None if there is nothing to predict.

    Read in windows that do not overlap (a shorter one at the end); of more than max_windows, as many evenly spread.
    """
    T = model.config.context_length
    device = model.embedding.weight.device
    was_training = model.training
    model.eval()
    windows = ids[: (len(ids) - 1) // T * T + 1].unfold(0, T + 1, T) if len(ids) > T else ids.new_empty((0, T + 1))
    rest = ids[len(windows) * T :]  # begins with the last window's last target
    if len(windows) > max_windows:
        windows, rest = windows[torch.linspace(0, len(windows) - 1, max_windows).long()], ids[:0]
    chunks = [*windows.split(max(1, AT_ONCE // T)), rest[None]]
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
