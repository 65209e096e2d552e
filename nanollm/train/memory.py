"""Memory: an estimate of what training needs and of what is free, checked before anything is allocated.

The estimate adds up the tensors that model.py and optim.py hold at their peak, with factors measured for torch 2.13
(tests/train/test_memory.py checks them). In the formulas: D embedding_dim, F ffn_hidden_dim, V vocab_size; 4 bytes per
float32, 2 per bf16.
"""

from __future__ import annotations

import os
from pathlib import Path

from nanollm.config import ModelConfig, TrainConfig
from nanollm.errors import InputError
from nanollm.train import cgroups

RUNTIME = 20_000_000  # bytes that torch allocates with the first step for any model: 10 to 45 MB
EVAL_CHARACTERS_PER_PASS = 8192  # batch size of evaluate(), in characters


def training_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """Estimate the bytes that training needs in addition to a process that has imported torch.

    The text is not included, because it does not depend on the model.
    """
    parameters = 4 * model.num_parameters
    state = 4 * parameters  # the weights, two moments per weight, and the weights of the best model so far
    precisions = ("float32", "bf16") if train.precision == "auto" else (train.precision,)
    rows = train.batch_size // train.accumulation_steps
    step = parameters + max(_activations(model, rows, p) for p in precisions)  # the gradients
    # A resume file is built in memory and then hashed: two copies of the state. The temporary matrices of Muon need
    # less than that.
    copies = 2 * state
    trial = parameters if "auto" in (train.precision, train.threads) else 0  # calibration trains a second model
    return RUNTIME + state + max(step + trial, copies, _evaluation(model))


def available_bytes(proc: Path = cgroups.PROC, groups: Path = cgroups.CGROUPS) -> int:
    """Return the bytes this process can still allocate: the machine's available memory, or less in a container.

    Read from /proc and the cgroups of Linux; on other systems, the total memory of the machine.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    left = cgroups.free_memory(proc, groups)
    return max(0, free if left is None else min(free, left))


def peak_bytes(proc: Path = cgroups.PROC) -> int | None:
    """Return the peak resident memory of this process, including the code of torch; None if unavailable."""
    try:
        lines = (proc / "self" / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def require_memory(model: ModelConfig, train: TrainConfig, free: int | None = None) -> None:
    """Raise InputError if training needs more than `free` bytes (default: available_bytes())."""
    needed, free = training_bytes(model, train), available_bytes() if free is None else free
    if needed > free:
        raise InputError(
            f"Training this model needs about {_shown(needed)}, but only {_shown(free)} are free: "
            "choose a smaller embedding_dim, batch_size or context_length, or more accumulation_steps."
        )


def _activations(model: ModelConfig, batch_size: int, precision: str) -> int:
    """Bytes that the forward pass stores for the backward pass, plus the peak at the start of the backward pass."""
    D, F, V = model.embedding_dim, model.ffn_hidden_dim, model.vocab_size
    scores = model.heads * model.context_length  # per character, all heads
    qk_norm = 4 * D if model.qk_norm else 0
    dropout = 2 * D if model.dropout else 0
    if precision == "float32":  # the fused kernel does not store the scores
        layer = 4 * (14 * D + F + qk_norm + dropout)
        last = 4 * 10 * D
    else:  # residual stream and LayerNorm outputs in float32, inputs of matrix products in bf16
        layer = 4 * (10 * D + qk_norm + dropout) + 2 * (F + scores)
        last = 4 * 10 * D + 2 * 3 * scores
    logits = 4 * 4 * V  # logits, log-probabilities, and the gradients of both
    return batch_size * model.context_length * (model.num_layers * layer + last + logits)


def _evaluation(model: ModelConfig) -> int:
    """Bytes of an evaluation batch: the activations of one layer, and the logits."""
    rows = max(EVAL_CHARACTERS_PER_PASS, model.context_length)
    return 4 * rows * (8 * model.embedding_dim + 2 * model.ffn_hidden_dim + 2 * model.vocab_size)


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
