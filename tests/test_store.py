"""Run folders as readers see them. Nothing here trains, and nothing here needs torch."""

from __future__ import annotations

import errno
import json
import os
import random
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nanollm import events
from nanollm.errors import InputError
from nanollm.runs import folder as names
from nanollm.runs import liveness, log
from nanollm.runs.record import Run, write_status
from nanollm.runs.store import CorpusRef, RunStore

TALE = CorpusRef("tale.txt", "ab" * 32, 5000, 40)
ODD_IDS = [
    "../checkpoints",
    "..",
    ".",
    "",
    "/etc",
    "a/b",
    "a\\b",
    "x\0",
    "\ud800",
    "n" * 10_000,
    ".lock",
    None,
    7,
    [],
    "x",
]
GONE = "This run is no longer here: choose another one, or start a new one."


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "checkpoints")


def make(store: RunStore, **settings) -> Run:
    return store.create(settings=settings, corpus=TALE, preset="nano")


def write(run: Run, *happened: events.Event) -> None:
    with open(run.folder / names.METRICS, "a") as file:
        file.writelines(events.to_json(event) + "\n" for event in happened)


def step(number: int, loss: float = 2.0, seconds: float | None = None) -> events.Step:
    return events.Step(number, loss, 0.01, 0.5, number * 64, number / 100 if seconds is None else seconds, 6400.0)


def evaluated(number: int, val_loss: float | None) -> events.Eval:
    return events.Eval(number, 1.5, val_loss, number / 100)


def checkpoint(folder: Path, name: str, number: int, val_loss: float | None = None) -> None:
    """A safetensors file of the right form, without a tensor in it."""
    facts = {"format": 1, "step": number, "train": None, "train_loss": 2.5, "val_loss": val_loss}
    facts["model"] = {"vocab_size": 40, "embedding_dim": 16, "num_layers": 1, "ffn_hidden_dim": 16}
    header = json.dumps({"__metadata__": {"nanollm": json.dumps(facts), "digest": "0" * 64}}).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"checkpoint_{name}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def test_listing_and_launching_need_no_torch() -> None:
    code = "import sys, nanollm.runs.launcher, nanollm.runs.worker; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


class TestCreate:
    def test_a_new_run_is_queued_and_says_what_was_asked_for(self, store: RunStore) -> None:
        run = store.get(make(store, learning_rate=0.5).id)
        assert run.status().state == "queued"
        assert (run.status().step, run.status().num_steps, run.status().place) == (0, 1000, 1)
        assert run.train_config.learning_rate == run.settings["learning_rate"] == 0.5
        assert run.model_config.vocab_size == 40 and run.model_config.embedding_dim == 32
        assert run.corpus == {"name": "tale.txt", "sha256": "ab" * 32, "characters": 5000, "vocab_size": 40}

    def test_its_id_is_random_sortable_and_owes_nothing_to_its_title(self, store: RunStore) -> None:
        ids = {store.create(settings={}, corpus=TALE, title="../../etc/passwd").id for _ in range(5)}
        assert len(ids) == 5
        for run_id in ids:
            time.strptime(run_id[:15], "%Y%m%d-%H%M%S")
            int(run_id[16:], 16)

    def test_one_that_is_refused_leaves_nothing_behind(self, store: RunStore) -> None:
        with pytest.raises(InputError, match="learning_rate"):
            make(store, learning_rate=float("nan"))
        with pytest.raises(InputError, match="preset"):
            store.create(settings={}, corpus=TALE, preset="huge")
        assert store.list() == [] and not store.root.exists()

    def test_a_disk_that_refuses_is_told_in_a_sentence(self, store: RunStore, monkeypatch) -> None:
        store.root.mkdir()

        def full(*_) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

        monkeypatch.setattr(names, "write_json", full)
        with pytest.raises(InputError, match=r"cannot be saved \(No space left on device\)"):
            make(store)
        assert list(store.root.iterdir()) == []


