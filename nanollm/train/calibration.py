"""Calibration: resolve "auto" precision and threads by timing training steps, once per machine and model shape.

bf16 is up to twice as fast as float32 if the CPU has instructions for it and the model is wide enough, and slower
otherwise. A second thread speeds up wide models and slows down narrow ones. Only a measurement can tell.
"""

from __future__ import annotations

import itertools
import json
import os
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
from nanollm.train.device import available_cpus, device_name
from nanollm.train.optim import Optimizer
from nanollm.train.step import training_step

ROUNDS = 3
THREAD_SPEEDUP = 1.15  # required for using more threads, because the page and other runs need CPUs too


def resolve(model: ModelConfig, config: TrainConfig, device: torch.device | None = None) -> TrainConfig:
    """Return the config with "auto" replaced by the fastest precision and thread count for this model shape.

    The first call for a machine, torch version and shape runs a few training steps with each candidate; later calls
    read the cached result. Random states are not affected.
    """
    if "auto" not in (config.precision, config.threads):
        return config
    device = device or torch.device("cpu")
    key = cache_key(model, config, device)
    found = cached_results().get(key, {})
    if not _is_valid(found):
        found = _measure(model, config, device)
        _cache(key, found)
    return replace(config, precision=found["precision"], threads=found["threads"])


def cached_results() -> dict[str, dict]:
    """Return all cached results of this machine, by cache_key(). Empty if there is no readable cache file."""
    with suppress(RuntimeError):
        return read_json(_file())
    return {}


def _measure(model: ModelConfig, config: TrainConfig, device: torch.device) -> dict:
    """Time all candidates and return the best: {"precision", "threads", "seconds" per step}.

    The candidates are measured in alternation, so that a temporary load on the machine affects all of them.
    """
    precisions = ["float32", "bf16"] if config.precision == "auto" else [config.precision]
    counts = _thread_counts() if config.threads == "auto" and device.type == "cpu" else [_threads(config)]
    threads_before = torch.get_num_threads()
    seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            step = _stepper(model, config, device)
            for _ in range(ROUNDS):
                for candidate in itertools.product(precisions, counts):
                    torch.set_num_threads(candidate[1])
                    step(candidate[0])  # warm-up
                    seconds[candidate].append(step(candidate[0]))
    finally:
        torch.set_num_threads(threads_before)
    best = {candidate: min(times) for candidate, times in seconds.items()}
    # Among the candidates about as fast as the fastest, take the one with the fewest threads.
    good = [candidate for candidate, time in best.items() if time <= min(best.values()) * THREAD_SPEEDUP]
    precision, threads = min(good, key=lambda candidate: (candidate[1], best[candidate]))
    return {"precision": precision, "threads": threads, "seconds": round(best[precision, threads], 5)}


def _stepper(model: ModelConfig, config: TrainConfig, device: torch.device) -> Callable[[str], float]:
    """Return a function that trains a new model on random ids for one step and returns the seconds it took."""
    trained = TransformerLanguageModel.from_config(model).to(device).train()
    optimizer = Optimizer(trained, config)
    ids = torch.randint(model.vocab_size, (config.batch_size, model.context_length))

    def step(precision: str) -> float:
        started = time.perf_counter()
        loss, _ = training_step(trained, optimizer, ids, ids, 0, precision, micro_batches=config.accumulation_steps)
        loss.item()  # waits for a GPU
        return time.perf_counter() - started

    return step


def _thread_counts() -> list[int]:
    """Return the thread counts to try: powers of 2 up to the number of CPUs, and that number itself."""
    most = available_cpus()
    return sorted({min(most, 2**k) for k in range(most.bit_length() + 1)})


def _threads(config: TrainConfig) -> int:
    return available_cpus() if config.threads == "auto" else config.threads


def cache_key(model: ModelConfig, config: TrainConfig, device: torch.device) -> str:
    """Return a string with everything that determines the duration of a step."""
    shape = (model.vocab_size, model.embedding_dim, model.num_layers, model.ffn_hidden_dim, model.heads)
    similarity = "cosine" if model.qk_norm else "dot"  # as in the keys of earlier versions
    kind = (model.context_length, config.batch_size, bool(model.dropout), model.position, similarity)
    requested = (config.optimizer, config.precision, config.threads, config.accumulation_steps)
    where = device_name(device) if device.type == "cuda" else f"{device_name(device)} x{available_cpus()}"
    return " ".join(map(str, (where, torch.__version__, *shape, *kind, *requested)))


def _is_valid(found: object) -> bool:
    return (
        isinstance(found, dict)
        and found.get("precision") in ("float32", "bf16")
        and isinstance(found.get("threads"), int)
        and found["threads"] >= 1
    )


def _file() -> Path:
    """The cache file. Raises RuntimeError if the home folder is unknown; results are then not cached."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "nanollm" / "calibration.json"


def _cache(key: str, found: dict) -> None:
    """Cache a result. If that fails, the next run measures again."""
    with suppress(OSError, RuntimeError, Timeout):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), timeout=5):  # prevents lost updates
            write_atomic(file, json.dumps({**cached_results(), key: found}, indent=1).encode())
