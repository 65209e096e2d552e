"""Calibration: resolve "auto" precision and threads by timing training steps, once per machine and model shape.

bf16 is up to twice as fast as float32 if the CPU has instructions for it and the model is wide enough, and slower
otherwise. A second thread speeds up wide models and slows down narrow ones. Only a measurement can tell.

On CPUs, a step is timed by the CPU time of the thread that runs it, not by the clock. That thread does an equal share
of the work, so on an idle machine both agree; but the CPU time hardly changes if other processes occupy the cores, and
so the result does not depend on what else runs at the time of the measurement.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock, Timeout

from nanollm.config import ModelConfig, TrainConfig
from nanollm.files import cache_folder, read_json, write_atomic
from nanollm.model import TransformerLanguageModel
from nanollm.train.compiled_attention import choose_kernel, use_kernel
from nanollm.train.device import available_cpus, bf16_supported, device_name
from nanollm.train.optim import Optimizer
from nanollm.train.step import training_step

THREAD_SPEEDUP = 1.15  # required for using more threads, because the page and other runs need CPUs too
MAX_SECONDS, MAX_SHARE = 3.0, 0.05  # duration of a calibration: seconds, or this share of the run if that is longer
ROUNDS = 2  # timed steps per candidate after the first, if the duration permits
HOPELESS = 2.0  # a candidate whose first step takes this many times as long as the fastest is not timed again


class Progress(NamedTuple):
    """Progress of a calibration: steps timed so far, and the most that may be timed."""

    done: int
    most: int


def resolve(model: ModelConfig, config: TrainConfig, device: torch.device | None = None) -> TrainConfig:
    """Return the config with "auto" replaced by the fastest precision, threads and kernel for this model shape.

    The first call for a machine, torch version and shape runs a few training steps with each candidate; later calls
    read the cached result. Random states are not affected.
    """
    steps = resolve_stepwise(model, config, device)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def resolve_stepwise(
    model: ModelConfig, config: TrainConfig, device: torch.device | None = None
) -> Generator[Progress, None, TrainConfig]:
    """Like resolve(), as a generator that yields after every timed step, so that the caller can report or stop it."""
    device = device or torch.device("cpu")
    config = replace(config, attention_kernel=choose_kernel(model, config, device))
    if "auto" not in (config.precision, config.threads):
        return config
    key = cache_key(model, config, device)
    found = cached_results().get(key, {})
    if not _is_valid(found):
        found = yield from _measure(model, config, device)
        _cache(key, found)
    kernel = "pytorch" if found["precision"] == "bf16" else config.attention_kernel  # the compiled one is float32 only
    return replace(config, precision=found["precision"], threads=found["threads"], attention_kernel=kernel)


def cached_results() -> dict[str, dict]:
    """Return all cached results of this machine, by cache_key(). Empty if there is no readable cache file."""
    with suppress(RuntimeError):
        return read_json(_file())
    return {}


def _measure(model: ModelConfig, config: TrainConfig, device: torch.device) -> Generator[Progress, None, dict]:
    """Time the candidates and return the best: {"precision", "threads", "seconds" per step}.

    Threads are doubled until that is no longer worthwhile.
    """
    precisions = _precisions(config, device)
    counts = _thread_counts() if config.threads == "auto" and device.type == "cpu" else [_threads(config)]
    timing = _Timing(model, config, device, candidates=len(precisions) * len(counts))
    threads, fastest = counts[0], math.inf
    for count in counts:
        for precision in precisions:
            yield from timing.measure(precision, count)
        best = min(timing.seconds[precision, count] for precision in precisions)
        if best * THREAD_SPEEDUP > fastest:
            break
        threads, fastest = count, best
    precision = min(precisions, key=lambda precision: timing.seconds[precision, threads])
    return {"precision": precision, "threads": threads, "seconds": round(fastest, 5)}


class _Timing:
    """Times training steps on random ids, with one new model for all candidates."""

    def __init__(self, model: ModelConfig, config: TrainConfig, device: torch.device, candidates: int) -> None:
        self.seconds: dict[tuple[str, int], float] = {}  # the fastest step of each candidate
        self._config, self._device, self._candidates = config, device, candidates
        self._clock = time.perf_counter if device.type == "cuda" else time.thread_time
        self._done = 0
        with self._isolated(torch.get_num_threads()):
            self._model = TransformerLanguageModel.from_config(model).to(device).train()
            use_kernel(self._model, config.attention_kernel)
            self._optimizer = Optimizer(self._model, config)
            self._ids = torch.randint(model.vocab_size, (config.batch_size, model.context_length))

    def measure(self, precision: str, threads: int) -> Iterator[Progress]:
        """Time one candidate. The first step also warms up: it counts only if there is no time for others."""
        began = time.perf_counter()
        first = fastest = self._step(precision, threads)
        yield self._progress()
        first_elapsed = time.perf_counter() - began
        known = min(self.seconds.values(), default=first)
        allowed = max(MAX_SECONDS, MAX_SHARE * known * self._config.num_steps) / self._candidates
        repeats = 0 if first > HOPELESS * known else min(ROUNDS, int(allowed / first_elapsed) - 1)
        for _ in range(repeats):
            fastest = min(fastest, self._step(precision, threads))
            yield self._progress()
        self.seconds[precision, threads] = fastest

    def _step(self, precision: str, threads: int) -> float:
        with self._isolated(threads):
            began = self._clock()
            loss, _ = training_step(
                self._model, self._optimizer, self._ids, self._ids, 0, precision,
                micro_batches=self._config.accumulation_steps,
            )  # fmt: skip
            loss.item()  # waits for a GPU
            return self._clock() - began

    def _progress(self) -> Progress:
        self._done += 1
        return Progress(self._done, self._candidates * (1 + ROUNDS))

    @contextmanager
    def _isolated(self, threads: int) -> Iterator[None]:
        """Within the context, use this many threads; afterwards, random state and threads are as before."""
        threads_before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
                yield
        finally:
            torch.set_num_threads(threads_before)


def _precisions(config: TrainConfig, device: torch.device) -> list[str]:
    """The precisions to try. Without bf16 instructions, a step in bf16 may take ten times as long as in float32."""
    if config.precision != "auto":
        return [config.precision]
    return ["float32", "bf16"] if bf16_supported(device) else ["float32"]


def _thread_counts() -> list[int]:
    """Return the thread counts to try, ascending: powers of 2 up to the number of CPUs, and that number itself."""
    most = available_cpus()
    return sorted({min(most, 2**k) for k in range(most.bit_length() + 1)})


def _threads(config: TrainConfig) -> int:
    return available_cpus() if config.threads == "auto" else config.threads


def cache_key(model: ModelConfig, config: TrainConfig, device: torch.device) -> str:
    """Return a string with everything that determines the duration of a step."""
    shape = (model.vocab_size, model.embedding_dim, model.num_layers, model.ffn_hidden_dim, model.heads)
    similarity = "cosine" if model.qk_norm else "dot"  # as in the keys of earlier versions
    kind = (model.context_length, config.batch_size, bool(model.dropout), model.position, similarity)
    kernel = choose_kernel(model, config, device)
    requested = (config.optimizer, config.precision, config.threads, config.accumulation_steps, kernel)
    where = device_name(device) if device.type == "cuda" else f"{device_name(device)} x{available_cpus()}"
    return " ".join(map(str, (where, torch.__version__, *shape, *kind, *requested, "cpu-time")))


def _is_valid(found: object) -> bool:
    return (
        isinstance(found, dict)
        and found.get("precision") in ("float32", "bf16")
        and isinstance(found.get("threads"), int)
        and found["threads"] >= 1
    )


def _file() -> Path:
    """The cache file. Raises RuntimeError if the home folder is unknown; results are then not cached."""
    return cache_folder() / "calibration.json"


def _cache(key: str, found: dict) -> None:
    """Cache a result. If that fails, the next run measures again."""
    with suppress(OSError, RuntimeError, Timeout):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock"), timeout=5):  # prevents lost updates
            write_atomic(file, json.dumps({**cached_results(), key: found}, indent=1).encode())
