"""Guarantee B3: after SIGTERM a worker saves its state and exits within 10 s, leaving no zombie."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from nanollm.runs.process import liveness
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.record import Run
from nanollm.train.loop import TrainState
from tests.speed import assert_within, until


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_terminated_worker_saves_its_state_and_exits(
    make: Callable[..., Run], launcher: Launcher, times: int
) -> None:
    run, draw = (
        make(num_steps=1_000_000, log_interval=1, checkpoint_interval=1_000_000, eval_interval=300),
        random.Random(3),
    )
    launcher.start(run.id)
    for _ in range(times):
        before = run.status().step
        until(lambda before=before: run.status().state == "running" and run.status().step > before + 20)
        time.sleep(draw.uniform(0, 0.3))
        took, taken = end(run), run.status().step
        status = run.status()
        assert_within(took, 10)
        assert status.state == "paused"
        assert status.reason == "The worker process was terminated and saved its state first."
        newest = run.resume_files()[0]
        assert TrainState.load(newest, run.train_config).step == status.step >= taken - 1
        # Reaped by the process that started it.
        wait_until_reaped(launcher, liveness.owner_pid(run.folder))
        launcher.resume(run.id)
    end(run)


def test_a_worker_terminated_during_its_start_exits(make: Callable[..., Run], launcher: Launcher) -> None:
    run = make(num_steps=1_000_000)
    launcher.start(run.id)  # returns when the worker has locked the run, seconds before it has imported torch
    until(lambda: run.status().state == "running")
    assert run.events() == []
    assert_within(end(run), 10)
    assert run.status().state == "paused"
    wait_until_reaped(launcher, liveness.owner_pid(run.folder))


def end(run: Run) -> float:
    """Send SIGTERM to a run's worker and return the seconds until it released the run."""
    began = time.monotonic()
    os.kill(liveness.owner_pid(run.folder) or 0, signal.SIGTERM)
    until(lambda: not run.alive(), seconds=20)
    return time.monotonic() - began


def wait_until_reaped(launcher: Launcher, pid: int | None) -> None:
    """Wait until a process has ended and was reaped by its parent."""
    assert pid is not None

    def reaped() -> bool:
        launcher.advance()
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    until(reaped, seconds=5)