class TestTitles:
    def test_it_says_preset_and_text_then_what_differs(self, store: RunStore) -> None:
        titles = [make(store, **s).title for s in ({}, {"learning_rate": 0.001}, {}, {"learning_rate": 0.001})]
        assert titles == [
            "nano · tale.txt",
            "nano · learning rate 0.001",
            "nano · tale.txt · 2",
            "nano · learning rate 0.001 · 2",
        ]
        assert store.create(settings={"num_layers": 3}, corpus=TALE).title == "32 × 3 · tale.txt"

    def test_it_is_one_short_line_of_visible_characters(self, store: RunStore) -> None:
        run = make(store)
        store.rename(run.id, "  a\tb\n\x1b[31mc\u202e" + "d" * 1000)
        title = store.get(run.id).title
        assert title.startswith("a b [31mcd") and len(title) == 200 and title.isprintable()
        with pytest.raises(InputError, match="visible"):
            store.rename(run.id, "\0 \u200b")


class TestGet:
    @pytest.mark.parametrize(
        "odd",
        [
            "../checkpoints",
            "..",
            ".",
            "",
            "/etc",
            "a/b",
            "a\\b",
            "x\0",
            "\ud800",
            "n" * 10_000,
            ".lock",
            None,
            7,
            [],
            "x",
        ],
        ids=repr,
    )
    def test_odd_and_missing_ids_get_the_same_answer(self, store: RunStore, odd) -> None:
        make(store)
        with pytest.raises(InputError) as caught:
            store.get(odd)
        assert str(caught.value) == GONE

    def test_a_deleted_run_gets_it_too(self, store: RunStore) -> None:
        run = make(store)
        store.delete(run.id)
        with pytest.raises(InputError) as caught:
            store.get(run.id)
        assert str(caught.value) == GONE and store.list() == []

    def test_a_run_that_lies_anywhere_can_be_opened(self, store: RunStore, tmp_path: Path) -> None:
        assert Run.open(make(store).folder).status().state == "queued"
        with pytest.raises(InputError, match="no run"):
            Run.open(tmp_path)


class TestList:
    def test_newest_first_and_nothing_that_is_no_run(self, store: RunStore, monkeypatch) -> None:
        made = [make(store) for _ in range(3)]
        for n, run in enumerate(made):
            about = names.read_json(run.folder / names.RUN)
            names.write_json(run.folder / names.RUN, {**about, "created": float(n)})
        (store.root / ".new-half-made").mkdir()
        (store.root / "empty").mkdir()
        (store.root / "broken").mkdir()
        (store.root / "broken" / names.RUN).write_bytes(b"\0" * 100)
        (store.root / "a file").touch()
        assert [run.id for run in store.list()] == [run.id for run in reversed(made)]

    def test_a_folder_of_checkpoints_is_a_run_to_look_at(self, store: RunStore) -> None:
        folder = store.root / "nano"
        checkpoint(folder, "00000000", 0, 3.5)
        checkpoint(folder, "00000100", 100, 2.5)
        checkpoint(folder, "final", 100, 2.5)
        (run,) = store.list()
        assert (run.id, run.title, run.bare, run.model_config.embedding_dim) == ("nano", "nano", True, 16)
        assert [(s.step, s.val_loss, s.best) for s in run.snapshots()] == [(0, 3.5, False), (100, 2.5, True)]
        assert run.status().state == "completed" and run.status().step == 100
        checkpoint(folder, "00000200", 200, 2.0)
        assert store.get("nano").snapshot().step == 200

    def test_a_file_that_only_looks_like_a_checkpoint_is_passed_over(self, store: RunStore) -> None:
        folder = store.root / "odd"
        folder.mkdir(parents=True)
        for n, content in enumerate((b"", b"\xff" * 64, struct.pack("<Q", 2**60), struct.pack("<Q", 2) + b"[]")):
            (folder / f"checkpoint_{n:08d}.safetensors").write_bytes(content)
        assert store.list() == []


