"""Guarantee B2: training survives a killed server, a restarted server shows it, and no step is trained twice."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore
from nanollm.train.events import Step
from tests.conftest import ROOT
from tests.serving import serve
from tests.speed import assert_within, until, within
from tests.tiny_runs import TINY

SERVER = """
import sys, time
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.store import RunStore
launcher = Launcher(RunStore(sys.argv[1]), sys.argv[2])
launcher.watch()
launcher.start(sys.argv[3])
print("started", flush=True)
time.sleep(600)
"""


def steps(run: Run) -> list[int]:
    return [event.step for event in run.events() if isinstance(event, Step)]


def test_a_new_server_adopts_the_run_of_a_killed_server(
    store: RunStore, corpora: CorpusStore, launcher: Launcher, make
) -> None:
    run, waiting = make(num_steps=200, log_interval=1), make()
    command = [sys.executable, "-c", SERVER, str(store.root), str(corpora.root), run.id]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout and server.stdout.readline()
        server.kill()
    worker = run.status()
    with within(5):
        launcher.advance()
    assert run.status().active and waiting.status().state == "queued", worker
    until(lambda: waiting.status().state == "completed")  # starts only after the first run
    assert run.status().state == "completed"
    assert steps(run) == sorted(set(steps(run))) and steps(run)[-1] == 200


@pytest.mark.long
def test_a_restarted_page_shows_the_run_of_the_killed_page(tmp_path: Path) -> None:
    home = tmp_path
    corpora, store = CorpusStore(home / "data" / "corpora"), RunStore(home / "checkpoints")
    corpus = corpora.list()[0]
    long = {**TINY, "num_steps": 1_000_000, "log_interval": 1, "checkpoint_interval": 500, "eval_interval": 100_000}
    run = store.create(settings=long, corpus=corpus)
    with serve(home) as page:
        until(lambda: run.status().step > 50)
        page.process.kill()
        page.process.wait()
        reached = run.status().step
        began = time.monotonic()
        with serve(home) as again:
            assert again.store.get(run.id).status().state == "running"
            assert_within(time.monotonic() - began - again.startup_seconds, 5)
            until(lambda: run.status().step > reached + 50)
            taken = steps(run)  # read once, because training continues
            assert taken == sorted(set(taken))
