"""The compiled attention kernel: equal to the formula, exactly causal, and replaced by PyTorch's where unavailable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nanollm.config import ModelConfig, TrainConfig
from nanollm.data.dataset import Dataset
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel, attention_weights, rms_normalize, rotary_frequencies, rotate
from nanollm.train import compiled_attention
from nanollm.train.compiled_attention import attention, choose_kernel, is_available, use_kernel
from nanollm.train.events import Start
from nanollm.train.loop import TrainState, set_seed, train
from tests.conftest import random_model

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(not is_available(8), reason="needs a C compiler")
# Batch, characters, heads, head width: also those that do not fill the vectors of 8 floats or the 16 lanes.
SHAPES = [(3, 64, 4, 8), (2, 50, 3, 8), (1, 7, 2, 32), (2, 33, 1, 12), (2, 16, 2, 24), (1, 1, 1, 8)]


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", str(tmp_path / "missing"))
    compiled_attention._library.cache_clear()
    yield
    compiled_attention._library.cache_clear()


def textbook(qkv: Tensor, freqs_cis: Tensor | None, qk_norm: bool) -> Tensor:
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    if qk_norm:
        q, k = rms_normalize(q), rms_normalize(k)
    if freqs_cis is not None:
        q, k = rotate(q, freqs_cis), rotate(k, freqs_cis)
    return (attention_weights(q, k) @ v).transpose(1, 2)


def distance(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_output_and_gradient_equal_the_formula(shape: tuple[int, ...], rotary: bool, qk_norm: bool) -> None:
    B, T, H, K = shape
    torch.manual_seed(T)
    qkv = (2 * torch.randn(B, T, 3, H, K)).requires_grad_()
    freqs_cis = rotary_frequencies(5, 5 + T, K) if rotary else None
    direction = torch.randn(B, T, H, K)
    expected = textbook(qkv, freqs_cis, qk_norm)
    found = attention(qkv, freqs_cis, qk_norm)
    (expected_grad,) = torch.autograd.grad(expected, qkv, direction)
    (found_grad,) = torch.autograd.grad(found, qkv, direction)
    assert distance(found, expected) < 2e-6
    assert distance(found_grad, expected_grad) < 5e-6


@needs_compiler
def test_extreme_scores_do_not_overflow() -> None:
    qkv = torch.randn(1, 40, 3, 2, 8)
    qkv[:, :, :2] *= 100  # scores in the tens of thousands: the softmax selects single characters
    found = attention(qkv)
    assert torch.isfinite(found).all()
    assert distance(found, textbook(qkv.double(), None, False).float()) < 1e-3


@needs_compiler
def test_later_characters_do_not_change_a_single_bit() -> None:
    qkv = torch.randn(2, 40, 3, 2, 8)
    changed = qkv.clone()
    changed[:, 21:] = 1e4
    assert torch.equal(attention(qkv)[:, :21], attention(changed)[:, :21])


@needs_compiler
def test_every_number_of_threads_gives_the_same_bits() -> None:
    qkv = torch.randn(3, 40, 3, 3, 8, requires_grad=True)
    results = []
    try:
        for threads in (1, 2, 4, 100):
            torch.set_num_threads(threads)
            output = attention(qkv)
            results.append(torch.cat([output.flatten(), torch.autograd.grad(output.square().sum(), qkv)[0].flatten()]))
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(result, results[0]) for result in results)


@needs_compiler
@pytest.mark.parametrize("settings", [{}, {"qk_norm": True}, {"position": "learned"}])
def test_a_model_has_the_same_loss_and_gradients_with_both_kernels(settings: dict) -> None:
    model = random_model(ModelConfig(11, 32, 2, 24, num_heads=4, context_length=20, **settings)).train()
    ids = torch.randint(11, (3, 20))
    gradients = {}
    for kernel in ("pytorch", "compiled"):
        use_kernel(model, kernel)
        loss = F.cross_entropy(model(ids).flatten(0, 1), ids.roll(-1, 1).flatten())
        gradients[kernel] = torch.autograd.grad(loss, list(model.parameters()))
    for found, expected in zip(gradients["compiled"], gradients["pytorch"], strict=True):
        assert not torch.equal(found, expected) or not expected.any()  # the kernel was really used
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@needs_compiler
def test_training_uses_the_kernel_and_records_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(compiled_attention, "attention", lambda *given: calls.append(given) or attention(*given))
    set_seed(1)
    model = TransformerLanguageModel(11, 32, 1, 24, num_heads=4, context_length=20)
    config = TrainConfig(num_steps=2, batch_size=2, precision="float32", threads=1)
    data = Dataset.from_ids(torch.randint(11, (500,)).numpy(), 0.1)
    events = list(train(TrainState.new(model, config), data, config))
    assert isinstance(events[0], Start) and events[0].attention_kernel == "compiled"
    assert calls
    assert model.blocks[0].attention.compiled_kernel is None  # afterwards, the model is as before


@needs_compiler
def test_auto_selects_the_compiled_kernel_only_in_float32_on_the_cpu() -> None:
    model, config = ModelConfig(11, 32, 1, 24, num_heads=4), TrainConfig()
    assert choose_kernel(model, config, CPU) == "compiled"
    assert choose_kernel(model, replace(config, attention_kernel="pytorch"), CPU) == "pytorch"
    assert choose_kernel(model, replace(config, precision="bf16"), CPU) == "pytorch"
    assert choose_kernel(model, config, torch.device("cuda")) == "pytorch"


def test_without_a_compiler_pytorchs_kernel_is_used(without_compiler: None) -> None:
    model, config = ModelConfig(11, 32, 1, 24, num_heads=4), TrainConfig()
    assert choose_kernel(model, config, CPU) == "pytorch"
    with pytest.raises(InputError, match="needs a CPU and a C compiler"):
        choose_kernel(model, replace(config, attention_kernel="compiled"), CPU)


def test_a_compilation_that_fails_leaves_no_file(
    without_compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", "false")
    assert not is_available(8)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_runs_of_earlier_versions_used_pytorchs_kernel() -> None:
    start = asdict(Start(0, 100, "float32", 2, "cpu", "2.13", 18_752, 900, 100))
    del start["attention_kernel"]
    assert Start(**json.loads(json.dumps(start))).attention_kernel == "pytorch"
