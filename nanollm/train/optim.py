"""Optimizers (AdamW and Muon) and the learning rate schedule."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from nanollm.config import TrainConfig

ADAMW_EPSILON = 1e-8  # added to the denominator of updates
MUON_MOMENTUM = 0.95
NEWTON_SCHULZ_STEPS = 5
ADAMW_RMS = 0.2  # root mean square of typical AdamW updates (in units of the learning rate), which Muon matches


class Optimizer:
    """AdamW for all parameters, or Muon for the matrices of the blocks and AdamW for the others.

    Applies gradient clipping and the learning rate schedule.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.config = config
        self.parameters = list(model.parameters())
        blocks = [p for name, p in model.named_parameters() if name.startswith("blocks.") and p.dim() == 2]
        matrices = blocks if config.optimizer == "muon" else []
        taken = {id(p) for p in matrices}
        self.parts: list[AdamW | Muon] = [AdamW([p for p in self.parameters if id(p) not in taken], config)]
        if matrices:
            self.parts.append(Muon(matrices, config))

    def step(self, step: int) -> Tensor:
        """Update all parameters from their gradients (step counts from 0), and return the norm before clipping.

        A non-finite gradient changes nothing. This is decided on the device, without synchronizing.
        """
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip or math.inf)
        skip = (~torch.isfinite(grad_norm)).float()
        for part in self.parts:
            part.step(learning_rate_at(step, self.config), skip)
        for parameter in self.parameters:
            parameter.grad = None
        return grad_norm

    def tensors(self) -> dict[str, Tensor]:
        """Return the optimizer state as tensors, by name."""
        return {
            f"{number}.{index}.{slot}": tensor
            for number, part in enumerate(self.parts)
            for index, slots in enumerate(part.state)
            for slot, tensor in slots.items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state returned by tensors(). Raises ValueError if names or shapes differ."""
        own = self.tensors()
        if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in tensors.items()}:
            raise ValueError("the state belongs to another optimizer or model")
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


class AdamW:
    """AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization") with PyTorch's fused kernel.

    Only matrices decay: weight decay on a gain would weaken its whole block, and biases need no regularization.
    The fused kernel updates all tensors in one call; for nano, separate updates would take longer than all matrix
    products of a step. This class replaces torch.optim.AdamW, whose constructor imports PyTorch's compiler and would
    delay each start by a second (as long as importing torch).
    """

    def __init__(self, parameters: Iterable[Tensor], config: TrainConfig) -> None:
        self.config = config
        self.parameters = sorted(parameters, key=lambda p: p.dim() < 2)  # matrices first: the order in resume files
        self.state = [
            {"step": torch.zeros((), device=p.device), "exp_avg": _zeros_like(p), "exp_avg_sq": _zeros_like(p)}
            for p in self.parameters
        ]

    @torch.no_grad()
    def step(self, rate: float, skip: Tensor | None = None) -> None:
        """Update the parameters with the learning rate `rate`, unless the scalar tensor `skip` is 1."""
        updated = [row for row in zip(self.parameters, self.state, strict=True) if row[0].grad is not None]
        for decay, rows in (
            (self.config.weight_decay, [row for row in updated if row[0].dim() >= 2]),
            (0.0, [row for row in updated if row[0].dim() < 2]),
        ):
            adamw(
                [p for p, _ in rows],
                [p.grad for p, _ in rows],  # type: ignore[misc]
                [slots["exp_avg"] for _, slots in rows],
                [slots["exp_avg_sq"] for _, slots in rows],
                [],
                [slots["step"] for _, slots in rows],
                fused=True,
                found_inf=skip,
                amsgrad=False,
                beta1=self.config.beta1,
                beta2=self.config.beta2,
                lr=rate,
                weight_decay=decay,
                eps=ADAMW_EPSILON,
                maximize=False,
            )


class Muon:
    """Muon: momentum with orthogonalized updates, so that all directions of a matrix learn at the same speed.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". Updates are scaled to the RMS of
    AdamW updates (Liu et al. 2025, "Muon is Scalable for LLM Training", §2.2), so that learning_rate and weight_decay
    are comparable. Matrices of the same shape are orthogonalized in one batch: one at a time, these small products
    would take a third of a step. Queries, keys and values are separate matrices, although one product computes them.
    """

    def __init__(self, matrices: Iterable[Tensor], config: TrainConfig) -> None:
        self.parameters, self.config = list(matrices), config
        self.state = [{"momentum": _zeros_like(p)} for p in self.parameters]

    @torch.no_grad()
    def step(self, rate: float, skip: Tensor | None = None) -> None:
        """Update the parameters with the learning rate `rate`, unless the scalar tensor `skip` is 1."""
        apply = 1 - skip if skip is not None else 1.0  # 0 or 1
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for p, slots in zip(self.parameters, self.state, strict=True):
            if p.grad is None:
                continue
            gradient = p.grad.nan_to_num(0.0, 0.0, 0.0)
            momentum = slots["momentum"]
            momentum.lerp_(gradient, (1 - MUON_MOMENTUM) * apply)
            ahead = gradient.lerp(momentum, MUON_MOMENTUM)  # Nesterov momentum
            for part, update in zip(_square_parts(p), _square_parts(ahead), strict=True):
                wide = part.shape[0] <= part.shape[1]
                part, update = (part, update) if wide else (part.T, update.T)
                by_shape[part.shape].append((part, update))
        for (rows, columns), pairs in by_shape.items():
            updates = orthogonalize(torch.stack([update for _, update in pairs]))  # (n, rows, columns)
            scale = ADAMW_RMS * math.sqrt(max(rows, columns))
            for (part, _), update in zip(pairs, updates, strict=True):
                part.mul_(1 - rate * self.config.weight_decay * apply)
                part.sub_(update * (rate * scale * apply))


def _zeros_like(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, requires_grad=False)


def _square_parts(matrix: Tensor) -> list[Tensor]:
    """Split a (3D, D) matrix into views for queries, keys and values; return any other matrix as it is.

    This also splits feed-forward matrices that happen to have this shape, as in the preset sprint.
    """
    rows, columns = matrix.shape
    return list(matrix.split(columns)) if rows == 3 * columns else [matrix]


def orthogonalize(matrices: Tensor) -> Tensor:
    """Orthogonalize matrices (n, rows ≤ columns, columns): UΣVᵀ becomes approximately UVᵀ.

    Newton–Schulz iteration with the coefficients of Jordan et al. 2024, which bring the singular values to 0.7 … 1.2
    (instead of exactly 1) in few steps.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.mT  # (n, rows, rows)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Learning rate of a step (counted from 0): linear warmup, then cosine decay to final_lr_fraction of the peak.

    As in Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", §4.1.
    """
    warmup = min(config.warmup_steps, config.num_steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, config.num_steps - 1 - warmup)  # 0 … 1
    fraction = config.final_lr_fraction + (1 - config.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2
    return config.learning_rate * fraction
