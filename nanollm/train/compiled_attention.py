"""Attention compiled from attention.c: two to four times as fast as PyTorch's kernel in float32 on CPUs.

PyTorch's kernel spends most of its time on the overhead of small matrix products: the heads of nano have a width of 8.
attention.c computes one head after the other within the caches, including rotary positions and QK normalization. The C
compiler of the machine translates it once per head width (about a second), optimized for its processor; the result is
cached. Without a compiler, PyTorch's kernel is used. Both agree up to rounding (below 1e-6 of the largest value), so
a run records which one it uses.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nanollm.config import ModelConfig, TrainConfig
from nanollm.errors import InputError
from nanollm.files import cache_folder
from nanollm.model import TransformerLanguageModel

SOURCE = Path(__file__).with_name("attention.c")
# Tuning for a particular AMD processor, the default of -march=native there, would reload vectors from memory instead
# of keeping them in registers, and makes medium's attention 1.3 times slower.
FLAGS = ("-O3", "-march=native", "-mtune=generic", "-shared", "-fPIC")
COMPILATION_SECONDS = 300  # takes about one second; more on a busy machine
ALIGNMENT = 32  # bytes of a vector in attention.c


def choose_kernel(model: ModelConfig, config: TrainConfig, device: torch.device) -> str:
    """Return "compiled" or "pytorch": config.attention_kernel with "auto" resolved.

    "auto" compiles wherever it can: on the CPU, in float32, if there is a compiler. Raises InputError if the config
    requests the compiled kernel and it cannot be used.
    """
    requested = config.attention_kernel
    if requested == "pytorch" or (requested == "auto" and config.precision == "bf16"):
        return "pytorch"
    if device.type == "cpu" and is_available(model.head_dim):
        return "compiled"
    if requested == "compiled":
        raise InputError(
            "attention_kernel is 'compiled', which needs a CPU and a C compiler (cc). Install one, or choose pytorch."
        )
    return "pytorch"


def use_kernel(model: TransformerLanguageModel, kernel: str) -> None:
    """Let the model compute attention with the kernel "compiled" or "pytorch", in float32 and in training mode.

    A new model uses PyTorch's kernel. Evaluations use it in any case, so that the recorded losses are exactly those
    that evaluate() returns for the saved model.
    """
    for block in model.blocks:
        block.attention.compiled_kernel = attention if kernel == "compiled" else None  # type: ignore[union-attr]


def is_available(head_dim: int) -> bool:
    """Whether attention with heads of this width is compiled, or can be. Compiles it on the first call."""
    try:
        _library(head_dim)
    except (OSError, RuntimeError, subprocess.SubprocessError):  # no compiler, no home folder, or a failed compilation
        return False
    return True


def attention(qkv: Tensor, freqs_cis: Tensor | None = None, qk_norm: bool = False) -> Tensor:
    """Return the causal attention of each head (B, T, H, K), given its queries, keys and values (B, T, 3, H, K).

    float32 on the CPU. Queries and keys are first normalized if `qk_norm`, then rotated by freqs_cis (T, K / 2), see
    nanollm.model. The result does not depend on the number of threads. Call it only if is_available(K).
    """
    turns = None if freqs_cis is None else torch.view_as_real(freqs_cis.resolve_conj()).contiguous()
    return _Attention.apply(qkv, turns, qk_norm)  # type: ignore[return-value]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, turns: Tensor | None, qk_norm: bool) -> Tensor:
        qkv = qkv.contiguous()
        B, T, _, H, K = qkv.shape
        output, sums = qkv.new_empty(B, T, H, K), qkv.new_empty(B, H, T)
        inputs = (_pointer(qkv), _pointer(turns), int(qk_norm), _pointer(output), _pointer(sums))
        _compute(_library(K).forward, inputs, qkv)
        ctx.save_for_backward(qkv, turns, output, sums)
        ctx.qk_norm = qk_norm
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        qkv, turns, output, sums = ctx.saved_tensors
        grad, grad_qkv = grad.contiguous(), torch.empty_like(qkv)
        inputs = (
            _pointer(grad), _pointer(qkv), _pointer(turns), int(ctx.qk_norm),
            _pointer(output), _pointer(sums), _pointer(grad_qkv),
        )  # fmt: skip
        _compute(_library(qkv.shape[-1]).backward, inputs, qkv)
        return grad_qkv, None, None


def _compute(function: Callable[..., None], inputs: tuple, qkv: Tensor) -> None:
    """Call a function of the library for all B · H heads, distributed over as many threads as torch uses."""
    B, T, _, H, K = qkv.shape
    size = _library(K).scratch_size(T)

    def compute(first: int, last: int) -> None:
        scratch = torch.zeros(size + ALIGNMENT // 4)
        aligned = -(-scratch.data_ptr() // ALIGNMENT) * ALIGNMENT
        function(*inputs, aligned, T, H, first, last)  # releases the GIL

    threads = min(torch.get_num_threads(), B * H)
    parts = list(pairwise(B * H * part // threads for part in range(threads + 1)))
    others = [_threads().submit(compute, *part) for part in parts[1:]]
    compute(*parts[0])
    for other in others:
        other.result()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@lru_cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1024, thread_name_prefix="attention")  # starts threads only when needed


@lru_cache
def _library(head_dim: int) -> ctypes.CDLL:
    """Load the library for a head width, after compiling it if it is not cached.

    Raises OSError, RuntimeError or SubprocessError.
    """
    command = [*shlex.split(os.environ.get("CC") or "cc"), *FLAGS, f"-DHEAD_DIM={head_dim}"]
    facts = "\n".join((SOURCE.read_text(encoding="utf-8"), *command, platform.machine(), _processor()))
    file = cache_folder() / f"attention-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.so"
    if not file.exists():
        _compile(command, file)
    library = ctypes.CDLL(str(file))
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.scratch_size.argtypes, library.scratch_size.restype = [number], ctypes.c_long
    library.forward.argtypes = [pointer, pointer, number, *[pointer] * 3, *[number] * 4]
    library.backward.argtypes = [*[pointer] * 3, number, *[pointer] * 4, *[number] * 4]
    library.forward.restype = library.backward.restype = None
    return library


def _compile(command: list[str], file: Path) -> None:
    """Compile to a temporary file first, because other processes may compile the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        target = Path(folder) / file.name
        command = [*command, str(SOURCE), "-o", str(target), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILATION_SECONDS)
        target.replace(file)


def _processor() -> str:
    """The processor's name and instructions: a library compiled for another one may crash here."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor()
