"""Workers where others need the machine, too: they step back, end in time, and make room when the server must go."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanollm.corpus import CorpusStore
from nanollm.runs import liveness
from nanollm.runs.control import Interrupted, Wishes
from nanollm.runs.launcher import Launcher
from nanollm.runs.record import Run
from nanollm.runs.store import CorpusRef, RunStore
from tests.faults.conftest import TINY, until
from tests.speed import within


@pytest.fixture
def polite(store: RunStore, corpora: CorpusStore) -> Iterator[Callable[..., Launcher]]:
    """Makes launchers of real workers on terms. What they leave running is ended by their own handles."""
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


def test_after_its_seconds_a_run_stops_and_keeps_what_it_learned(polite, long_run: Run) -> None:
    polite(nice=7, run_seconds=1).start(long_run.id)
    worker = liveness.owner(long_run.folder)
    assert worker and os.getpriority(os.PRIO_PROCESS, worker) == 7
    until(lambda: long_run.status().state == "stopped")
    status = long_run.status()
    assert status.reason == "Its 1 s were over." and status.step > 0
    assert long_run.snapshot().step == status.step and long_run.resume_files()


def test_a_server_that_must_go_saves_the_run_and_the_next_goes_on_by_itself(
    store: RunStore, polite, long_run: Run
) -> None:
    waiting = store.create(settings=TINY, corpus=CorpusRef(**long_run.corpus))
    launcher = polite()
    launcher.start(long_run.id)
    until(lambda: long_run.status().step > 100)
    with within(10):
        launcher.suspend()
    assert not long_run.alive()
    status = long_run.status()
    assert (status.state, store.queue()) == ("queued", [long_run.id, waiting.id])
    assert int(long_run.resume_files()[0].stem[-8:]) == status.step > 100  # not a step is lost
    following = polite()
    following.advance()
    until(lambda: long_run.status().state == "running" and long_run.status().step > status.step)
    # A server that found it in training cannot signal it, but is obeyed all the same: and nobody else's turn begins.
    polite().suspend()
    assert following._children[0].wait(120) == 0
    assert (long_run.status().state, store.queue()) == ("queued", [long_run.id, waiting.id])
    steps = [event.step for event in long_run.events() if type(event).__name__ == "Step"]
    assert steps == sorted(set(steps))


def test_without_a_limit_there_is_no_deadline(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    for seconds, over in ((None, False), (3600, False), (-1, True)):
        wishes = Wishes(tmp_path, seconds)
        if over:
            with pytest.raises(Interrupted, match="stop"):
                wishes.check()
        else:
            wishes.check()
        assert wishes.overdue is over
