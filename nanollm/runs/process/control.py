"""What passes between a worker's process and the training in it: requests on the way in, an outcome on the way out."""

from __future__ import annotations

import math
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nanollm.runs import run_files

GRACE_SECONDS = 8.0  # after a signal to end: a step that takes longer, or ranks that do not agree on one, are given up


class Interrupted(Exception):
    """Training was asked to end between two steps; `request` is "pause" or "stop"."""

    def __init__(self, request: str) -> None:
        super().__init__(request)
        self.request = request


@dataclass(frozen=True)
class Outcome:
    """How a stretch of training ended: a state of status.json, and what goes into it."""

    state: str
    step: int
    reason: str = ""
    seconds: float | None = None
    val_loss: float | None = None  # the lowest


class ControlRequests:
    """What the run is asked to do: by files in control/, by a signal, or by the clock."""

    INTERVAL = 0.05  # seconds between two looks at the files; a look costs as much as 1 % of a step of nano

    def __init__(self, folder: Path, seconds: float | None = None) -> None:
        """After so many seconds, counted from the first check(), training is to stop by itself."""
        self._control = folder / run_files.CONTROL
        self._looked = 0.0
        self.seconds = seconds
        self._until: float | None = None
        self.time_limit_reached = False
        self.terminated = False  # set by a signal handler, too

    def check(self) -> None:
        """Raise Interrupted if something is asked for. Cheap enough for every step."""
        if self.terminated:
            raise Interrupted("pause")
        now = time.monotonic()
        if now - self._looked < self.INTERVAL:
            return
        self._looked = now
        if self._until is None:
            self._until = now + (math.inf if self.seconds is None else self.seconds)
        if now > self._until:
            self.time_limit_reached = True
            raise Interrupted("stop")
        for request in run_files.CONTROL_REQUESTS:
            if (self._control / request).exists():
                self.terminated |= request == "end"
                raise Interrupted("pause" if request == "end" else request)

    def clear(self) -> None:
        """Take the notes away. Raises OSError."""
        for request in run_files.CONTROL_REQUESTS:
            (self._control / request).unlink(missing_ok=True)


def log_traceback() -> None:
    """Print the exception at hand to worker.log: for developers, and only if the disk has room for it."""
    with suppress(OSError):
        traceback.print_exc()
