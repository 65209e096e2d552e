"""DiskQuota: leftovers are deleted, and beyond the quota the oldest runs and texts that are not in use."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nanollm.errors import InputError
from nanollm.limits import Limits
from nanollm.runs.process.liveness import Heartbeat
from nanollm.runs.record import Run, write_status
from nanollm.runs.store import RUN_NOT_FOUND
from playground.public.disk_quota import LEFTOVER_SECONDS, DiskQuota
from playground.public.visitor import Visitor
from tests.playground.public.test_ownership import ANNA, BERT, Page
from tests.run_folders import checkpoint

CARLA = Visitor("c" * 64)
SIZE = 50_000  # bytes of a run's files


@pytest.fixture
def page(tmp_path: Path) -> Page:
    page = Page(tmp_path)
    page.all_runs.limits = Limits(disk_bytes=2**20)
    page.runs.limits = page.corpora.limits = Limits()
    return page


def disk_quota(page: Page) -> DiskQuota:
    return DiskQuota(
        page.all_runs, page.all_corpora, page.all_corpora.root.parent / "uploads", page.runs.seconds_since_viewed
    )


def train(page: Page, visitor: Visitor, number: int) -> Run:
    page.visitor = visitor
    info = page.corpora.add_text(f"text number {number}. " * 100, "tale.txt")
    run = page.runs.create(settings={}, corpus=info, preset="nano")
    write_status(run.folder, "completed", step=1000)
    (run.folder / "checkpoint_00000000.safetensors").write_bytes(b"x" * SIZE)
    return run


def test_beyond_the_quota_the_oldest_finished_runs_are_deleted(page: Page) -> None:
    checkpoint(page.all_runs.root / "pretrained" / "nano", "00000010", 10, 1.0)
    (page.all_runs.root / "pretrained" / "nano" / "checkpoint_00000020.safetensors").write_bytes(b"x" * 2**21)
    runs = [train(page, (ANNA, BERT, CARLA)[n % 3], n) for n in range(30)]
    page.visitor = CARLA
    alive, queued, opened = runs[0], runs[1], runs[2]
    write_status(queued.folder, "queued", step=0)
    page.runs.get(opened.id)
    with Heartbeat(alive.folder):
        write_status(alive.folder, "running", step=0)
        quota = disk_quota(page)
        assert quota.used_bytes() > 2**20
        quota.sweep()
        assert quota.used_bytes() <= 2**20
        remaining = {run.id for run in page.all_runs.list()}
    assert {alive.id, queued.id, opened.id, "pretrained-nano"} <= remaining
    deleted = [run.id not in remaining for run in runs[3:]]
    assert any(deleted) and not all(deleted)
    assert deleted == sorted(deleted, reverse=True)  # the oldest ones, without a gap
    page.visitor = ANNA
    with pytest.raises(InputError) as caught:
        page.runs.get(next(run for run in runs[3:] if run.owner == ANNA.owner).id)
    assert str(caught.value) == RUN_NOT_FOUND
    for run in page.all_runs.list():
        if not run.read_only:
            assert page.all_corpora.get(run.corpus["sha256"])  # its text was kept


def test_beyond_the_quota_the_oldest_texts_are_deleted(page: Page) -> None:
    page.visitor = ANNA
    for n in range(30):
        page.corpora.add_text(f"{n} " + "words and more words " * 5000, f"text {n}")
        entry = max(page.all_corpora.root.glob("shelves/*/*"), key=lambda path: path.stat().st_mtime)
        os.utime(entry, (0, time.time() - 10_000 + n))
    disk_quota(page).sweep()
    names = [info.name for info in page.corpora.list() if not info.bundled]
    assert 0 < len(names) < 30 and set(names) == {f"text {n}" for n in range(30 - len(names), 30)}
    assert len(list(page.all_corpora.root.glob("*.txt"))) == len(names)


def test_uploaded_files_are_deleted_before_runs(page: Page) -> None:
    run = train(page, ANNA, 1)
    uploads = page.all_corpora.root.parent / "uploads"
    uploads.mkdir()
    (uploads / "large.txt").write_bytes(b"x" * 2**21)
    os.utime(uploads / "large.txt", (0, time.time() - 600))
    disk_quota(page).sweep()
    assert page.all_runs.get(run.id) and not (uploads / "large.txt").exists()


def test_leftovers_are_deleted_after_a_while(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = train(page, ANNA, 1)
    page.visitor = BERT
    forgotten = page.corpora.add_text("of a visitor who never returned", "forgotten")
    common = page.all_corpora.add_text("shared by all", "common", builtin="x")
    orphan = page.all_corpora.add_text("in no list", "orphan")
    uploads = page.all_corpora.root.parent / "uploads" / "a"
    uploads.mkdir(parents=True)
    (uploads / "upload.txt").write_text("x")
    quota = disk_quota(page)
    quota.sweep()
    assert len(page.all_corpora.list()) == 5 and (uploads / "upload.txt").exists()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + LEFTOVER_SECONDS + 60)
    quota.sweep()
    assert orphan.sha256 not in [info.sha256 for info in page.all_corpora.list()]
    assert not (uploads / "upload.txt").exists()
    assert page.all_corpora.get(forgotten.sha256)
    monkeypatch.setattr(time, "time", lambda: now() + 90_000)
    quota.sweep()
    remaining = {info.sha256 for info in page.all_corpora.list() if not info.bundled}
    assert remaining == {kept.corpus["sha256"], common.sha256} and page.all_runs.get(kept.id)


def test_without_a_quota_runs_are_kept(page: Page) -> None:
    page.all_runs.limits = replace(page.all_runs.limits, disk_bytes=None)
    runs = [train(page, ANNA, n) for n in range(3)]
    disk_quota(page).sweep()
    assert len(page.all_runs.list()) == len(runs)