class TestEvents:
    def test_a_torn_last_line_waits_for_its_end(self, store: RunStore) -> None:
        run = make(store)
        line = events.to_json(step(10)) + "\n"
        path = run.folder / names.METRICS
        path.write_text(line + line[:20])
        assert run.events() == [step(10)]
        path.write_text(line + line)
        assert run.events() == [step(10), step(10)]

    def test_rows_of_a_newer_version_and_rubbish_are_passed_over(self, store: RunStore) -> None:
        run = make(store)
        rubbish = ['{"type": "dream", "step": 3}', "null", "[]", "{", "\0\0", '{"type": "resume", "step": "x"}', ""]
        (run.folder / names.METRICS).write_text("\n".join([*rubbish, events.to_json(step(10)), ""]))
        assert run.events() == [step(10)]

    def test_only_what_was_appended_is_parsed_again(self, store: RunStore, monkeypatch) -> None:
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

    def test_what_a_resume_did_again_counts_once_however_it_is_read(self, store: RunStore) -> None:
        draw = random.Random(1)
        run, history = make(store), []
        for _ in range(60):
            kind = draw.choice([step, step, events.Resume])
            history.append(kind(draw.randrange(20)))
            write(run, history[-1])
            assert run.events() == events.effective(history)

    def test_a_file_that_was_replaced_is_read_anew(self, store: RunStore) -> None:
        run = make(store)
        write(run, *(step(n) for n in range(1, 50)))
        assert len(run.events()) == 49
        (run.folder / names.METRICS).unlink()
        assert run.events() == []
        write(run, step(7))
        assert run.events() == [step(7)]

    def test_many_readers_of_a_growing_file_agree(self, store: RunStore) -> None:
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
    def test_running_without_a_worker_is_lost(self, store: RunStore) -> None:
        run = make(store)
        write(run, step(340))
        write_status(run.folder, "running", step=0)
        assert (run.status().state, run.status().step) == ("lost", 340)
        assert "ended without a word" in run.status().reason

    def test_running_with_a_worker_is_running_and_counts_down(self, store: RunStore) -> None:
        run = make(store)
        with liveness.Pulse(run.folder):
            write_status(run.folder, "running", step=0)
            assert run.status().eta_seconds is None
            write(run, step(100, seconds=2.0), step(200, seconds=3.0))
            status = run.status()
            assert (status.state, status.step, status.progress) == ("running", 200, 0.2)
            assert status.eta_seconds == pytest.approx(8.0)
            assert status.tokens_per_second == 6400.0
            write(run, step(1200, seconds=20.0))
            assert run.status().eta_seconds == 0.0
        assert run.status().state == "lost"

    def test_a_silent_worker_is_stalled(self, store: RunStore) -> None:
        run = make(store)
        with liveness.Pulse(run.folder):
            write_status(run.folder, "running", step=0)
            time.sleep(0.05)
            assert run.status().state == "running"
            status = run.status(stall_seconds=0.01)
            assert status.state == "stalled" and str(os.getpid()) in status.reason and status.active

    def test_a_thread_beats_only_while_training_moves(self, store: RunStore, monkeypatch) -> None:
        run = make(store)
        monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.01)
        monkeypatch.setattr(liveness, "PATIENCE_SECONDS", 0.2)
        with liveness.Pulse(run.folder) as pulse:
            for _ in range(15):
                time.sleep(0.02)
                pulse.moved()
                assert liveness.silence(run.folder) < 0.2
            time.sleep(1.0)
            assert liveness.silence(run.folder) > 0.5
            pulse.moved()
            time.sleep(0.1)
            assert liveness.silence(run.folder) < 0.2

    @pytest.mark.parametrize("days", [-1, 1])
    def test_setting_the_clock_kills_nobody(self, store: RunStore, monkeypatch, days: int) -> None:
        run = make(store)
        with liveness.Pulse(run.folder):
            write_status(run.folder, "running", step=0)
            write(run, step(10), step(20))
            now = time.time
            monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
            status = run.status()
            assert status.state == "running" and status.eta_seconds is not None and status.eta_seconds >= 0

    def test_readers_do_not_take_each_other_for_a_worker(self, store: RunStore) -> None:
        run = make(store)
        with liveness.Pulse(run.folder):
            pass
        seen: list[bool] = []

        def look() -> None:
            seen.extend(liveness.alive(run.folder) for _ in range(500))

        readers = [threading.Thread(target=look) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert len(seen) == 2000 and not any(seen)

    def test_a_broken_status_file_is_no_end(self, store: RunStore) -> None:
        run = make(store)
        (run.folder / names.STATUS).write_bytes(b"\0" * 64)
        assert run.status().state == "lost"

    def test_the_queue_does_not_go_by_the_clock(self, store: RunStore, monkeypatch) -> None:
        now, made = time.time, []
        for days in (0, -1, 1):
            monkeypatch.setattr(time, "time", lambda days=days: now() + days * 86_400)
            made.append(make(store).id)
        assert made != sorted(made) and store.queue() == made

    def test_the_queue_knows_the_places(self, store: RunStore) -> None:
        runs = [make(store) for _ in range(3)]
        assert [run.status().place for run in runs] == [1, 2, 3]
        store.enqueue(runs[0].folder)
        assert store.queue() == [runs[1].id, runs[2].id, runs[0].id]


class TestSnapshots:
    def test_they_are_the_files_that_exist_with_the_losses_that_were_measured(self, store: RunStore) -> None:
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
        with pytest.raises(InputError, match="no snapshot of step 50"):
            run.snapshot(50)
        assert [s.best for s in run.snapshots()] == [False, True]

    def test_without_validation_the_lowest_training_loss_is_best(self, store: RunStore) -> None:
        run = make(store)
        write(run, events.Eval(0, 3.0, None, 0.0), events.Eval(50, 1.0, None, 0.0), events.Eval(99, 2.0, None, 0.0))
        for number in (0, 50, 99):
            checkpoint(run.folder, f"{number:08d}", number)
        assert [s.best for s in run.snapshots()] == [False, True, False]

    def test_files_from_before_a_resume_further_back_wait_until_training_is_there_again(self, store: RunStore) -> None:
        run = make(store)
        write(run, step(100), events.Resume(60))
        for number in (50, 100):
            checkpoint(run.folder, f"{number:08d}", number)
        assert [s.step for s in run.snapshots()] == [50]
        write(run, step(100))
        assert [s.step for s in run.snapshots()] == [50, 100]


class TestDelete:
    def test_it_removes_every_file(self, store: RunStore) -> None:
        run = make(store)
        checkpoint(run.folder, "00000000", 0)
        store.delete(run.id)
        assert [path.name for path in store.root.iterdir()] == [".lock"]

    def test_it_is_refused_while_a_worker_lives(self, store: RunStore) -> None:
        run = make(store)
        with liveness.Pulse(run.folder), pytest.raises(InputError, match="stop it first"):
            store.delete(run.id)
        assert store.get(run.id).status().state == "queued"

    def test_it_takes_checkpoints_but_not_what_else_lies_there(self, store: RunStore) -> None:
        for name in ("mine", "other", "pretrained"):
            checkpoint(store.root / name, "final", 10)
        (store.root / "other" / "thesis.txt").touch()
        store.delete("mine")
        with pytest.raises(InputError, match="other files"):
            store.delete("other")
        with pytest.raises(InputError, match="stay"):
            store.delete("pretrained")
        assert {run.id for run in store.list()} == {"other", "pretrained"}

    def test_a_text_is_needed_until_its_runs_are_over(self, store: RunStore) -> None:
        run = make(store)
        assert store.needing(TALE.sha256) == [run.title] and store.needing("cd" * 32) == []
        write_status(run.folder, "completed", step=1000)
        assert store.needing(TALE.sha256) == []


class TestFiles:
    def test_a_full_disk_still_takes_a_status(self, store: RunStore, monkeypatch) -> None:
        run = make(store)

        def full(*_, **__) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(names.tempfile, "mkstemp", full)
        write_status(run.folder, "paused", step=5, reason="The disk is full: make room, then resume.")
        assert (run.status().state, run.status().reason[:16]) == ("paused", "The disk is full")

    def test_a_write_that_fails_leaves_the_old_content_and_no_litter(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "x.json"
        names.write_json(path, {"a": 1})
        before = set(tmp_path.iterdir())

        def refuse(*_) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(names.os, "replace", refuse)
        with pytest.raises(OSError):
            names.write_json(path, {"a": "b" * 5000})
        assert names.read_json(path) == {"a": 1} and set(tmp_path.iterdir()) == before
