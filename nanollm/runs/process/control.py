"""What passes between a worker's process and the training in it: wishes on the way in, an outcome on the way out."""

from __future__ import annotations

import math
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nanollm.runs import folder as names

GRACE_SECONDS = 8.0  # after a signal to end: a step that takes longer, or ranks that do not agree on one, are given up


class Interrupted(Exception):
    """Training was asked to end between two steps; `wish` is "pause" or "stop"."""

    def __init__(self, wish: str) -> None:
        super().__init__(wish)
        self.wish = wish


@dataclass(frozen=True)
class Outcome:
    """How a stretch of training ended: a state of status.json, and what goes into it."""

    state: str
    step: int
    reason: str = ""
    seconds: float | None = None
    val_loss: float | None = None  # the lowest


class Wishes:
    """What the run is asked to do: by files in control/, by a signal, or by the clock."""

    INTERVAL = 0.05  # seconds between two looks at the files; a look costs as much as 1 % of a step of nano

    def __init__(self, folder: Path, seconds: float | None = None) -> None:
        """After so many seconds, counted from the first check(), training is to stop by itself."""
        self._control = folder / names.CONTROL
        self._looked = 0.0
        self.seconds = seconds
        self._until: float | None = None
        self.overdue = False
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
            self.overdue = True
            raise Interrupted("stop")
        for wish in names.WISHES:
            if (self._control / wish).exists():
                self.terminated |= wish == "end"
                raise Interrupted("pause" if wish == "end" else wish)

    def obeyed(self) -> None:
        """Take the notes away. Raises OSError."""
        for wish in names.WISHES:
            (self._control / wish).unlink(missing_ok=True)


def log_traceback() -> None:
    """Print the exception at hand to worker.log: for developers, and only if the disk has room for it."""
    with suppress(OSError):
        traceback.print_exc()
