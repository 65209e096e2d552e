"""A fake worker that locks a run and waits without importing torch, for tests of queue and liveness."""

from __future__ import annotations

import sys

import pytest

from nanollm.runs.process import launcher

# A worker without training: locks the run, appends to a list, obeys requests, and completes if the run says so.
FAKE_WORKER = """
import sys, time
from pathlib import Path
from filelock import Timeout
from nanollm.runs.process.liveness import Heartbeat
from nanollm.runs.record import Run, write_status
folder = Path(sys.argv[1])
try:
    with Heartbeat(folder) as heartbeat:
        if Run.open(folder).status().state != "queued":
            sys.exit(2)
        with open(folder.parent / "owners.txt", "a") as owners:
            owners.write(folder.name + "\\n")
        write_status(folder, "running", step=0)
        while not (requests := sorted(path.name for path in (folder / "control").iterdir())):
            heartbeat.record_progress()
            time.sleep(0.01)
        write_status(folder, {"pause": "paused", "stop": "stopped", "finish": "completed"}[requests[0]], step=7)
        (folder / "control" / requests[0]).unlink()
except Timeout:
    sys.exit(2)
"""


def replace_worker(monkeypatch: pytest.MonkeyPatch, program: str = FAKE_WORKER) -> None:
    """Let every launcher of this process start this program instead of the worker."""
    monkeypatch.setattr(
        launcher, "worker_command", lambda folder, corpora: [sys.executable, "-c", program, str(folder)]
    )
