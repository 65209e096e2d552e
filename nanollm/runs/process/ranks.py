"""Data-parallel training of one run: rank 0 owns the run folder, the other ranks only compute.

Rank 0 broadcasts the settings, the token ids of the text and the initial state (as a resume file: with a digest, no
pickle), so the other ranks need neither the text nor the run folder and may run on other machines.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nanollm.config import ModelConfig, TrainConfig, to_dict
from nanollm.data.dataset import Dataset
from nanollm.errors import PeerLostError
from nanollm.runs.process.control import GRACE_SECONDS, Interrupted
from nanollm.train.calibration import resolve
from nanollm.train.device import available_cpus, best_device, random_state
from nanollm.train.distributed import SINGLE_PROCESS, Ranks, local_world_size
from nanollm.train.events import Checkpoint
from nanollm.train.loop import TrainState, final_evaluation, measure_losses, train

_REQUESTS = ("", "pause", "stop")  # by priority, highest last


def broadcast_run(state: TrainState, config: TrainConfig, ids: np.ndarray, resume_file: Path | None) -> None:
    """Broadcast the run to the other ranks. `resume_file` is what `state` was loaded from; None for a new state."""
    if state.ranks == SINGLE_PROCESS:
        return
    with tempfile.TemporaryDirectory() as folder:
        if resume_file is None:
            resume_file = Path(folder) / "state.safetensors"
            replace(state, ranks=SINGLE_PROCESS).save(
                resume_file
            )  # the other ranks derive their random states from the seed
        facts = {"config": to_dict(config), "dtype": ids.dtype.str}
        for content in (json.dumps(facts).encode(), ids.tobytes(), resume_file.read_bytes()):
            state.ranks.broadcast_bytes(content)


def shared_settings(model: ModelConfig, config: TrainConfig) -> TrainConfig:
    """The config with "auto" resolved for all ranks; threads are limited to the processors per rank."""
    threads = max(1, available_cpus() // local_world_size()) if config.threads == "auto" else config.threads
    return resolve(model, replace(config, threads=threads), best_device())


def follow(ranks: Ranks) -> int:
    """Train as a rank other than 0 until the run ends or is interrupted; returns the exit status."""
    terminated = threading.Event()

    def on_signal(*_: Any) -> None:
        terminated.set()
        threading.Timer(GRACE_SECONDS, os._exit, [1]).start()

    def between_steps() -> None:
        if terminated.is_set():
            raise Interrupted("pause")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        _follow(ranks, between_steps)
    except PeerLostError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _follow(ranks: Ranks, between_steps: Callable[[], None]) -> None:
    facts, ids = json.loads(ranks.broadcast_bytes()), ranks.broadcast_bytes()
    config = TrainConfig(**facts["config"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        path.write_bytes(ranks.broadcast_bytes())
        state = TrainState.load(path, config, best_device(), ranks)
    data = Dataset.from_ids(np.frombuffer(ids, facts["dtype"]), config.validation_fraction)
    data = data.with_hook(synchronized(state, config.log_interval, between_steps))
    try:
        for event in train(state, data, config):
            if isinstance(event, Checkpoint) and event.kind == "resume":
                state.gather_random_states()
    except Interrupted as interrupted:
        if state.step and state.is_finite():  # rank 0 saves and evaluates now, which needs all ranks
            state.global_random = random_state(state.loss_sum.device)
            state.gather_random_states()
            if interrupted.request == "stop":
                measure_losses(state, data, config)
                list(final_evaluation(state, data, config))


def synchronized(state: TrainState, interval: int, between_steps: Callable[[], None]) -> Callable[[], None]:
    """Wrap `between_steps`: a request to one rank interrupts all ranks at the same multiple of `interval`."""
    if state.ranks == SINGLE_PROCESS:
        return between_steps
    request = ""

    def check() -> None:
        nonlocal request
        try:
            between_steps()
        except Interrupted as interrupted:
            request = interrupted.request
        if state.step % interval == 0:
            common = _REQUESTS[state.ranks.all_reduce_max(_REQUESTS.index(request))]
            if common:
                raise Interrupted(common)

    return check
