"""Control requests to a training process, and the outcome that it returns."""

from __future__ import annotations

import math
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nanollm.runs import run_files

GRACE_SECONDS = 8.0  # after SIGTERM, exit even if a step or another rank has not finished


class Interrupted(Exception):
    """Raised between two steps to end training; `request` is "pause" or "stop"."""

    def __init__(self, request: str) -> None:
        super().__init__(request)
        self.request = request


@dataclass(frozen=True)
class Outcome:
    """How training ended: the state for status.json and its details."""

    state: str
    step: int
    reason: str = ""
    seconds: float | None = None  # spent on training steps
    elapsed: float | None = None  # the whole time, without pauses
    val_loss: float | None = None  # the lowest so far


class ControlRequests:
    """Pending requests to a run: files in control/, a signal, or a time limit."""

    INTERVAL = 0.05  # seconds between checks of the files; one check costs about 1% of a step of nano

    def __init__(self, folder: Path, seconds: float | None = None) -> None:
        """Request a stop after `seconds`, counted from the first check(); None: no limit."""
        self._control = folder / run_files.CONTROL
        self._checked = 0.0
        self.seconds = seconds
        self._until: float | None = None
        self.time_limit_reached = False
        self.terminated = False  # also set by the signal handler

    def check(self) -> None:
        """Raise Interrupted if there is a request. Fast enough to call at every step."""
        if self.terminated:
            raise Interrupted("pause")
        now = time.monotonic()
        if now - self._checked < self.INTERVAL:
            return
        self._checked = now
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
        """Delete the request files. Raises OSError."""
        for request in run_files.CONTROL_REQUESTS:
            (self._control / request).unlink(missing_ok=True)


def log_traceback() -> None:
    """Print the current traceback to worker.log; ignore a full disk."""
    with suppress(OSError):
        traceback.print_exc()
