"""store.py: finding, creating, renaming and deleting runs, without training."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nanollm.errors import InputError
from nanollm.limits import Limits
from nanollm.runs import run_files
from nanollm.runs.process import liveness
from nanollm.runs.record import Run, write_status
from nanollm.runs.store import RunStore
from tests.conftest import ROOT
from tests.run_folders import TALE, checkpoint, make

INVALID_IDS = [
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
RUN_NOT_FOUND = "This run is no longer here: choose another one, or start a new one."


def test_launcher_and_worker_modules_do_not_import_torch() -> None:
    code = "import sys, nanollm.runs.process.launcher, nanollm.runs.process.worker; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


class TestCreate:
    def test_a_new_run_is_queued_and_records_its_settings(self, store: RunStore) -> None:
        run = store.get(make(store, learning_rate=0.5).id)
        assert run.status().state == "queued"
        assert (run.status().step, run.status().num_steps, run.status().place) == (0, 1000, 1)
        assert run.train_config.learning_rate == run.settings["learning_rate"] == 0.5
        assert run.model_config.vocab_size == 40 and run.model_config.embedding_dim == 32
        assert run.corpus == {"name": "tale.txt", "sha256": "ab" * 32, "characters": 5000, "vocab_size": 40}

    def test_numpy_numbers_are_stored_as_python_numbers(self, store: RunStore) -> None:
        run = store.get(make(store, num_steps=np.int64(7), learning_rate=np.float32(0.5)).id)
        assert run.settings["num_steps"] == run.train_config.num_steps == 7
        assert run.settings["learning_rate"] == run.train_config.learning_rate == 0.5

    def test_ids_are_random_sortable_and_independent_of_the_title(self, store: RunStore) -> None:
        ids = {store.create(settings={}, corpus=TALE, title="../../etc/passwd").id for _ in range(5)}
        assert len(ids) == 5
        for run_id in ids:
            time.strptime(run_id[:15], "%Y%m%d-%H%M%S")
            int(run_id[16:], 16)

    def test_a_refused_run_leaves_no_files(self, store: RunStore) -> None:
        with pytest.raises(InputError, match="learning_rate"):
            make(store, learning_rate=float("nan"))
        with pytest.raises(InputError, match="preset"):
            store.create(settings={}, corpus=TALE, preset="huge")
        assert store.list() == [] and not store.root.exists()

    def test_a_new_id_is_drawn_if_the_first_one_exists(self, store: RunStore, monkeypatch) -> None:
        ids = iter(["20260101-000000-0000", "20260101-000000-0000", "20260101-000000-0001"])
        monkeypatch.setattr("nanollm.runs.store._new_id", lambda created: next(ids))
        assert [make(store).id for _ in range(2)] == ["20260101-000000-0000", "20260101-000000-0001"]
        assert not list(store.root.glob(".new*"))

    def test_a_full_disk_gives_a_message_and_leaves_no_files(self, store: RunStore, monkeypatch) -> None:
        store.root.mkdir()

        def full(*_) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

        monkeypatch.setattr(run_files, "write_json", full)
        with pytest.raises(InputError, match=r"cannot be saved \(No space left on device\)"):
            make(store)
        assert list(store.root.iterdir()) == []


class TestTitles:
    def test_titles_name_the_preset_and_text_or_the_changed_settings(self, store: RunStore) -> None:
        titles = [make(store, **s).title for s in ({}, {"learning_rate": 0.001}, {}, {"learning_rate": 0.001})]
        assert titles == [
            "nano · tale.txt",
            "nano · learning rate 0.001",
            "nano · tale.txt · 2",
            "nano · learning rate 0.001 · 2",
        ]
        assert store.create(settings={"num_layers": 3}, corpus=TALE).title == "32 × 3 · tale.txt"

    def test_titles_are_one_short_line_of_visible_characters(self, store: RunStore) -> None:
        run = make(store)
        store.rename(run.id, "  a\tb\n\x1b[31mc\u202e" + "d" * 1000)
        title = store.get(run.id).title
        assert title.startswith("a b [31mcd") and len(title) == 200 and title.isprintable()
        with pytest.raises(InputError, match="visible"):
            store.rename(run.id, "\0 \u200b")


class TestUnwritableFolders:
    def test_a_run_whose_lock_cannot_be_taken_is_not_deleted(self, store: RunStore) -> None:
        run = make(store)
        (run.folder / run_files.LOCK).mkdir()
        with pytest.raises(InputError, match="cannot be written"):
            store.delete(run.id)
        assert store.get(run.id)


class TestGet:
    @pytest.mark.parametrize("run_id", INVALID_IDS, ids=repr)
    def test_invalid_and_unknown_ids_get_the_same_error(self, store: RunStore, run_id) -> None:
        make(store)
        with pytest.raises(InputError) as caught:
            store.get(run_id)
        assert str(caught.value) == RUN_NOT_FOUND

    def test_a_deleted_run_gets_the_same_error(self, store: RunStore) -> None:
        run = make(store)
        store.delete(run.id)
        with pytest.raises(InputError) as caught:
            store.get(run.id)
        assert str(caught.value) == RUN_NOT_FOUND and store.list() == []

    def test_a_run_can_be_opened_by_its_folder(self, store: RunStore, tmp_path: Path) -> None:
        assert Run.open(make(store).folder).status().state == "queued"
        with pytest.raises(InputError, match="no run"):
            Run.open(tmp_path)


class TestList:
    def test_runs_are_listed_newest_first_without_invalid_folders(self, store: RunStore, monkeypatch) -> None:
        made = [make(store) for _ in range(3)]
        for n, run in enumerate(made):
            about = run_files.read_json(run.folder / run_files.RUN)
            run_files.write_json(run.folder / run_files.RUN, {**about, "created": float(n)})
        (store.root / ".new-half-made").mkdir()
        (store.root / "empty").mkdir()
        (store.root / "broken").mkdir()
        (store.root / "broken" / run_files.RUN).write_bytes(b"\0" * 100)
        (store.root / "a file").touch()
        for number, invalid in enumerate(({"created": "today"}, {"settings": 3}, {"model": {"num_layers": -1}})):
            (store.root / f"edited{number}").mkdir()
            about = run_files.read_json(made[0].folder / run_files.RUN)
            run_files.write_json(store.root / f"edited{number}" / run_files.RUN, {**about, **invalid})
        assert [run.id for run in store.list()] == [run.id for run in reversed(made)]

    def test_a_folder_of_checkpoints_is_listed_as_a_completed_run(self, store: RunStore) -> None:
        folder = store.root / "nano"
        checkpoint(folder, "00000000", 0, 3.5)
        checkpoint(folder, "00000100", 100, 2.5)
        checkpoint(folder, "final", 100, 2.5)
        (run,) = store.list()
        assert (run.id, run.title, run.checkpoints_only, run.model_config.embedding_dim) == ("nano", "nano", True, 16)
        assert [(s.step, s.val_loss, s.best) for s in run.snapshots()] == [(0, 3.5, False), (100, 2.5, True)]
        assert run.status().state == "completed" and run.status().step == 100
        checkpoint(folder, "00000200", 200, 2.0)
        assert store.get("nano").snapshot().step == 200

    def test_invalid_checkpoint_files_are_not_listed(self, store: RunStore) -> None:
        folder = store.root / "invalid"
        folder.mkdir(parents=True)
        for n, content in enumerate((b"", b"\xff" * 64, struct.pack("<Q", 2**60), struct.pack("<Q", 2) + b"[]")):
            (folder / f"checkpoint_{n:08d}.safetensors").write_bytes(content)
        assert store.list() == []


class TestDelete:
    def test_deleting_removes_every_file(self, store: RunStore) -> None:
        run = make(store)
        checkpoint(run.folder, "00000000", 0)
        store.delete(run.id)
        assert [path.name for path in store.root.iterdir()] == [".lock"]

    def test_deleting_is_refused_while_a_worker_runs(self, store: RunStore) -> None:
        run = make(store)
        with liveness.Heartbeat(run.folder), pytest.raises(InputError, match="stop it first"):
            store.delete(run.id)
        assert store.get(run.id).status().state == "queued"

    def test_deleting_is_refused_for_other_files_and_pretrained_models(self, store: RunStore) -> None:
        for name in ("mine", "other", "pretrained/nano"):
            checkpoint(store.root / name, "final", 10)
        (store.root / "other" / "thesis.txt").touch()
        store.delete("mine")
        with pytest.raises(InputError, match="files other than"):
            store.delete("other")
        with pytest.raises(InputError, match="read-only"):
            store.delete("pretrained-nano")
        assert {run.id for run in store.list()} == {"other", "pretrained-nano"}

    def test_a_text_is_in_use_until_its_runs_end(self, store: RunStore) -> None:
        run = make(store)
        assert store.unfinished_titles(TALE.sha256) == [run.title] and store.unfinished_titles("cd" * 32) == []
        write_status(run.folder, "completed", step=1000)
        assert store.unfinished_titles(TALE.sha256) == []


class TestFiles:
    def test_a_status_is_written_even_if_the_disk_is_full(self, store: RunStore, monkeypatch) -> None:
        run = make(store)

        def full(*_, **__) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(run_files, "write_atomic", full)
        write_status(run.folder, "paused", step=5, reason="The disk is full: make room, then resume.")
        assert (run.status().state, run.status().reason[:16]) == ("paused", "The disk is full")

    def test_replaced_files_have_the_permissions_of_new_files(self, store: RunStore, tmp_path: Path) -> None:
        run = make(store)
        (tmp_path / "new").touch()
        modes = {
            path.stat().st_mode
            for path in (run.folder / run_files.RUN, run.folder / run_files.STATUS, tmp_path / "new")
        }
        assert len(modes) == 1

    def test_a_failed_write_keeps_the_old_content_and_leaves_no_files(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "x.json"
        run_files.write_json(path, {"a": 1})
        before = set(tmp_path.iterdir())

        def refuse(*_) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(run_files.os, "replace", refuse)
        with pytest.raises(OSError):
            run_files.write_json(path, {"a": "b" * 5000})
        assert run_files.read_json(path) == {"a": 1} and set(tmp_path.iterdir()) == before


class TestOwners:
    def test_the_queue_alternates_between_owners(self, store: RunStore) -> None:
        anna, bert, shared = "a" * 64, "b" * 64, ""
        runs = [make_owned(store, owner) for owner in (anna, anna, anna, bert, shared, bert, shared)]
        a1, a2, a3, b1, n1, b2, n2 = (run.id for run in runs)
        assert store.queue() == [a1, b1, n1, n2, a2, b2, a3]
        write_status(runs[0].folder, "running", step=0)
        assert store.queue() == [b1, n1, n2, a2, b2, a3]  # a run in training counts towards its owner's turn

    def test_a_run_enqueued_first_is_next(self, store: RunStore) -> None:
        waiting, back = make_owned(store, "a" * 64), make_owned(store, "b" * 64)
        store.enqueue(back.folder, first=True)
        assert store.queue() == [back.id, waiting.id]

    def test_a_run_records_its_owner_and_a_random_view_key(self, store: RunStore) -> None:
        run, other, common = make_owned(store, "a" * 64), make_owned(store, "a" * 64), make_owned(store, "")
        assert run.owner == "a" * 64 and len({run.view_key, other.view_key}) == 2 and len(run.view_key) == 32
        assert common.owner == common.view_key == "" and "owner" not in run_files.read_json(
            common.folder / run_files.RUN
        )

    def test_titles_are_numbered_per_owner(self, store: RunStore) -> None:
        mine, theirs, again = (make_owned(store, owner).title for owner in ("a" * 64, "b" * 64, "a" * 64))
        assert mine == theirs == "nano · tale.txt" and again == "nano · tale.txt · 2"


def test_old_leftovers_of_creating_and_deleting_are_swept(store: RunStore) -> None:
    run = make_owned(store, "")
    old, new = store.root / ".new-x", store.root / ".deleted-x"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (0, 0))
    store.sweep()
    assert not old.exists() and new.exists() and store.get(run.id)


def test_store_limits_apply_to_new_runs(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "checkpoints", Limits(num_steps=500))
    with pytest.raises(InputError, match="1,000 num_steps exceed the limit of 500"):
        store.create(settings={}, corpus=TALE, preset="nano")
    assert not list(store.root.glob("*"))


def make_owned(store: RunStore, owner: str) -> Run:
    return store.create(settings={}, corpus=TALE, preset="nano", owner=owner)
