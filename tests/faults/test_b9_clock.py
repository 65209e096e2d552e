"""Guarantee B9: setting the clock by a day marks no run as lost and gives no negative remaining time."""

from __future__ import annotations

import time

import pytest

from nanollm.runs.process import liveness
from nanollm.runs.process.queue_times import estimated_wait, queue_seconds_ahead
from nanollm.runs.record import write_status
from nanollm.runs.store import RunStore
from tests.run_folders import make, step, write


@pytest.mark.parametrize("days", [-1, 1])
def test_changing_the_clock_keeps_states_and_times_valid(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    run, second = make(store), make(store)
    with liveness.Heartbeat(run.folder) as heartbeat:
        write_status(run.folder, "running", step=0)
        write(run, step(10), step(20))
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
        heartbeat.record_progress()
        third = make(store)
        assert run.status().state == "running" and (run.status().eta_seconds or 0) >= 0
        assert store.queue() == [second.id, third.id]
        waits = [estimated_wait(store, one.id) for one in (second, third)]
        assert None not in waits and 0 <= waits[0] < waits[1] and queue_seconds_ahead(store) > 0
    assert run.status().state == "lost"
