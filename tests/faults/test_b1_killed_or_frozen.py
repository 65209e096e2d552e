"""Guarantee B1: a killed worker is reported as lost within 5 s and reaped; a hanging one as stalled within 30 s."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from nanollm.runs.process import liveness
from nanollm.runs.process.launcher import Launcher
from tests.speed import assert_within, until

LONG = {"num_steps": 1_000_000, "checkpoint_interval": 1_000, "eval_interval": 10_000}


def zombies() -> list[str]:
    """Return the names of child processes that ended and were not reaped."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if (state, parent) == ("Z", str(os.getpid())):
            found.append(name)
    return found


def test_a_killed_worker_is_lost_and_can_be_resumed(make, launcher: Launcher) -> None:
    run = make(**LONG)
    launcher.start(run.id)
    worker = liveness.owner_pid(run.folder)
    assert worker
    os.kill(worker, signal.SIGKILL)
    until(lambda: run.status().state in ("lost", "queued"), seconds=5)  # queued: killed before it wrote "running"
    launcher.advance()
    until(lambda: (launcher.advance(), not zombies())[1], seconds=5)
    assert run.status().state in ("lost", "queued", "running")
    if run.status().state == "lost":
        launcher.resume(run.id)
        assert run.status().active


def test_the_stall_limit_is_below_30_seconds() -> None:
    assert liveness.STALL_SECONDS + 2 * liveness.BEAT_SECONDS <= 30


@pytest.mark.long
def test_a_suspended_worker_is_stalled_within_30_seconds(make, launcher: Launcher) -> None:
    run = make(**LONG)
    launcher.start(run.id)
    until(lambda: run.status().step > 0)
    worker = liveness.owner_pid(run.folder)
    assert worker
    began = time.monotonic()
    os.kill(worker, signal.SIGSTOP)
    try:
        until(lambda: run.status().state == "stalled", seconds=40)
        assert_within(time.monotonic() - began, 30)
    finally:
        os.kill(worker, signal.SIGCONT)
    until(lambda: run.status().state == "running", seconds=10)
