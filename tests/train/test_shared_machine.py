"""Workers on a shared machine: low priority, time limits, and saving when the server is terminated."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.runs.process import liveness
from nanollm.runs.process.control import ControlRequests, Interrupted
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.record import Run
from nanollm.runs.store import CorpusRef, RunStore
from tests.speed import until, within
from tests.tiny_runs import TINY


@pytest.fixture
def make_launcher(store: RunStore, corpora: CorpusStore) -> Iterator[Callable[..., Launcher]]:
    """Create launchers of real workers with limits; running workers are ended afterwards."""
    made: list[Launcher] = []

    def launcher(**terms) -> Launcher:
        made.append(Launcher(store, corpora.root, **terms))
        return made[-1]

    yield launcher
    for one in made:
        one.close()
        for child in one._children:
            child.kill()
            child.wait()


@pytest.fixture
def long_run(store: RunStore, corpora: CorpusStore, text: str) -> Run:
    corpus = corpora.add_text(text[:3000], "tale.txt")
    settings = {**TINY, "num_steps": 1_000_000, "checkpoint_interval": 1_000, "eval_interval": 10_000}
    return store.create(settings=settings, corpus=corpus)


def test_a_run_stops_at_its_time_limit_and_keeps_its_snapshots(make_launcher, long_run: Run) -> None:
    make_launcher(nice=7, run_seconds=1).start(long_run.id)
    worker = liveness.owner_pid(long_run.folder)
    assert worker and os.getpriority(os.PRIO_PROCESS, worker) == 7
    until(lambda: long_run.status().state == "stopped")
    status = long_run.status()
    assert status.reason == "The time limit of 1 s was reached." and status.step > 0
    assert long_run.snapshot().step == status.step and long_run.resume_files()


def test_a_terminated_server_saves_the_run_and_the_next_resumes_it(
    store: RunStore, make_launcher, long_run: Run
) -> None:
    waiting = store.create(settings=TINY, corpus=CorpusRef(**long_run.corpus))
    launcher = make_launcher()
    launcher.start(long_run.id)
    until(lambda: long_run.status().step > 100)
    with within(10):
        launcher.suspend()
    assert not long_run.alive()
    status = long_run.status()
    assert (status.state, store.queue()) == ("queued", [long_run.id, waiting.id])
    assert int(long_run.resume_files()[0].stem[-8:]) == status.step > 100  # no step is lost
    second = make_launcher()
    second.advance()
    until(lambda: long_run.status().state == "running" and long_run.status().step > status.step)
    # This server did not start the worker and cannot signal it, but suspends it through its run folder.
    make_launcher().suspend()
    assert second._children[0].wait(120) == 0
    assert (long_run.status().state, store.queue()) == ("queued", [long_run.id, waiting.id])
    steps = [event.step for event in long_run.events() if type(event).__name__ == "Step"]
    assert steps == sorted(set(steps))


def test_without_a_limit_there_is_no_deadline(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    for seconds, over in ((None, False), (3600, False), (-1, True)):
        requests = ControlRequests(tmp_path, seconds)
        if over:
            with pytest.raises(Interrupted, match="stop"):
                requests.check()
        else:
            requests.check()
        assert requests.time_limit_reached is over
