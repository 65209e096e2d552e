"""What is found out aside, so that nobody waits for it: what counting achieves on a text, how fast this machine is."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from dataclasses import dataclass, field

from nanollm.data.corpus import CorpusStore
from nanollm.data.ngrams import Baselines
from nanollm.runs.process.launcher import worker_environment
from nanollm.runs.store import RunStore

STAYS_SECONDS = 2.0  # who looks at the cards for so long may wonder how long training takes; others just pass through

AGAIN_SECONDS = 60.0  # before measuring is tried again after it has crashed


class Counts:
    """What counting achieves on each text, for its chart before there is any run."""

    def __init__(self, corpora: CorpusStore) -> None:
        self._corpora = corpora
        self._counting: dict[str, Future[Baselines]] = {}
        self._thread = ThreadPoolExecutor(1, "counts")
        self._guard = threading.Lock()

    def get(self, sha256: str, patience: float = 0.3) -> Baselines | None:
        """The text's baselines, or None while they are being counted: ask again."""
        with self._guard:
            if sha256 not in self._counting:
                self._counting[sha256] = self._thread.submit(self._corpora.baselines, sha256)
            counting = self._counting[sha256]
        try:
            return counting.result(patience)
        except NotYet:
            return None
        except Exception:  # a text that was deleted meanwhile, a disk that refused: no lines now, and another try later
            with self._guard:
                self._counting.pop(sha256, None)
            return None


@dataclass
class _Measured:
    """Seconds of a step for each preset, for texts of one vocabulary's size."""

    seconds: dict[str, float] = field(default_factory=dict)
    finished: bool = False
    asked: float = field(default_factory=time.monotonic)  # for the first time


class Pace:
    """How many seconds a step of each preset takes on this machine: measured aside, while nobody trains."""

    def __init__(self, store: RunStore, on_demand: bool = True) -> None:
        """Where many look, nothing is measured on demand: it would go on for as long as anybody looks."""
        self._store = store
        self._on_demand = on_demand
        self._known: dict[int, _Measured] = {}
        self._process: subprocess.Popen[str] | None = None
        self._guard = threading.Lock()

    def get(self, vocab_size: int) -> dict[str, float]:
        """Seconds of a step for the presets that are measured so far; whoever goes on asking has the rest measured."""
        with self._guard:
            known = self._known.setdefault(vocab_size, _Measured())
            measuring = self._process is not None and self._process.poll() is None
            stays = self._on_demand and time.monotonic() - known.asked > STAYS_SECONDS
            if measuring or (stays and not known.finished):
                training = any(run.alive() for run in self._store.list())
                if measuring and training:
                    self._end()
                elif not measuring and not training:
                    self._begin(vocab_size, known)
            return dict(known.seconds)

    def lacks(self, vocab_size: int) -> str:
        """Why get() does not know all yet: "measuring" it, or a "training" is in the way; empty if it never will."""
        with self._guard:
            known = self._known.setdefault(vocab_size, _Measured())
        if known.finished or not self._on_demand:
            return ""
        return "training" if any(run.alive() for run in self._store.list()) else "measuring"

    def give_way(self) -> None:
        """Stop measuring: somebody wants to train, or the page ends. What is not known yet is measured another time."""
        with self._guard:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def _begin(self, vocab_size: int, known: _Measured) -> None:
        with suppress(OSError):
            self._process = subprocess.Popen(
                measuring(vocab_size),
                env=worker_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            threading.Thread(target=_listen, args=(self._process, known), name="pace", daemon=True).start()


def measuring(vocab_size: int) -> list[str]:
    """The command line of the process that measures."""
    return [sys.executable, "-m", "nanollm.train.step_times", str(vocab_size)]


def _listen(process: subprocess.Popen[str], known: _Measured) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        known.seconds.update({name: seconds for name, seconds in json.loads(line).items() if seconds})
    known.finished = process.wait() == 0  # it has said all that it can; after give_way(), or a crash, it is asked again
    if process.returncode > 0:
        known.asked = time.monotonic() + AGAIN_SECONDS
