"""Where a model computes: on a GPU where there is one (CUDA_VISIBLE_DEVICES= hides it), else on the processor."""

from __future__ import annotations

import torch
from torch import Tensor


def best_device() -> torch.device:
    """The first GPU that torch can use, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def random_state(device: torch.device) -> Tensor:
    """The state (S,) uint8 of the generator that dropout draws from on this device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(device: torch.device, state: Tensor) -> None:
    """Let dropout on this device go on from a state that random_state() gave."""
    torch.cuda.set_rng_state(state, device) if device.type == "cuda" else torch.set_rng_state(state)


def free_memory(device: torch.device) -> int | None:
    """How many bytes a GPU has left; None for the processor, whose memory is the machine's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
