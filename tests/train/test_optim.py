"""Optimizers match their references, and the learning rate follows its schedule."""

from __future__ import annotations

import math

import pytest
import torch

from nanollm.config import ModelConfig, TrainConfig
from nanollm.train.optim import ADAMW_RMS, AdamW, Muon, Optimizer, orthogonalize
from tests.conftest import random_model

MODEL = ModelConfig(vocab_size=11, embedding_dim=8, num_layers=2, ffn_hidden_dim=12, context_length=6)


def with_gradients(seed: int = 0) -> torch.nn.Module:
    model = random_model(MODEL)
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    return model


def test_orthogonalize_brings_singular_values_near_one() -> None:
    matrices = torch.randn(5, 12, 30, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.6 and values.max() < 1.3


def test_orthogonalize_keeps_the_singular_vectors() -> None:
    u, _, v = torch.linalg.svd(torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(2)), full_matrices=False)
    spread = u @ torch.diag_embed(torch.linspace(0.5, 2, 6).expand(3, 6)) @ v
    core = u.mT @ orthogonalize(spread) @ v.mT
    assert (core - torch.diag_embed(core.diagonal(dim1=1, dim2=2))).abs().max() < 1e-4


def test_adamw_is_bit_identical_to_pytorch() -> None:
    config = TrainConfig(learning_rate=0.1, weight_decay=0.3, beta1=0.8, beta2=0.95)
    ours, theirs = with_gradients(), with_gradients()
    groups = [
        {"params": [p for p in theirs.parameters() if (p.dim() >= 2) == matrices], "weight_decay": decay}
        for matrices, decay in ((True, 0.3), (False, 0.0))
    ]
    reference = torch.optim.AdamW(groups, betas=(0.8, 0.95), fused=True)
    optimizer = AdamW(ours.parameters(), config)
    for rate in (0.1, 0.05):
        for group in reference.param_groups:
            group["lr"] = rate
        optimizer.step(rate)
        reference.step()
        assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))
    held = reference.state_dict()["state"]
    for index, slots in enumerate(optimizer.state):  # so that resume files are compatible
        assert all(torch.equal(slots[name], held[index][name]) for name in ("step", "exp_avg", "exp_avg_sq"))


def test_muon_agrees_with_pytorch() -> None:
    """On square matrices, where both use the same scale; PyTorch iterates in bfloat16, this project in float32."""
    config = TrainConfig(learning_rate=0.1, weight_decay=0.01)
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(16, 16, generator=generator)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    optimizer = Muon([ours], config)
    for _ in range(4):
        gradient = torch.randn(16, 16, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step(0.1)
        reference.step()
    moved = (start - theirs).norm()
    assert (ours - theirs).norm() < 0.05 * moved


def test_muon_updates_have_the_rms_of_adamw() -> None:
    matrix = torch.nn.Parameter(torch.zeros(8, 20))
    matrix.grad = torch.randn(8, 20, generator=torch.Generator().manual_seed(4))
    Muon([matrix], TrainConfig(learning_rate=1.0, weight_decay=0.0)).step(1.0)
    assert matrix.detach().square().mean().sqrt() == pytest.approx(ADAMW_RMS, rel=0.3)


def test_queries_keys_and_values_are_separate_matrices_for_muon() -> None:
    joined = torch.nn.Parameter(torch.zeros(24, 8))
    gradient = torch.randn(24, 8, generator=torch.Generator().manual_seed(5))
    joined.grad = gradient.clone()
    Muon([joined], TrainConfig(learning_rate=1.0, weight_decay=0.0)).step(1.0)
    for i in range(3):
        alone = torch.nn.Parameter(torch.zeros(8, 8))
        alone.grad = gradient[8 * i : 8 * i + 8].clone()
        Muon([alone], TrainConfig(learning_rate=1.0, weight_decay=0.0)).step(1.0)
        assert torch.allclose(joined[8 * i : 8 * i + 8], alone, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_has_one_optimizer(name: str) -> None:
    model = random_model(MODEL)
    optimizer = Optimizer(model, TrainConfig(optimizer=name))
    held = [id(p) for part in optimizer.parts for p in part.parameters]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(name: str, bad: float) -> None:
    model = with_gradients()
    optimizer = Optimizer(model, TrainConfig(optimizer=name))
    optimizer.step(5)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    moments = {k: v.clone() for k, v in optimizer.tensors().items()}
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    next(iter(model.parameters())).grad[0, 0] = bad  # type: ignore[index]
    assert not math.isfinite(optimizer.step(6))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(torch.equal(moments[k], v) for k, v in optimizer.tensors().items())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_optimizer_state_can_be_restored(name: str) -> None:
    config = TrainConfig(optimizer=name, learning_rate=0.01)
    model = with_gradients()
    optimizer = Optimizer(model, config)
    optimizer.step(0)
    twin = with_gradients()
    twin.load_state_dict(model.state_dict())
    restored = Optimizer(twin, config)
    restored.load({k: v.clone() for k, v in optimizer.tensors().items()})
    for one in (model, twin):
        for p in one.parameters():
            p.grad = torch.full_like(p, 0.1)
    optimizer.step(1)
    restored.step(1)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))
