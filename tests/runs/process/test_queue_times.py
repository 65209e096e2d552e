"""queue_times.py: waiting times from the measured speed of the current run."""

from __future__ import annotations

import pytest

from nanollm.config import make_configs, preset
from nanollm.limits import PUBLIC, estimated_seconds
from nanollm.runs.process.liveness import Heartbeat
from nanollm.runs.process.queue_times import estimated_wait, queue_seconds_ahead
from nanollm.runs.record import write_status
from nanollm.runs.store import RunStore
from nanollm.train.workload import run_seconds
from tests.run_folders import TALE, make, step, write


def test_the_wait_sums_the_remaining_time_and_the_runs_ahead(store: RunStore) -> None:
    training, second, third = (make(store, num_steps=1000) for _ in range(3))
    assert estimated_wait(store, second.id) is None  # no run is training yet
    write_status(training.folder, "running", step=0)
    with Heartbeat(training.folder):
        assert estimated_wait(store, second.id) is None  # no measured speed yet
        characters = training.train_config.batch_size * training.model_config.context_length
        first = step(100, seconds=10.0)
        write(training, type(first)(**{**vars(first), "tokens_per_second": characters / 0.1}))
        assert estimated_wait(store, second.id) == pytest.approx(90)
        whole = run_seconds(0.1, second.model_config, second.train_config, TALE.characters)
        assert estimated_wait(store, third.id) == pytest.approx(90 + whole)
        assert 100 < whole < 115  # 1,000 steps, evaluating a short text 38 times, and the start of the process
        assert estimated_wait(store, training.id) is None


def test_a_larger_model_ahead_increases_the_wait(store: RunStore) -> None:
    training, large, last = make(store), make(store, embedding_dim=64), make(store)
    write_status(training.folder, "running", step=0)
    with Heartbeat(training.folder):
        write(training, step(500))
        ratio = large.model_config.flops_per_character / training.model_config.flops_per_character
        ahead = [estimated_wait(store, run.id) for run in (large, last)]
        assert ratio > 2 and None not in ahead and ahead[1] > ahead[0]


def test_an_unreadable_run_adds_no_waiting_time(store: RunStore) -> None:
    training, broken, last = make(store), make(store), make(store)
    write_status(training.folder, "running", step=0)
    with Heartbeat(training.folder):
        write(training, step(500))
        wait, line = estimated_wait(store, last.id), queue_seconds_ahead(store)
        (broken.folder / "run.json").write_text("{")
        assert store.queue() == [broken.id, last.id]
        assert 0 < estimated_wait(store, last.id) < wait and 0 < queue_seconds_ahead(store) < line


def test_the_public_limits_admit_25_sprint_runs_but_no_medium_run(store: RunStore) -> None:
    sprints = [store.create(settings={}, corpus=TALE, preset="sprint", owner=f"{n:064}") for n in range(25)]
    assert 0 < queue_seconds_ahead(store) < PUBLIC.queue_seconds
    waits = [sum(estimated_seconds(r.model_config, r.train_config) for r in sprints[:n]) for n in range(26)]
    assert queue_seconds_ahead(store) == pytest.approx(waits[25]) and waits == sorted(waits)
    for name, fits in (("sprint", True), ("nano", True), ("small", True), ("medium", False)):
        assert (estimated_seconds(*make_configs(preset(name), 65)) <= PUBLIC.run_seconds) is fits
