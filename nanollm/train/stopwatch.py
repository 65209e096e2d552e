"""Where the elapsed time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Mapping

# "start" is the time until the first event: imports, reading the text, loading the state.
ACTIVITIES = ("start", "calibration", "steps", "evaluation", "samples", "files")


class Stopwatch:
    """Divides the elapsed time of a run among ACTIVITIES, without gaps: lap() adds the time since the previous lap.

    Pauses do not count, because a resumed run continues with a new stopwatch that starts from the recorded times.
    """

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        """Start with `seconds` per activity so far."""
        self.seconds = dict.fromkeys(ACTIVITIES, 0.0) | dict(seconds or {})
        self.restart()

    def restart(self, at: float | None = None) -> None:
        """Begin a lap now, or at an earlier time.monotonic(). The time before it is not counted."""
        self._last = time.monotonic() if at is None else at

    def lap(self, activity: str) -> None:
        """Add the time since the previous lap to an activity."""
        now = time.monotonic()
        self.seconds[activity] += now - self._last
        self._last = now

    @property
    def elapsed(self) -> float:
        """Seconds of all activities up to the last lap."""
        return sum(self.seconds.values())

    def rounded(self) -> dict[str, float]:
        """The seconds per activity, rounded to 0.1 ms for the records."""
        return {activity: round(seconds, 4) for activity, seconds in self.seconds.items()}
