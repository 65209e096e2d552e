"""One training step: forward, backward, update. train() repeats it, calibration times it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor

from nanollm.model import TransformerLanguageModel
from nanollm.train.distributed import SINGLE_PROCESS, Ranks
from nanollm.train.optim import Optimizer


def training_step(
    model: TransformerLanguageModel,
    optimizer: Optimizer,
    ids: Tensor,
    targets: Tensor,
    step: int,
    precision: str,
    *,
    micro_batches: int = 1,
    ranks: Ranks = SINGLE_PROCESS,
) -> tuple[Tensor, Tensor]:
    """Learn from windows ids (B, T) and the characters that follow, targets (B, T), as step number `step` from 0.

    Where several processes train together, this one computes its share of the batch only; and it computes that in so
    many `micro_batches`, one after the other, whose gradients add up (less memory, the same step).
    Returns the loss before the update in nats a character, and the gradient's length before clipping, both still on
    the model's device: nothing here waits for it.
    """
    device = model.embedding.weight.device
    total = torch.zeros((), device=device)
    for read, follows in zip(
        ranks.shard(ids).chunk(micro_batches), ranks.shard(targets).chunk(micro_batches), strict=True
    ):
        with arithmetic(precision, device):
            logits = model(read.to(device))  # (b, T, V)
        loss = F.cross_entropy(logits.float().flatten(0, 1), follows.to(device).flatten()) / micro_batches
        loss.backward()
        total += loss.detach()
    ranks.all_reduce_mean(
        [total, *(parameter.grad for parameter in optimizer.parameters if parameter.grad is not None)]
    )
    with arithmetic(precision, device):  # Muon's own products
        return total, optimizer.step(step)


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """In which numbers matrix products are computed: "float32", or "bf16" (Kalamkar et al. 2019).

    bf16 keeps float32's range with 8 bits of precision. Weights, their updates, LayerNorm and the residual stream stay
    in float32 (mixed precision, Micikevicius et al. 2018).
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
