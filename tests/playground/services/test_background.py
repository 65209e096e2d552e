"""Background jobs: failed jobs are retried, and nothing is measured while a training runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from nanollm.config import PRESETS
from nanollm.data.corpus import CorpusStore
from nanollm.runs.process.liveness import Heartbeat
from nanollm.runs.store import RunStore
from playground.services import background
from playground.services.background import BaselineJobs, StepTimeJobs
from tests.run_folders import make
from tests.speed import until

TIMEOUT = 120.0  # seconds
# Replaces the real measurement, which takes seconds.
PRINTS_TIMES = "print('{\"sprint\": 0.25}', flush=True); print('{\"nano\": 0.5}', flush=True)"
SLOW = f"{PRINTS_TIMES}; import time; time.sleep(600)"


@pytest.fixture
def step_times(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepTimeJobs]:
    monkeypatch.setattr(background, "START_DELAY", 0.0)
    step_times = StepTimeJobs(store)
    yield step_times
    step_times.stop()


def replace_measurement(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(background, "measure_command", lambda vocab_size: [sys.executable, "-c", program])


def test_repeated_calls_return_the_times_as_they_are_measured(step_times: StepTimeJobs, monkeypatch) -> None:
    replace_measurement(monkeypatch, PRINTS_TIMES)
    assert step_times.pending(65) == "measuring"
    until(lambda: step_times.get(65) == {"sprint": 0.25, "nano": 0.5})
    until(lambda: step_times._known[65].finished)
    assert step_times.pending(65) == ""
    process = step_times._process
    step_times.get(65)
    assert step_times._process is process  # all times are known, so nothing is measured again


def test_nothing_is_measured_while_a_run_trains(step_times: StepTimeJobs, store: RunStore, monkeypatch) -> None:
    replace_measurement(monkeypatch, SLOW)
    run = make(store)
    with Heartbeat(run.folder):
        assert step_times.get(65) == {} and step_times._process is None and step_times.pending(65) == "training"
    step_times.get(65)
    until(lambda: step_times.get(65) != {})
    with Heartbeat(run.folder):  # started by another process: the next call notices it
        step_times.get(65)
        until(lambda: step_times._process.poll() is not None)
    assert not step_times._known[65].finished


def test_a_stopped_measurement_restarts_on_a_later_call(step_times: StepTimeJobs, monkeypatch) -> None:
    replace_measurement(monkeypatch, SLOW)
    step_times.get(65)
    until(lambda: len(step_times.get(65)) == 2)
    step_times.stop()
    until(lambda: step_times._process.poll() is not None)
    first = step_times._process
    step_times.get(65)
    assert step_times._process is not first and step_times._process.poll() is None


def test_a_crashed_measurement_is_retried_later(step_times: StepTimeJobs, monkeypatch) -> None:
    replace_measurement(monkeypatch, "raise SystemExit(1)")
    step_times.get(65)
    crashed = step_times._process
    until(lambda: step_times._known[65].first_request > time.monotonic())
    step_times.get(65)
    assert step_times._process is crashed and not step_times._known[65].finished


@pytest.mark.long
def test_the_real_measurement_covers_every_preset(step_times: StepTimeJobs) -> None:
    step_times.get(65)
    process = step_times._process
    assert process is not None
    process.wait(timeout=600)
    until(lambda: step_times._known[65].finished)
    assert step_times.get(65).keys() == PRESETS.keys() and all(seconds > 0 for seconds in step_times.get(65).values())


def test_failed_baselines_are_computed_again(corpora: CorpusStore, monkeypatch) -> None:
    baselines, sha256 = BaselineJobs(corpora), corpora.list()[0].sha256

    def refuse(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(corpora, "baselines", refuse)
        assert baselines.get(sha256, patience=TIMEOUT) is None
    assert baselines.get(sha256, patience=TIMEOUT) == corpora.baselines(sha256)
