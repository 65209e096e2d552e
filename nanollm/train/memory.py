"""Whether a model fits: what training it takes, and what this machine has to spare, before anything is allocated.

The estimate adds up what model.py and optim.py hold at their worst moment, with factors measured for torch 2.13
(tests/train/test_memory.py measures them again). In the formulas: N rows (characters) of a batch, T characters in a
window, D embedding_dim, F ffn_hidden_dim, H heads, V vocab_size, P parameters; 4 bytes for a float32, 2 for a bf16.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nanollm.config import ModelConfig, TrainConfig
from nanollm.errors import InputError

RUNTIME = 20_000_000  # bytes that torch takes for itself with the first step, whatever the model: 10 to 45 MB
EVAL_CHARACTERS_PER_PASS = 8192  # characters that evaluate() reads in one pass
_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def training_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """About how many bytes training such a model takes beyond a process that has imported torch.

    The text is not counted: it takes the same whatever the model.
    """
    parameters = 4 * model.num_parameters
    lasting = 3 * parameters  # and the optimizer's two moments of each
    precisions = ("float32", "bf16") if train.precision == "auto" else (train.precision,)
    rows = train.batch_size // train.accumulation_steps
    step = parameters + max(_activations(model, rows, p) for p in precisions)  # and the gradients
    # A resume file holds all that lasts. It is put together in memory and then signed: two copies of it. Muon, too,
    # works on copies of its matrices, and they come to no more.
    copies = 2 * lasting
    trial = parameters if "auto" in (train.precision, train.threads) else 0  # calibration steps a second model
    return RUNTIME + lasting + max(step + trial, copies, _evaluation(model))


def available_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """How many bytes this process may still take: what the machine has free, less where its container has a limit.

    `proc` and `cgroups` are where Linux tells it. RemoteLauncher: all of the machine's memory.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(0, min([free, *_left_in_groups(proc, cgroups)]))


def peak_bytes(proc: Path = _PROC) -> int | None:
    """The most memory that this process has held at once, torch's own code included; None where nobody counts it."""
    try:
        lines = (proc / "self" / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def require_memory(model: ModelConfig, train: TrainConfig, free: int | None = None) -> None:
    """Raise InputError with the estimate if training takes more than `free` bytes, by default what the machine has."""
    needed, free = training_bytes(model, train), available_bytes() if free is None else free
    if needed > free:
        raise InputError(
            f"This model would need about {_shown(needed)} to train, and {_shown(free)} are free: "
            "choose a smaller embedding_dim, batch_size or context_length, or more accumulation_steps."
        )


def _activations(model: ModelConfig, batch_size: int, precision: str) -> int:
    """What the forward pass keeps for the backward pass, and what that adds when it begins at the last layer."""
    D, F, V = model.embedding_dim, model.ffn_hidden_dim, model.vocab_size
    scores = model.heads * model.context_length  # of one row, all heads
    qk_norm = 4 * D if model.qk_norm else 0
    dropout = 2 * D if model.dropout else 0
    if precision == "float32":  # a fused kernel: the scores are never held
        layer = 4 * (14 * D + F + qk_norm + dropout)
        last = 4 * 10 * D
    else:  # the stream and what is normalised in float32, what is multiplied in bf16
        layer = 4 * (10 * D + qk_norm + dropout) + 2 * (F + scores)
        last = 4 * 10 * D + 2 * 3 * scores
    logits = 4 * 4 * V  # themselves, their logarithms, and the gradients of both
    return batch_size * model.context_length * (model.num_layers * layer + last + logits)


def _evaluation(model: ModelConfig) -> int:
    """The widest layer of a forward pass that keeps nothing, and the logits."""
    rows = max(EVAL_CHARACTERS_PER_PASS, model.context_length)
    return 4 * rows * (8 * model.embedding_dim + 2 * model.ffn_hidden_dim + 2 * model.vocab_size)


def _left_in_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What each control group (a container's, a service's) around this process leaves of its memory limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = cgroups / controllers if controllers else cgroups  # version 2 has one tree for all controllers
        # Inside a container the path may be the host's, of which only the root is mounted here.
        inner = root / path.strip("/")
        for group in (inner, *inner.parents):
            if group == root or root in group.parents:
                left = _left_in_group(group)
                if left is not None:
                    yield left


def _left_in_group(group: Path) -> int | None:
    """None where there is no limit. What files hold in the page cache is given back when it is needed."""
    for limit, usage, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, used = (group / limit).read_text().strip(), int((group / usage).read_text())
            counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            if most != "max":
                return int(most) - used + int(counts.get(cached, 0))
        except (OSError, ValueError):
            continue
    return None


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
