"""A single training step: forward pass, backward pass, update."""

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
    """Update the model from windows ids (B, T) and their next characters targets (B, T), as step `step` (from 0).

    With several ranks, this process computes its shard of the batch. The shard is split into `micro_batches` whose
    gradients are accumulated (less memory, the same update).
    Returns the loss before the update in nats per character and the gradient norm before clipping. Both are scalars on
    the model's device; nothing here synchronizes with the device.
    """
    device = model.embedding.weight.device
    total = torch.zeros((), device=device)
    inputs, labels = ranks.shard(ids).chunk(micro_batches), ranks.shard(targets).chunk(micro_batches)
    for x, y in zip(inputs, labels, strict=True):  # (B / ranks / micro_batches, T)
        with arithmetic(precision, device):
            logits = model(x.to(device))  # (b, T, V)
        loss = F.cross_entropy(logits.float().flatten(0, 1), y.to(device).flatten()) / micro_batches
        loss.backward()
        total += loss.detach()
    gradients = [parameter.grad for parameter in optimizer.parameters if parameter.grad is not None]
    ranks.all_reduce_mean([total, *gradients])
    with arithmetic(precision, device):  # also for the matrix products of Muon
        return total, optimizer.step(step)


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the autocast context for a precision: "float32", or "bf16" (Kalamkar et al. 2019) for matrix products.

    bfloat16 has the range of float32 with 8 bits of precision. Weights, updates, LayerNorm and the residual stream stay
    in float32 (mixed precision, Micikevicius et al. 2018).
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
