"""How a gradient becomes a better model: AdamW and the learning rate's course."""

from __future__ import annotations

import math

import torch

from nanollm.config import TrainConfig
from nanollm.model import TransformerLanguageModel


def make_optimizer(model: TransformerLanguageModel, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization").

    Only matrices decay: a gain pulled towards zero would silence its whole block, a bias has nothing to regularise.
    The fused kernel updates all tensors in one call; step by step they would cost nano more than its matrix products.
    """
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """The rate of a step (counted from 0): a straight climb, then half a cosine down to its final share.

    The course of Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", §4.1.
    """
    warmup = min(config.warmup_steps, config.num_steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, config.num_steps - 1 - warmup)  # 0 … 1
    share = config.final_learning_rate + (1 - config.final_learning_rate) * (1 + math.cos(math.pi * progress)) / 2
    return config.learning_rate * share
