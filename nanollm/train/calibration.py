"""Which arithmetic and how many threads train a model fastest on this machine: tried once, then remembered.

bf16 is up to twice as fast as float32 where the processor has instructions for it and the model is wide enough, and
slower where not; a second thread helps a wide model and hinders a narrow one. Nobody can tell beforehand.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from nanollm.config import ModelConfig, TrainConfig
from nanollm.files import read_json, write_atomic
from nanollm.model import TransformerLanguageModel
from nanollm.train.optim import Optimizer
from nanollm.train.step import training_step

ROUNDS = 3
WORTH_A_THREAD = 1.15  # more threads must be so much faster: the page and other runs want processors too


def resolve(model: ModelConfig, config: TrainConfig, device: torch.device | None = None) -> TrainConfig:
    """The config with "auto" replaced by what is fastest here for this shape. Changes no random state, no weight.

    Tried once for each machine, torch and shape (a few steps each way), then read from cached_results().
    """
    if "auto" not in (config.precision, config.threads):
        return config
    device = device or torch.device("cpu")
    key = cache_key(model, config, device)
    found = cached_results().get(key, {})
    if not _is_answer(found):
        found = _try(model, config, device)
        _remember(key, found)
    return replace(config, precision=found["precision"], threads=found["threads"])


def cached_results() -> dict[str, dict]:
    """What was found out so far on this machine; empty if there is no file, or none that can be read."""
    with suppress(RuntimeError):
        return read_json(_file())
    return {}


def _try(model: ModelConfig, config: TrainConfig, device: torch.device) -> dict:
    """Time every way that the config leaves open: {"precision", "threads", "seconds" of a step}.

    The ways take turns, so that a moment in which others want the processors does not decide against one of them.
    """
    precisions = ["float32", "bf16"] if config.precision == "auto" else [config.precision]
    counts = _thread_counts() if config.threads == "auto" and device.type == "cpu" else [_threads(config)]
    threads_before = torch.get_num_threads()
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            step = _stepper(model, config, device)
            for _ in range(ROUNDS):
                for way in itertools.product(precisions, counts):
                    torch.set_num_threads(way[1])
                    step(way[0])  # warms up
                    seconds[way].append(step(way[0]))
    finally:
        torch.set_num_threads(threads_before)
    best = {way: min(took) for way, took in seconds.items()}
    # Of the ways that are about as fast as the fastest, the one with the fewest threads.
    good = [way for way, took in best.items() if took <= min(best.values()) * WORTH_A_THREAD]
    precision, threads = min(good, key=lambda way: (way[1], best[way]))
    return {"precision": precision, "threads": threads, "seconds": round(best[precision, threads], 5)}


def _stepper(model: ModelConfig, config: TrainConfig, device: torch.device) -> Callable[[str], float]:
    """A model of its own that learns noise: each call takes a step in a precision, and tells the seconds it took."""
    trained = TransformerLanguageModel.from_config(model).to(device).train()
    optimizer = Optimizer(trained, config)
    ids = torch.randint(model.vocab_size, (config.batch_size, model.context_length))

    def step(precision: str) -> float:
        began = time.perf_counter()
        loss, _ = training_step(trained, optimizer, ids, ids, 0, precision, micro_batches=config.accumulation_steps)
        loss.item()  # a GPU has computed it only now
        return time.perf_counter() - began

    return step


def _thread_counts() -> list[int]:
    """1, 2, 4 … and as many as there are processors."""
    most = available_cpus()
    return sorted({min(most, 2**k) for k in range(most.bit_length() + 1)})


def _threads(config: TrainConfig) -> int:
    return available_cpus() if config.threads == "auto" else config.threads


def device_name(device: torch.device) -> str:
    """The name of what computes: the GPU's, or the processor's where the system tells it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def available_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_key(model: ModelConfig, config: TrainConfig, device: torch.device) -> str:
    """All that decides how long a step takes."""
    shape = (model.vocab_size, model.embedding_dim, model.num_layers, model.ffn_hidden_dim, model.heads)
    similarity = "cosine" if model.qk_norm else "dot"  # as in the keys of earlier versions
    kind = (model.context_length, config.batch_size, bool(model.dropout), model.position, similarity)
    asked = (config.optimizer, config.precision, config.threads, config.accumulation_steps)
    where = device_name(device) if device.type == "cuda" else f"{device_name(device)} x{available_cpus()}"
    return " ".join(map(str, (where, torch.__version__, *shape, *kind, *asked)))


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _is_answer(found: object) -> bool:
    return (
        isinstance(found, dict)
        and found.get("precision") in ("float32", "bf16")
        and isinstance(found.get("threads"), int)
        and found["threads"] >= 1
    )


def _file() -> Path:
    """Raises RuntimeError where nobody can tell whose home this is: nothing is remembered there."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "nanollm" / "calibration.json"


def _remember(key: str, found: dict) -> None:
    """Keep an answer; where the disk refuses, the next run tries again."""
    with suppress(OSError, RuntimeError, Timeout):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), timeout=5):  # or of two answers at once, one would be lost
            write_atomic(file, json.dumps({**cached_results(), key: found}, indent=1).encode())
