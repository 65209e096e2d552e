"""How a gradient becomes a better model: AdamW, Muon, and the learning rate's course."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from nanollm.config import TrainConfig

ADAMW_EPSILON = 1e-8  # keeps the first updates from being divided by zero
MUON_MOMENTUM = 0.95
ORTHOGONAL_STEPS = 5
ADAMW_SHARE = 0.2  # length of a typical AdamW update, as a share of one whose every number is 1


class Optimizer:
    """What training does with a gradient: one or two optimizers that share schedule, clipping and saving."""

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
        """Update all parameters from their gradients (step counted from 0); returns the gradient's length, unclipped.

        A gradient that is not finite changes nothing: the flag is read on the device, without a wait for the result.
        """
        grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip or math.inf)
        bad = (~torch.isfinite(grad_norm)).float()
        for part in self.parts:
            part.step(learning_rate_at(step, self.config), bad)
        for parameter in self.parameters:
            parameter.grad = None
        return grad_norm

    def tensors(self) -> dict[str, Tensor]:
        """All that it remembers, by name."""
        return {
            f"{number}.{index}.{slot}": tensor
            for number, part in enumerate(self.parts)
            for index, slots in enumerate(part.state)
            for slot, tensor in slots.items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what tensors() gave. Raises ValueError for what it never gave."""
        own = self.tensors()
        if {name: tensor.shape for name, tensor in own.items()} != {name: t.shape for name, t in tensors.items()}:
            raise ValueError("of another optimizer, or of another model")
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


class AdamW:
    """AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"), by PyTorch's fused kernel.

    Only matrices decay: a gain pulled towards zero would silence its whole block, a bias has nothing to regularise.
    The kernel updates all tensors in one call; step by step they would cost nano more than its matrix products. What
    it remembers is held here, because making a torch.optim.AdamW loads PyTorch's compiler: a second (as long as
    importing torch takes) with which every training would begin.
    """

    def __init__(self, parameters: Iterable[Tensor], config: TrainConfig) -> None:
        self.config = config
        self.parameters = sorted(parameters, key=lambda p: p.dim() < 2)  # matrices first, as in all resume files
        self.state = [
            {"step": torch.zeros((), device=p.device), "exp_avg": _zeros_like(p), "exp_avg_sq": _zeros_like(p)}
            for p in self.parameters
        ]

    @torch.no_grad()
    def step(self, rate: float, bad: Tensor | None = None) -> None:
        """Update at a learning rate; where `bad` is 1, not at all."""
        learning = [row for row in zip(self.parameters, self.state, strict=True) if row[0].grad is not None]
        for decay, rows in (
            (self.config.weight_decay, [row for row in learning if row[0].dim() >= 2]),
            (0.0, [row for row in learning if row[0].dim() < 2]),
        ):
            adamw(
                [p for p, _ in rows],
                [p.grad for p, _ in rows],  # type: ignore[misc]
                [slots["exp_avg"] for _, slots in rows],
                [slots["exp_avg_sq"] for _, slots in rows],
                [],
                [slots["step"] for _, slots in rows],
                fused=True,
                found_inf=bad,
                amsgrad=False,
                beta1=self.config.beta1,
                beta2=self.config.beta2,
                lr=rate,
                weight_decay=decay,
                eps=ADAMW_EPSILON,
                maximize=False,
            )


class Muon:
    """Momentum whose update is made orthogonal: every direction of a matrix learns at the same speed.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; scaled to the length of AdamW's
    updates as in Liu et al. 2025, "Muon is Scalable for LLM Training", §2.2, so that learning_rate and weight_decay
    mean what they mean there. Matrices of one shape are orthogonalised together: one at a time, these small products
    would be a third of a step. Queries, keys and values count as three matrices, though one product computes them.
    """

    def __init__(self, matrices: Iterable[Tensor], config: TrainConfig) -> None:
        self.parameters, self.config = list(matrices), config
        self.state = [{"momentum": _zeros_like(p)} for p in self.parameters]

    @torch.no_grad()
    def step(self, rate: float, bad: Tensor | None = None) -> None:
        """Update at a learning rate; where `bad` is 1, not at all."""
        good = 1 - bad if bad is not None else 1.0
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for p, slots in zip(self.parameters, self.state, strict=True):
            if p.grad is None:
                continue
            gradient = p.grad.nan_to_num(0.0, 0.0, 0.0)
            momentum = slots["momentum"]
            momentum.lerp_(gradient, (1 - MUON_MOMENTUM) * good)
            ahead = gradient.lerp(momentum, MUON_MOMENTUM)  # Nesterov's look-ahead
            for part, update in zip(_square_parts(p), _square_parts(ahead), strict=True):
                flat = part.shape[0] <= part.shape[1]
                part, update = (part, update) if flat else (part.T, update.T)
                by_shape[part.shape].append((part, update))
        for (rows, columns), pairs in by_shape.items():
            updates = orthogonalize(torch.stack([update for _, update in pairs]))  # (n, rows, columns)
            length = ADAMW_SHARE * math.sqrt(max(rows, columns))
            for (part, _), update in zip(pairs, updates, strict=True):
                part.mul_(1 - rate * self.config.weight_decay * good)
                part.sub_(update * (rate * length * good))


def _zeros_like(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, requires_grad=False)


def _square_parts(matrix: Tensor) -> list[Tensor]:
    """Views of the queries', keys' and values' shares of a (3D, D) matrix; any other matrix whole.

    A feed-forward matrix that happens to have that shape, as sprint's has, is cut likewise.
    """
    rows, columns = matrix.shape
    return list(matrix.split(columns)) if rows == 3 * columns else [matrix]


def orthogonalize(matrices: Tensor) -> Tensor:
    """(n, rows ≤ columns, columns), each with its singular values brought near 1: UΣVᵀ becomes about UVᵀ.

    Newton–Schulz iteration with the coefficients of Jordan et al. 2024, which trade exactness (0.7 … 1.2) for speed.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ORTHOGONAL_STEPS):
        square = x @ x.mT  # (n, rows, rows)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """The rate of a step (counted from 0): a straight climb, then half a cosine down to its final share.

    The course of Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", §4.1.
    """
    warmup = min(config.warmup_steps, config.num_steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, config.num_steps - 1 - warmup)  # 0 … 1
    share = config.final_lr_fraction + (1 - config.final_lr_fraction) * (1 + math.cos(math.pi * progress)) / 2
    return config.learning_rate * share
