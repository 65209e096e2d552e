"""aside.py: what is found out aside is asked for again where it failed, and never beside a training."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from nanollm.config import PRESETS
from nanollm.corpus import CorpusStore
from nanollm.runs.liveness import Pulse
from nanollm.runs.store import RunStore
from playground import aside
from playground.aside import Counts, Pace
from tests.run_folders import make
from tests.speed import until

SECONDS = 120.0
# In place of the real measuring, which takes seconds: what it prints, and how it ends.
TELLS = "print('{\"sprint\": 0.25}', flush=True); print('{\"nano\": 0.5}', flush=True)"
STAYS = f"{TELLS}; import time; time.sleep(600)"


@pytest.fixture
def pace(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pace]:
    monkeypatch.setattr(aside, "STAYS_SECONDS", 0.0)
    pace = Pace(store)
    yield pace
    pace.give_way()


def measures(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(aside, "measuring", lambda vocab_size: [sys.executable, "-c", program])


def test_whoever_goes_on_asking_hears_the_paces_as_they_are_measured(pace: Pace, monkeypatch) -> None:
    measures(monkeypatch, TELLS)
    assert pace.lacks(65) == "measuring"
    until(lambda: pace.get(65) == {"sprint": 0.25, "nano": 0.5})
    until(lambda: pace._known[65].finished)
    assert pace.lacks(65) == ""
    pace.get(65)
    assert pace._process.poll() is not None  # all is known: nothing is measured again


def test_nothing_is_measured_beside_a_training(pace: Pace, store: RunStore, monkeypatch) -> None:
    measures(monkeypatch, STAYS)
    run = make(store)
    with Pulse(run.folder):
        assert pace.get(65) == {} and pace._process is None and pace.lacks(65) == "training"
    pace.get(65)
    until(lambda: pace.get(65) != {})
    with Pulse(run.folder):  # started from anywhere: the next who asks sees it
        pace.get(65)
        until(lambda: pace._process.poll() is not None)
    assert not pace._known[65].finished


def test_who_starts_a_training_ends_the_measuring_and_it_is_taken_up_later(pace: Pace, monkeypatch) -> None:
    measures(monkeypatch, STAYS)
    pace.get(65)
    until(lambda: len(pace.get(65)) == 2)
    pace.give_way()
    until(lambda: pace._process.poll() is not None)
    first = pace._process
    pace.get(65)
    assert pace._process is not first and pace._process.poll() is None


def test_measuring_that_crashed_does_not_count_as_done_and_is_not_tried_in_a_hurry(pace: Pace, monkeypatch) -> None:
    measures(monkeypatch, "raise SystemExit(1)")
    pace.get(65)
    crashed = pace._process
    until(lambda: pace._known[65].asked > time.monotonic())
    pace.get(65)
    assert pace._process is crashed and not pace._known[65].finished


@pytest.mark.long
def test_the_real_measuring_tells_every_preset(pace: Pace) -> None:
    pace.get(65)
    process = pace._process
    assert process is not None
    process.wait(timeout=600)
    until(lambda: pace._known[65].finished)
    assert pace.get(65).keys() == PRESETS.keys() and all(seconds > 0 for seconds in pace.get(65).values())


def test_counting_that_failed_is_tried_again(corpora: CorpusStore, monkeypatch) -> None:
    counts, sha256 = Counts(corpora), corpora.list()[0].sha256

    def refuse(*_: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(corpora, "baselines", refuse)
        assert counts.get(sha256, patience=SECONDS) is None
    assert counts.get(sha256, patience=SECONDS) == corpora.baselines(sha256)
