"""The elapsed time of a run is divided among activities without gaps."""

from __future__ import annotations

import pytest

from nanollm.train import stopwatch
from nanollm.train.stopwatch import ACTIVITIES, Stopwatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The current time; tests move it."""
    now = [100.0]
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: now[0])
    return now


def test_laps_add_up_to_the_elapsed_time(clock: list[float]) -> None:
    watch = Stopwatch()
    for seconds, activity in ((1.0, "steps"), (0.5, "evaluation"), (2.0, "steps")):
        clock[0] += seconds
        watch.lap(activity)
    assert watch.seconds == {**dict.fromkeys(ACTIVITIES, 0.0), "steps": 3.0, "evaluation": 0.5}
    assert watch.elapsed == 3.5


def test_pauses_do_not_count(clock: list[float]) -> None:
    clock[0] += 1
    resumed = Stopwatch({"steps": 7.0})
    clock[0] += 50
    resumed.restart()
    clock[0] += 1
    resumed.lap("steps")
    resumed.restart(at=clock[0] - 2)
    resumed.lap("start")
    assert resumed.seconds["steps"] == 8.0 and resumed.seconds["start"] == 2.0 and resumed.elapsed == 10.0


def test_an_unknown_activity_is_an_error() -> None:
    with pytest.raises(KeyError):
        Stopwatch().lap("lunch")
