"""A public page's disk: what is left over goes, and beyond the quota the oldest that nobody needs at the moment."""

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
from playground.public.disk_quota import LEFT_OVER_SECONDS, Janitor
from playground.public.visitor import Visitor
from tests.playground.public.test_ownership import ANNA, BERT, Page
from tests.run_folders import checkpoint

CARLA = Visitor("c" * 64)
SIZE = 50_000  # bytes of a run's files


@pytest.fixture
def page(tmp_path: Path) -> Page:
    page = Page(tmp_path)
    page.house.limits = Limits(disk_bytes=2**20)
    page.store.limits = page.shelf.limits = Limits()
    return page


def janitor(page: Page) -> Janitor:
    return Janitor(page.house, page.texts, page.texts.root.parent / "uploads", page.store.lately)


def train(page: Page, visitor: Visitor, number: int) -> Run:
    page.asks = visitor
    info = page.shelf.add_text(f"text number {number}. " * 100, "tale.txt")
    run = page.store.create(settings={}, corpus=info, preset="nano")
    write_status(run.folder, "completed", step=1000)
    (run.folder / "checkpoint_00000000.safetensors").write_bytes(b"x" * SIZE)
    return run


def test_beyond_the_quota_the_oldest_finished_runs_go_first(page: Page) -> None:
    checkpoint(page.house.root / "pretrained" / "nano", "00000010", 10, 1.0)
    (page.house.root / "pretrained" / "nano" / "checkpoint_00000020.safetensors").write_bytes(b"x" * 2**21)
    runs = [train(page, (ANNA, BERT, CARLA)[n % 3], n) for n in range(30)]
    page.asks = CARLA
    alive, queued, opened = runs[0], runs[1], runs[2]
    write_status(queued.folder, "queued", step=0)
    page.store.get(opened.id)
    with Heartbeat(alive.folder):
        write_status(alive.folder, "running", step=0)
        sweeping = janitor(page)
        assert sweeping.used() > 2**20
        sweeping.sweep()
        assert sweeping.used() <= 2**20
        left = {run.id for run in page.house.list()}
    assert {alive.id, queued.id, opened.id, "pretrained-nano"} <= left
    gone = [run.id not in left for run in runs[3:]]
    assert any(gone) and not all(gone) and gone == sorted(gone, reverse=True)  # no gap: the oldest
    page.asks = ANNA
    with pytest.raises(InputError) as caught:
        page.store.get(next(run for run in runs[3:] if run.owner == ANNA.owner).id)
    assert str(caught.value) == RUN_NOT_FOUND
    for run in page.house.list():
        if not run.read_only:
            assert page.texts.get(run.corpus["sha256"])  # what is left has its text


def test_texts_go_too_where_they_fill_the_disk(page: Page) -> None:
    page.asks = ANNA
    for n in range(30):
        page.shelf.add_text(f"{n} " + "words and more words " * 5000, f"text {n}")
        entry = max(page.texts.root.glob("shelves/*/*"), key=lambda path: path.stat().st_mtime)
        os.utime(entry, (0, time.time() - 10_000 + n))
    janitor(page).sweep()
    names = [info.name for info in page.shelf.list() if not info.bundled]
    assert 0 < len(names) < 30 and set(names) == {f"text {n}" for n in range(30 - len(names), 30)}
    assert len(list(page.texts.root.glob("*.txt"))) == len(names)


def test_uploaded_files_cost_nobody_a_run(page: Page) -> None:
    run = train(page, ANNA, 1)
    uploads = page.texts.root.parent / "uploads"
    uploads.mkdir()
    (uploads / "large.txt").write_bytes(b"x" * 2**21)
    os.utime(uploads / "large.txt", (0, time.time() - 600))
    janitor(page).sweep()
    assert page.house.get(run.id) and not (uploads / "large.txt").exists()


def test_what_is_left_over_goes_after_a_while(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = train(page, ANNA, 1)
    page.asks = BERT
    forgotten = page.shelf.add_text("of somebody who never came back", "forgotten")
    common = page.texts.add_text("there for everybody", "common", builtin="x")
    orphan = page.texts.add_text("nobody has this", "orphan")
    uploads = page.texts.root.parent / "uploads" / "a"
    uploads.mkdir(parents=True)
    (uploads / "upload.txt").write_text("x")
    sweeping = janitor(page)
    sweeping.sweep()
    assert len(page.texts.list()) == 5 and (uploads / "upload.txt").exists()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + LEFT_OVER_SECONDS + 60)
    sweeping.sweep()
    assert orphan.sha256 not in [info.sha256 for info in page.texts.list()] and not (uploads / "upload.txt").exists()
    assert page.texts.get(forgotten.sha256)
    monkeypatch.setattr(time, "time", lambda: now() + 90_000)
    sweeping.sweep()
    left = {info.sha256 for info in page.texts.list() if not info.bundled}
    assert left == {kept.corpus["sha256"], common.sha256} and page.house.get(kept.id)


def test_without_a_quota_nothing_that_somebody_keeps_goes(page: Page) -> None:
    page.house.limits = replace(page.house.limits, disk_bytes=None)
    runs = [train(page, ANNA, n) for n in range(3)]
    janitor(page).sweep()
    assert len(page.house.list()) == len(runs)
