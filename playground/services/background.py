"""Background jobs: n-gram baselines of texts and step times of presets, computed outside of requests."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass, field

from nanollm.data.corpus import CorpusStore
from nanollm.data.ngrams import Baselines
from nanollm.runs.process.launcher import worker_environment
from nanollm.runs.store import RunStore

START_DELAY = 2.0  # seconds that a visitor views the presets before measuring starts
RETRY_SECONDS = 60.0  # before measuring is tried again after a crash


class BaselineJobs:
    """Computes the n-gram baselines of texts, so that the loss chart can show them before the first run."""

    def __init__(self, corpora: CorpusStore) -> None:
        self._corpora = corpora
        self._jobs: dict[str, Future[Baselines]] = {}
        self._thread = ThreadPoolExecutor(1, "baselines")
        self._lock = threading.Lock()

    def get(self, sha256: str, patience: float = 0.3) -> Baselines | None:
        """Return a text's baselines, or None if they are not ready after `patience` seconds."""
        with self._lock:
            if sha256 not in self._jobs:
                self._jobs[sha256] = self._thread.submit(self._corpora.baselines, sha256)
            job = self._jobs[sha256]
        try:
            return job.result(patience)
        except FutureTimeout:
            return None
        except Exception:  # the text was deleted meanwhile, or the disk failed: the next call tries again
            with self._lock:
                self._jobs.pop(sha256, None)
            return None


@dataclass
class _StepTimes:
    """Seconds per step of each preset, for one vocabulary size."""

    seconds: dict[str, float] = field(default_factory=dict)
    finished: bool = False
    first_request: float = field(default_factory=time.monotonic)


class StepTimeJobs:
    """Measures the seconds per training step of each preset on this machine, in a subprocess while nothing trains."""

    def __init__(self, runs: RunStore, on_demand: bool = True) -> None:
        """With `on_demand=False`, never measure: on a public page it would run all the time."""
        self._runs = runs
        self._on_demand = on_demand
        self._known: dict[int, _StepTimes] = {}
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def get(self, vocab_size: int) -> dict[str, float]:
        """Return the seconds per step of the presets measured so far. Repeated calls start measuring the others."""
        with self._lock:
            known = self._known.setdefault(vocab_size, _StepTimes())
            measuring = self._process is not None and self._process.poll() is None
            due = self._on_demand and time.monotonic() - known.first_request > START_DELAY
            if measuring or (due and not known.finished):
                training = self._training()
                if measuring and training:
                    self._terminate()
                elif not measuring and not training:
                    self._start(vocab_size, known)
            return dict(known.seconds)

    def pending(self, vocab_size: int) -> str:
        """Return why get() is incomplete: "measuring", or waiting for a "training"; empty if nothing will be added."""
        with self._lock:
            known = self._known.setdefault(vocab_size, _StepTimes())
        if known.finished or not self._on_demand:
            return ""
        return "training" if self._training() else "measuring"

    def stop(self) -> None:
        """Stop measuring, because a training starts or the page closes. Later calls of get() resume it."""
        with self._lock:
            self._terminate()

    def _training(self) -> bool:
        return any(run.alive() for run in self._runs.list())

    def _terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def _start(self, vocab_size: int, known: _StepTimes) -> None:
        with suppress(OSError):
            self._process = subprocess.Popen(
                measure_command(vocab_size),
                env=worker_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            threading.Thread(target=_read_times, args=(self._process, known), name="step-times", daemon=True).start()


def measure_command(vocab_size: int) -> list[str]:
    """Return the command line of the measuring process."""
    return [sys.executable, "-m", "nanollm.train.step_times", str(vocab_size)]


def _read_times(process: subprocess.Popen[str], known: _StepTimes) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        known.seconds.update({name: seconds for name, seconds in json.loads(line).items() if seconds})
    known.finished = process.wait() == 0  # after stop() or a crash, get() starts it again
    if process.returncode > 0:
        known.first_request = time.monotonic() + RETRY_SECONDS
