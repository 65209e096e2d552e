"""record.py: reading events while they are written, derived states, damaged files and snapshots."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nanollm.errors import InputError
from nanollm.runs import metrics_log as log
from nanollm.runs import run_files
from nanollm.runs.process import liveness
from nanollm.runs.record import Run, write_status
from nanollm.runs.store import RunStore
from nanollm.train import events
from nanollm.train.workload import remaining_evaluations
from tests.run_folders import checkpoint, evaluated, make, step, write
from tests.speed import until


def effective_events(history: list[events.Event]) -> list[events.Event]:
    """Return the events that count: a Resume discards earlier events of later steps."""
    kept: list[events.Event] = []
    for event in history:
        if isinstance(event, events.Resume):
            kept = [e for e in kept if e.step <= event.step]
        kept.append(event)
    return kept


class TestEvents:
    def test_an_incomplete_last_line_is_read_once_it_is_complete(self, store: RunStore) -> None:
        run = make(store)
        line = events.to_json(step(10)) + "\n"
        path = run.folder / run_files.METRICS
        path.write_text(line + line[:20])
        assert run.events() == [step(10)]
        path.write_text(line + line)
        assert run.events() == [step(10), step(10)]

    def test_unknown_and_invalid_lines_are_skipped(self, store: RunStore) -> None:
        run = make(store)
        invalid = ['{"type": "dream", "step": 3}', "null", "[]", "{", "\0\0", '{"type": "resume", "step": "x"}', ""]
        (run.folder / run_files.METRICS).write_text("\n".join([*invalid, events.to_json(step(10)), ""]))
        assert run.events() == [step(10)]

    def test_only_appended_lines_are_parsed_again(self, store: RunStore, monkeypatch) -> None:
        run = make(store)
        parsed: list[str] = []
        monkeypatch.setattr(log, "from_json", lambda line: parsed.append(line) or events.from_json(line))
        write(run, *(step(n) for n in range(1, 1001)))
        assert len(store.get(run.id).events()) == 1000
        parsed.clear()
        curve = store.get(run.id).curve()
        write(run, step(1001))
        assert store.get(run.id).events()[-1] == step(1001)
        assert len([line for line in parsed if line]) == 1
        assert store.get(run.id).curve() is store.get(run.id).curve() is not curve

    def test_repeated_steps_after_a_resume_count_once_in_incremental_reads(self, store: RunStore) -> None:
        draw = random.Random(1)
        run, history = make(store), []
        for _ in range(60):
            kind = draw.choice([step, step, events.Resume])
            history.append(kind(draw.randrange(20)))
            write(run, history[-1])
            assert run.events() == effective_events(history)

    def test_a_replaced_file_is_read_again(self, store: RunStore) -> None:
        run = make(store)
        write(run, *(step(n) for n in range(1, 50)))
        assert len(run.events()) == 49
        (run.folder / run_files.METRICS).unlink()
        assert run.events() == []
        write(run, step(7))
        assert run.events() == [step(7)]

    def test_long_runs_keep_a_subset_of_steps_and_all_other_events(self, store: RunStore, monkeypatch) -> None:
        monkeypatch.setattr(log, "_MOST_STEPS", 100)
        monkeypatch.setattr(log, "_BLOCK", 50_000)
        run, count = make(store), 5_000
        others = [evaluated(n, 2.0) for n in range(0, count, 50)]
        history = sorted([*(step(n) for n in range(1, count + 1)), *others], key=lambda event: event.step)
        half = len(history) // 2
        for part in (history[:half], history[half : half + 10], history[half + 10 :]):
            write(run, *part)
            known = store.get(run.id)
            steps = known.curve().steps
            assert steps == sorted(set(steps)) and len(steps) <= 100 and known.events()[-1] == part[-1]
        for events_of in (known.events(), RunStore(store.root).get(run.id).events()):
            assert [event for event in events_of if isinstance(event, events.Eval)] == others
            steps = [0, *(event.step for event in events_of if isinstance(event, events.Step))]
            assert steps[-1] == count and max(b - a for a, b in itertools.pairwise(steps)) <= count / 10

    def test_concurrent_readers_of_a_growing_file_see_consecutive_steps(self, store: RunStore) -> None:
        run, wrong = make(store), []

        def read() -> None:
            while not done.is_set():
                steps = [event.step for event in store.get(run.id).events()]
                if steps != list(range(1, len(steps) + 1)):
                    wrong.append(steps)

        done = threading.Event()
        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for n in range(1, 300):
            write(run, step(n))
        done.set()
        for reader in readers:
            reader.join()
        assert wrong == [] and len(run.events()) == 299


class TestStatus:
    def test_a_running_status_without_a_worker_is_lost(self, store: RunStore) -> None:
        run = make(store)
        write(run, step(340))
        write_status(run.folder, "running", step=0)
        assert (run.status().state, run.status().step) == ("lost", 340)
        assert "ended unexpectedly" in run.status().reason

    def test_a_running_run_reports_progress_and_remaining_time(self, store: RunStore) -> None:
        run = make(store)
        with liveness.Heartbeat(run.folder):
            write_status(run.folder, "running", step=0)
            assert run.status().eta_seconds is None
            write(run, step(100, seconds=2.0), step(200, seconds=3.0))
            status = run.status()
            assert (status.state, status.step, status.progress) == ("running", 200, 0.2)
            assert status.eta_seconds == pytest.approx(8.0)
            assert status.tokens_per_second == 6400.0
            write(run, step(1200, seconds=20.0))
            assert run.status().eta_seconds == 0.0

    def test_the_remaining_time_includes_evaluations_and_checkpoints(self, store: RunStore) -> None:
        run = make(store)
        with liveness.Heartbeat(run.folder):
            write_status(run.folder, "running", step=0)
            first, second = (replace(step(n, seconds=n / 100), elapsed=n / 50) for n in (100, 200))
            write(run, first, evaluated(150, 2.0), evaluated(200, 2.0), second)
            left = remaining_evaluations(200, run.train_config)
            assert run.status().eta_seconds == pytest.approx(8.0 + 0.5 * left) and left >= 16
            # After a resume, elapsed seconds count from a new start.
            write(run, events.Resume(200), evaluated(250, 2.0), replace(step(300, seconds=3.0), elapsed=1.0))
            assert run.status().eta_seconds == pytest.approx(7.0 + remaining_evaluations(300, run.train_config) / 3)
        assert run.status().state == "lost"

    def test_early_evaluations_do_not_distort_the_remaining_time(self, store: RunStore) -> None:
        """A run with 10 ms per step and 100 ms per evaluation."""
        run, elapsed = make(store), 0.0
        config = run.train_config
        whole = config.num_steps * 0.01 + 0.1 * remaining_evaluations(0, config)
        with liveness.Heartbeat(run.folder):
            write_status(run.folder, "running", step=0)
            for number in range(1, 501):
                before, elapsed = remaining_evaluations(number - 1, config), elapsed + 0.01
                if remaining_evaluations(number, config) < before:
                    elapsed += 0.1
                    write(run, evaluated(number, 2.0))
                if number % config.log_interval == 0:
                    write(run, replace(step(number), elapsed=elapsed))
                if number in (20, 100, 250, 500):
                    assert run.status().eta_seconds == pytest.approx(whole - elapsed, rel=1e-3)

    def test_a_worker_without_heartbeats_is_stalled(self, store: RunStore, monkeypatch) -> None:
        run = make(store)
        with liveness.Heartbeat(run.folder):
            write_status(run.folder, "running", step=0)
            time.sleep(0.05)
            assert run.status().state == "running"
            status = run.status(stall_seconds=0.01)
            monkeypatch.setattr(liveness, "seconds_since_heartbeat", lambda folder: 16_607.0)
            assert "for 4.6 h." in run.status().reason
            assert status.state == "stalled" and str(os.getpid()) in status.reason and status.active

    def test_heartbeats_are_written_only_while_training_progresses(self, store: RunStore, monkeypatch) -> None:
        run = make(store)
        monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.01)
        monkeypatch.setattr(liveness, "PATIENCE_SECONDS", 0.2)
        file = run.folder / run_files.HEARTBEAT

        def beat(heartbeat: liveness.Heartbeat) -> None:
            """Record progress until the next heartbeat is written."""
            before = file.read_bytes()
            until(lambda: (heartbeat.record_progress(), file.read_bytes() != before)[1])

        with liveness.Heartbeat(run.folder) as heartbeat:
            for _ in range(15):
                beat(heartbeat)
            until(lambda: liveness.seconds_since_heartbeat(run.folder) > 0.5)
            beat(heartbeat)

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
    def test_a_heartbeat_leaves_no_file_open(self, store: RunStore) -> None:
        run = make(store)
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with liveness.Heartbeat(run.folder):
                pass
        assert set(os.listdir("/proc/self/fd")) == before

    @pytest.mark.parametrize("days", [-1, 1])
    def test_changing_the_clock_keeps_the_run_running(self, store: RunStore, monkeypatch, days: int) -> None:
        run = make(store)
        with liveness.Heartbeat(run.folder):
            write_status(run.folder, "running", step=0)
            write(run, step(10), step(20))
            now = time.time
            monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
            status = run.status()
            assert status.state == "running" and status.eta_seconds is not None and status.eta_seconds >= 0

    def test_old_setting_names_in_run_json_are_renamed_when_read(self, store: RunStore) -> None:
        run = make(store, qk_norm=True, final_lr_fraction=0.5)
        old_names = (
            ('"qk_norm": true', '"similarity": "cosine"'),
            ("final_lr_fraction", "final_learning_rate"),
        )
        path = run.folder / run_files.RUN
        for new, old in old_names:
            assert new in path.read_text()
            path.write_text(path.read_text().replace(new, old))
        read = RunStore(store.root).get(run.id)
        assert (read.model_config, read.train_config, read.settings) == (
            run.model_config,
            run.train_config,
            run.settings,
        )

    def test_concurrent_liveness_checks_do_not_detect_each_other(self, store: RunStore) -> None:
        run = make(store)
        with liveness.Heartbeat(run.folder):
            pass
        seen: list[bool] = []

        def check() -> None:
            seen.extend(liveness.alive(run.folder) for _ in range(500))

        readers = [threading.Thread(target=check) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert len(seen) == 2000 and not any(seen)

    def test_a_run_with_a_damaged_status_file_is_lost(self, store: RunStore) -> None:
        run = make(store)
        (run.folder / run_files.STATUS).write_bytes(b"\0" * 64)
        assert run.status().state == "lost"

    def test_queue_order_does_not_depend_on_the_clock(self, store: RunStore, monkeypatch) -> None:
        now, made = time.time, []
        for days in (0, -1, 1):
            monkeypatch.setattr(time, "time", lambda days=days: now() + days * 86_400)
            made.append(make(store).id)
        assert made != sorted(made) and store.queue() == made

    def test_queued_runs_have_places_and_can_move_to_the_end(self, store: RunStore) -> None:
        runs = [make(store) for _ in range(3)]
        assert [run.status().place for run in runs] == [1, 2, 3]
        store.enqueue(runs[0].folder)
        assert store.queue() == [runs[1].id, runs[2].id, runs[0].id]


class TestDamage:
    @pytest.mark.parametrize("fields", [{"created": "yesterday"}, {"settings": 5}, {"corpus": ["a"]}], ids=str)
    def test_invalid_fields_in_run_json_are_reported_as_damage(self, store: RunStore, fields: dict) -> None:
        run = make(store)
        run_files.write_json(run.folder / run_files.RUN, {**run_files.read_json(run.folder / run_files.RUN), **fields})
        with pytest.raises(InputError, match=r"run\.json is damaged"):
            Run.open(run.folder)
        assert store.list() == []

    def test_invalid_checkpoint_metadata_hides_no_other_run(self, store: RunStore) -> None:
        made = make(store)
        checkpoint(store.root / "no model", "final", 5, model="a shape")
        checkpoint(store.root / "no settings", "final", 5, train="some")
        checkpoint(store.root / "no loss", "00000005", 5, val_loss="low")
        checkpoint(store.root / "no loss", "00000009", 9, val_loss=1.5)
        assert {run.id for run in store.list()} == {made.id, "no settings", "no loss"}
        assert [(s.step, s.val_loss) for s in store.get("no loss").snapshots()] == [(5, None), (9, 1.5)]

    def test_copied_and_renamed_resume_files_are_ignored(self, store: RunStore) -> None:
        run = make(store)
        for name in ("resume_00000005", "resume_00000005 (copy)", "resume_old"):
            (run.folder / f"{name}.safetensors").touch()
        assert [path.stem for path in run.resume_files()] == ["resume_00000005"]


class TestSnapshots:
    def test_snapshots_are_the_existing_files_with_their_measured_losses(self, store: RunStore) -> None:
        run = make(store)
        with pytest.raises(InputError, match="no snapshot yet"):
            run.snapshot()
        write(run, evaluated(0, 3.5), evaluated(50, 2.0), evaluated(100, 2.5), step(100))
        for number in (0, 50, 100):
            checkpoint(run.folder, f"{number:08d}", number)
        checkpoint(run.folder, "final", 100)
        assert [(s.step, s.val_loss, s.best) for s in run.snapshots()] == [
            (0, 3.5, False),
            (50, 2.0, True),
            (100, 2.5, False),
        ]
        assert run.snapshot().step == 100 and run.snapshot(50).path.name == "checkpoint_00000050.safetensors"
        (run.folder / "checkpoint_00000050.safetensors").unlink()
        with pytest.raises(InputError, match="no snapshot at step 50"):
            run.snapshot(50)
        assert [s.best for s in run.snapshots()] == [False, True]

    def test_without_a_validation_split_the_lowest_training_loss_is_best(self, store: RunStore) -> None:
        run = make(store)
        write(run, events.Eval(0, 3.0, None, 0.0), events.Eval(50, 1.0, None, 0.0), events.Eval(99, 2.0, None, 0.0))
        for number in (0, 50, 99):
            checkpoint(run.folder, f"{number:08d}", number)
        assert [s.best for s in run.snapshots()] == [False, True, False]

    def test_snapshots_after_the_resumed_step_are_hidden_until_training_reaches_them(self, store: RunStore) -> None:
        run = make(store)
        write(run, step(100), events.Resume(60))
        for number in (50, 100):
            checkpoint(run.folder, f"{number:08d}", number)
        assert [s.step for s in run.snapshots()] == [50]
        write(run, step(100))
        assert [s.step for s in run.snapshots()] == [50, 100]
