"""Guarantee B4: a full or read-only disk pauses a run with a message; saved files stay intact, and resume continues.

The file systems are real, mounted in a separate namespace, which needs no root rights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tiny_runs import TINY

ALLOWED = shutil.which("unshare") and not subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode
pytestmark = pytest.mark.skipif(not ALLOWED, reason="unprivileged users cannot mount file systems here (unshare -rm)")

BEGIN = """
import os, subprocess, sys, time
from pathlib import Path
import torch
from nanollm.train.checkpoint import read_tensors
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.train.events import Start
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.record import write_status
from nanollm.runs.store import RunStore
from nanollm.runs.process.worker import work

disk, elsewhere, settings, free_bytes = Path(sys.argv[1]), Path(sys.argv[2]), eval(sys.argv[3]), eval(sys.argv[4])
torch.set_num_threads(1)
corpora = CorpusStore(elsewhere / "corpora")
corpus = corpora.add_text(Path("data/raw/sample.txt").read_text()[:3000], "tale.txt")
store = RunStore(disk / "checkpoints")
launcher = Launcher(store, corpora.root)

def make(store=store):
    return store.create(settings=settings, corpus=corpus)

def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)

def whole(run):
    assert not list(run.folder.glob(".*.part"))
    return {path.name: read_tensors(path)[0] for path in run.folder.glob("*.safetensors")}

def same(some, others):
    return all(some[key].numpy().tobytes() == others[key].numpy().tobytes() for key in some)  # NaN equals NaN

def until(reached):
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)

FULL = "The run folder could not be written (No space left on device): free disk space, then resume "
"""

FULL = """
mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk))
reference = make(RunStore(elsewhere / "checkpoints"))
assert work(reference, corpora.root).state == "completed"
expected = whole(reference)
for room in free_bytes:  # when training starts
    run = make()
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "ballast").write_bytes(bytes(free - room))
    for attempt in range(2):
        seen = []
        status = work(run, corpora.root, seen.append)
        assert status.state == "paused" and status.reason.startswith(FULL), (room, status)
        assert sum(isinstance(event, Start) for event in seen) <= 1
        launcher.advance()
        assert not run.alive() and run.status() == status  # no automatic retry
        for name, tensors in whole(run).items():
            if name in expected:
                assert same(tensors, expected[name]), name
    (disk / "ballast").unlink()
    assert work(run, corpora.root).state == "completed"
    kept = whole(run)
    assert kept.keys() == expected.keys()
    for name in expected:
        assert same(expected[name], kept[name]), name
    store.delete(run.id)
"""

FULL_FOR_A_PROCESS = """
mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk))
run = make()
free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
(disk / "ballast").write_bytes(bytes(free - free_bytes[0]))
launcher.start(run.id)  # worker.log is on the full disk too
until(lambda: run.status().state == "paused" and not run.alive())
assert run.status().reason.startswith(FULL)
assert whole(run)
mount("-o", "remount,size=8m", str(disk))
launcher.resume(run.id)
until(lambda: run.status().state == "completed" and not run.alive())
"""

READ_ONLY = """
run, waiting, lost = make(), make(), make()
(run.folder / "control" / "pause").touch()
assert work(run, corpora.root).state == "paused"
for each in (waiting, lost):
    (each.folder / "worker.lock").touch()
write_status(lost.folder, "running", step=0)
before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
mount("--bind", str(disk), str(disk))
mount("-o", "remount,bind,ro", str(disk))
for request in (launcher.resume, launcher.pause, launcher.stop, store.delete, lambda id: store.rename(id, "Other")):
    try:
        request(run.id)
    except InputError as error:
        assert "cannot be written (Read-only file system)" in str(error), error
    else:
        raise AssertionError(request)
try:
    make()
except InputError as error:
    assert "cannot be saved (Read-only file system)" in str(error)
for attempt in range(3):
    launcher.advance()
assert launcher._children == []
assert run.status().state == "paused"
assert (waiting.status().state, lost.status().state) == ("queued", "lost")
assert waiting.status().reason == "The run cannot start because its folder is read-only: make it writable."
assert lost.status().reason == "The worker process ended and the folder is read-only: make it writable, then resume."
assert before == {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
mount("-o", "remount,bind,rw", str(disk))
assert waiting.status().reason == "" and "ended unexpectedly" in lost.status().reason
launcher.pause(waiting.id)
launcher.resume(run.id)
until(lambda: run.status().state == "completed" and not run.alive())
"""


def run_with_mounts(tmp_path: Path, code: str, free_bytes: list[int]) -> None:
    """Run code in a namespace where it may mount file systems; they are removed with the process."""
    for folder in ("disk", "elsewhere"):
        (tmp_path / folder).mkdir()
    command = [
        "unshare",
        "-rm",
        sys.executable,
        "-c",
        BEGIN + code,
        str(tmp_path / "disk"),
        str(tmp_path / "elsewhere"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, repr(TINY), repr(free_bytes)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "free_bytes",
    [[30_000, 120_000], pytest.param(list(range(8_000, 208_000, 10_000)), marks=pytest.mark.slow)],
    ids=["2 times", "20 times"],
)
def test_b4_a_full_disk_pauses_the_run(tmp_path: Path, free_bytes: list[int]) -> None:
    run_with_mounts(tmp_path, FULL, free_bytes)


@pytest.mark.slow
def test_b4_a_worker_process_pauses_on_a_full_disk(tmp_path: Path) -> None:
    run_with_mounts(tmp_path, FULL_FOR_A_PROCESS, [80_000])


def test_b4_a_read_only_disk_is_reported(tmp_path: Path) -> None:
    run_with_mounts(tmp_path, READ_ONLY, [])
