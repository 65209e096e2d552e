"""The hardware that trains: device selection and names, CPUs, GPU memory, and the device's random state."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch
from torch import Tensor

from nanollm.train.cgroups import cpu_quota


def best_device() -> torch.device:
    """Return the first GPU if torch can use one (CUDA_VISIBLE_DEVICES= hides it), else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Return the model name of a GPU, or of the CPU if the system reports it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, at least 1.

    A container's CPU quota counts: threads beyond it would be suspended in turns while the others wait for them.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def bf16_supported(device: torch.device) -> bool:
    """Whether the device has instructions for bf16 arithmetic. Without them, bf16 is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Not public, so a future torch may lack it; calibration then measures bf16 on every CPU.
    known = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return known is None or bool(known())


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of a GPU, or None for the CPU (see memory.available_bytes())."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def random_state(device: torch.device) -> Tensor:
    """Return the state (S,) uint8 of the device's default random generator, which dropout draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Restore a state returned by random_state()."""
    torch.cuda.set_rng_state(state, device) if device.type == "cuda" else torch.set_rng_state(state)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
