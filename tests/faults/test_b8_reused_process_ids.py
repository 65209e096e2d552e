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
        assert process.poll() is None, "a process was killed because its id was in a file"
        process.kill()


def dead_run(store: RunStore, bystander: subprocess.Popen, heartbeat_time: float) -> Run:
    """Return a run whose worker has ended, with the id of another live process in its heartbeat."""
    run = make(store)
    write_status(run.folder, "running", step=0)
    (run.folder / run_files.HEARTBEAT).write_text(f"{heartbeat_time} {bystander.pid}\n")
    return run


@pytest.mark.parametrize("heartbeat_time", [0.0, 1e12], ids=["long ago", "just now"])
@pytest.mark.parametrize("request_name", ["stop", "pause", "resume"])
def test_a_dead_worker_is_lost_even_if_its_process_id_is_reused(
    store, bystander, monkeypatch, request_name: str, heartbeat_time: float
) -> None:
    run, launcher = dead_run(store, bystander, heartbeat_time), Launcher(store)
    assert run.status().state == "lost"
    monkeypatch.setattr(Launcher, "advance", lambda *_: None)  # start no worker
    getattr(launcher, request_name)(run.id)
    assert run.status().state in ("stopped", "paused", "queued")
    launcher.suspend(0.1)


def test_a_stalled_worker_of_another_server_is_not_killed(store, bystander, monkeypatch) -> None:
    run, launcher = dead_run(store, bystander, 0.0), Launcher(store, run_seconds=1)
    monkeypatch.setattr(liveness, "seconds_since_heartbeat", lambda folder: 3600.0)
    with liveness.Heartbeat(run.folder):
        (run.folder / run_files.HEARTBEAT).write_text(f"0.0 {bystander.pid}\n")
        launcher.advance()
        launcher.stop(run.id)
        launcher.suspend(0.1)
        assert run.status().state == "stalled" and list((run.folder / run_files.CONTROL).iterdir())
