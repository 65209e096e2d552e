"""Guarantee B3, server: on SIGTERM a public page pauses its run, and the next start resumes it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.limits import PUBLIC
from nanollm.runs.record import Run
from nanollm.train.loop import TrainState
from tests.serving import Page, serve
from tests.speed import assert_within, until
from tests.tiny_runs import TINY


def training(page: Page, text: str) -> Run:
    """Start a visitor's run and return it after some steps."""
    corpus = CorpusStore(page.home / "data" / "corpora", PUBLIC).add_text(text[:3000], "tale.txt")
    settings = {**TINY, "num_steps": 1_000_000, "log_interval": 1, "checkpoint_interval": 1_000_000}
    run = page.store.create(settings=settings, corpus=corpus, owner="a" * 64)
    until(lambda: run.status().step > 20)
    return run


def test_a_terminated_public_page_saves_the_run_and_the_next_resumes_it(tmp_path: Path, text: str) -> None:
    with serve(tmp_path, public=True) as page:
        run = training(page, text)
        began = time.monotonic()
        page.process.terminate()
        page.process.wait(timeout=120)
        took, status = time.monotonic() - began, run.status()
        assert_within(took, 10)
        assert not run.alive()
        assert status.state == "queued", status
        newest = run.resume_files()[0]
        assert TrainState.load(newest, run.train_config).step >= status.step - 1 >= 20
        with serve(tmp_path, public=True):
            until(lambda: run.alive() and run.status().step > status.step)


@pytest.mark.slow
def test_training_continues_after_a_local_page_is_terminated(tmp_path: Path, text: str) -> None:
    with serve(tmp_path) as page:
        run = training(page, text)
        page.process.terminate()
        page.process.wait(timeout=120)
        step = run.status().step
        until(lambda: run.status().step > step + 20, 20)
        assert run.alive()
