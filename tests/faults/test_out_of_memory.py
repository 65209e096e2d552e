"""FAULTS B5: a run that memory has no room for fails alone, in one sentence; the next in the queue is trained."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nanollm import memory
from nanollm.corpus import CorpusStore
from nanollm.runs import folder as names
from nanollm.runs import launcher as launcher_module
from nanollm.runs.launcher import Launcher, worker_command
from nanollm.runs.record import Run
from nanollm.runs.worker import work
from tests.faults.conftest import until

# Trains as the worker does, with so many bytes of address space (torch alone takes two thirds of what is given).
LIMITED = """
import resource, runpy, sys
most = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
sys.argv[1:] = sys.argv[2:]
runpy.run_module("nanollm.runs.worker", run_name="__main__")
"""


def test_b5_a_machine_with_less_memory_than_the_run_was_made_on(
    make: Callable[..., Run], corpora: CorpusStore, monkeypatch
) -> None:
    run = make()
    with monkeypatch.context() as patch:
        patch.setattr(memory, "available_bytes", lambda: 50_000_000)
        status = work(run, corpora.root)
    assert (status.state, status.step) == ("failed", 0) and run.events() == []
    assert status.reason.startswith("This model would need about 0.1 GB to train, and 50 MB are free: choose")
    assert work(run, corpora.root).state == "completed"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what a process needs is read from /proc")
def test_b5_it_fails_alone(make: Callable[..., Run], launcher: Launcher, monkeypatch) -> None:
    room = 2 * 2**30

    def limited(folder: Path, corpora: Path) -> list[str]:
        return [sys.executable, "-c", LIMITED, str(room), *worker_command(folder, corpora)[3:]]

    monkeypatch.setattr(launcher_module, "worker_command", limited)
    large = make(context_length=1024, batch_size=1536)
    small = make()
    launcher.start(large.id)
    until(lambda: large.status().state == "failed" and not large.alive())
    assert large.status().reason == "There was not enough memory: choose a smaller batch_size or a smaller model."
    log = (large.folder / names.LOG).read_text()
    assert "Traceback" in log and "allocate" in log  # for developers
    assert large.status().step == 0
    launcher.watch()  # the large one's process has gone on to the small one by itself; if it had died, this would
    until(lambda: small.status().state == "completed" and not small.alive())
