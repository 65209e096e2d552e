"""Guarantee B8: a process id on disk is not trusted; a process that reuses the id is not killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from nanollm.runs import run_files
from nanollm.runs.process import liveness
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.record import Run, write_status
from nanollm.runs.store import RunStore
from tests.run_folders import make


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        assert process.poll() is None, "it was ended for a number on disk"
        process.kill()


def died(store: RunStore, bystander: subprocess.Popen, beat: float) -> Run:
    """A run whose worker has died, with the process id of another live process in its heartbeat."""
    run = make(store)
    write_status(run.folder, "running", step=0)
    (run.folder / run_files.HEARTBEAT).write_text(f"{beat} {bystander.pid}\n")
    return run


@pytest.mark.parametrize("beat", [0.0, 1e12], ids=["long ago", "just now"])
@pytest.mark.parametrize("ask", ["stop", "pause", "resume"])
def test_a_dead_worker_is_lost_whoever_has_its_number(store, bystander, monkeypatch, ask: str, beat: float) -> None:
    run, launcher = died(store, bystander, beat), Launcher(store)
    assert run.status().state == "lost"
    monkeypatch.setattr(Launcher, "advance", lambda *_: None)  # start no worker
    getattr(launcher, ask)(run.id)
    assert run.status().state in ("stopped", "paused", "queued")
    launcher.suspend(0.1)


def test_a_stalled_worker_that_is_not_our_child_is_only_asked(store, bystander, monkeypatch) -> None:
    run, launcher = died(store, bystander, 0.0), Launcher(store, run_seconds=1)
    monkeypatch.setattr(liveness, "seconds_since_heartbeat", lambda folder: 3600.0)
    with liveness.Heartbeat(run.folder):
        (run.folder / run_files.HEARTBEAT).write_text(f"0.0 {bystander.pid}\n")
        launcher.advance()
        launcher.stop(run.id)
        launcher.suspend(0.1)
        assert run.status().state == "stalled" and list((run.folder / run_files.CONTROL).iterdir())
