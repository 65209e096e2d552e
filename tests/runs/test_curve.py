"""The curve of a run: elapsed times over pauses and file versions, and which losses count when they are estimates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nanollm.runs.record import write_status
from nanollm.runs.store import RunStore
from nanollm.train.events import Calibration, Eval, FinalEval, Resume
from tests.run_folders import checkpoint, evaluated, make, step, write


def estimated(number: int, val_loss: float, *, best: bool) -> Eval:
    return replace(evaluated(number, val_loss), val_error=0.05, train_error=0.05, best=best, elapsed=number / 10)


class TestElapsed:
    def test_records_with_cumulative_times_are_used_as_they_are(self, store: RunStore) -> None:
        run = make(store)
        for event in (estimated(0, 4.0, best=True), replace(step(10), elapsed=3.0), Resume(10)):
            write(run, event)
        write(run, replace(step(20), elapsed=4.0))
        assert run.curve().elapsed == [3.0, 4.0]

    def test_records_that_restarted_at_a_resume_are_added_up(self, store: RunStore) -> None:
        """As version 0.1 wrote them."""
        run = make(store)
        for event in (evaluated(0, 4.0), replace(step(10), elapsed=3.0), replace(step(20), elapsed=7.0), Resume(20)):
            write(run, event)
        write(run, evaluated(25, 3.0), replace(step(30), elapsed=2.0))
        assert run.curve().elapsed == [3.0, 7.0, 9.0]
        assert run.curve().eval_elapsed == [0.0, 8.0]  # interpolated

    def test_the_oldest_records_have_only_the_time_of_the_steps(self, store: RunStore) -> None:
        run = make(store)
        write(run, evaluated(0, 4.0), step(100), evaluated(200, 3.0), step(200))
        assert run.curve().elapsed == [1.0, 2.0] and run.curve().eval_elapsed == [0.0, 2.0]

    def test_the_status_has_the_elapsed_time_of_the_last_record(self, store: RunStore) -> None:
        run = make(store)
        assert run.status().elapsed is None
        write(run, replace(step(10), elapsed=3.0), estimated(40, 3.0, best=True))
        write_status(run.folder, "paused", step=40)
        assert run.status().elapsed == 4.0
        write_status(run.folder, "paused", step=40, seconds=1.0, elapsed=5.5, val_loss=3.0)
        assert run.status().elapsed == 5.5


class TestEstimates:
    def test_the_best_step_is_the_one_that_training_chose(self, store: RunStore) -> None:
        """A lower estimate within the noise does not count."""
        run = make(store)
        write(run, estimated(0, 4.0, best=True), estimated(10, 2.0, best=True), estimated(20, 1.99, best=False))
        curve = run.curve()
        assert (curve.best_step, curve.best_val_loss) == (10, 2.0) and curve.final_losses == (1.5, 1.99)

    def test_at_the_end_the_losses_on_the_whole_split_count(self, store: RunStore) -> None:
        run = make(store)
        write(run, estimated(0, 4.0, best=True), estimated(10, 2.0, best=True), estimated(20, 1.99, best=False))
        write(run, FinalEval(20, 1.6, 0.01, 2.1, 10, 2.05))
        curve = run.curve()
        assert (curve.best_step, curve.best_val_loss) == (10, 2.05) and curve.final_losses == (1.6, 2.1)
        assert curve.val_loss == [4.0, 2.0, 1.99]  # the line of the chart has no jump at its end
        assert [curve.losses_at(number) for number in (0, 10, 20, 5)] == [(1.5, 4.0), (1.5, 2.05), (1.6, 2.1), None]
        for number in (0, 10, 20):
            checkpoint(run.folder, f"{number:08d}", number)
        assert [(s.step, s.val_loss, s.best) for s in run.snapshots()] == [
            (0, 4.0, False),
            (10, 2.05, True),
            (20, 2.1, False),
        ]

    def test_a_run_that_continues_after_a_stop_has_no_final_losses_yet(self, store: RunStore) -> None:
        run = make(store)
        write(run, estimated(0, 4.0, best=True), estimated(10, 2.0, best=True), FinalEval(10, 1.6, 0.01, 2.1, 10, 2.1))
        assert run.curve().final is not None
        write(run, Resume(10), step(12), estimated(20, 1.9, best=True))
        assert run.curve().final is None and run.curve().best_step == 20


def test_a_running_calibration_is_part_of_the_status(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(store)
    write_status(run.folder, "running", step=0)
    monkeypatch.setattr("nanollm.runs.process.liveness.alive", lambda _: True)
    write(run, Calibration(0, 3, 8))
    assert run.status().calibration == (3, 8)
    write(run, evaluated(0, 4.0))
    assert run.status().calibration is None
