"""What is found out aside, so that nobody waits for it: what counting achieves on a text, how fast this machine is."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from nanollm.baselines import Baselines
from nanollm.corpus import CorpusStore
from nanollm.runs.launcher import worker_environment
from nanollm.runs.store import RunStore

STAYS_SECONDS = 2.0  # who looks at the cards for so long may wonder how long training takes; others just pass through


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
        with suppress(Exception):  # a text that was deleted meanwhile; the page goes on without its lines
            return self._counting[sha256].result(patience)
        return None


@dataclass
class _Measured:
    """Seconds of a step for each preset, for texts of one vocabulary's size."""

    seconds: dict[str, float] = field(default_factory=dict)
    finished: bool = False
    asked: float = field(default_factory=time.monotonic)  # for the first time


class Pace:
    """How many seconds a step of each preset takes on this machine: measured aside, while nobody trains."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._known: dict[int, _Measured] = {}
        self._process: subprocess.Popen[str] | None = None
        self._guard = threading.Lock()

    def get(self, vocab_size: int) -> dict[str, float]:
        """Seconds of a step for the presets that are measured so far; whoever goes on asking has the rest measured."""
        with self._guard:
            known = self._known.setdefault(vocab_size, _Measured())
            idle = self._process is None or self._process.poll() is not None
            stays = time.monotonic() - known.asked > STAYS_SECONDS
            if not known.finished and idle and stays and not any(run.alive() for run in self._store.list()):
                self._begin(vocab_size, known)
            return dict(known.seconds)

    def give_way(self) -> None:
        """Stop measuring: somebody wants to train. What is not known yet is measured another time."""
        with self._guard:
            if self._process is not None:
                self._process.terminate()

    def _begin(self, vocab_size: int, known: _Measured) -> None:
        command = [sys.executable, "-m", "nanollm.pace", str(vocab_size)]
        with suppress(OSError):
            self._process = subprocess.Popen(
                command, env=worker_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            threading.Thread(target=_listen, args=(self._process, known), name="pace", daemon=True).start()


def _listen(process: subprocess.Popen[str], known: _Measured) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        known.seconds.update({name: seconds for name, seconds in json.loads(line).items() if seconds})
    known.finished = process.wait() >= 0  # it has said all that it can; after give_way() it is asked again
