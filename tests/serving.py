"""Start the page in a separate process, like `python app.py` does, with a home folder of the test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanollm.runs.process import liveness
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.store import RunStore
from tests.conftest import ROOT

READY_SECONDS = 300.0  # after this, the start counts as failed


@dataclass
class Page:
    """A running page: its address, home folder, start-up time in seconds, output lines and process."""

    address: str
    home: Path
    startup_seconds: float
    output: list[str]
    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def store(self) -> RunStore:
        return RunStore(self.home / "checkpoints")


@contextmanager
def serve(home: Path, *, public: bool = False, env: Mapping[str, str] | None = None) -> Iterator[Page]:
    """Start the page on a free port; afterwards end it and all training in its home folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRADIO_SERVER")}
    environment |= {"NANOLLM_HOME": str(home), "GRADIO_SERVER_NAME": "127.0.0.1"}
    environment |= {"NANOLLM_PUBLIC": "1" if public else "0"} | dict(env or {})
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output: list[str] = []
    threading.Thread(target=lambda: output.extend(process.stdout), daemon=True).start()
    try:
        address = _address(process, output, began + READY_SECONDS)
        yield Page(address, home, time.monotonic() - began, output, process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        end_all(home)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A local page with an empty home folder, for the tests of one module."""
    with serve(tmp_path_factory.mktemp("home")) as page:
        yield page


def _address(process: subprocess.Popen[str], output: list[str], deadline: float) -> str:
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://\S+", "".join(output))
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"the page did not start: {''.join(output)}")


def end_all(home: Path) -> None:
    """Stop all runs of a home folder, because workers keep running after the page has ended."""
    store = RunStore(home / "checkpoints")
    launcher = Launcher(store, home / "data" / "corpora")
    active = [run for run in store.list() if run.status().active]
    for run in sorted(active, key=lambda run: run.alive()):  # queued runs first, so that none of them starts
        launcher.stop(run.id)
    deadline = time.monotonic() + 30
    while (left := [run for run in store.list() if run.alive()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for run in left:  # workers that did not stop in time
        if run.alive() and (worker := liveness.owner_pid(run.folder)):
            os.kill(worker, signal.SIGKILL)
