"""How long something takes, in words."""

from __future__ import annotations

import math


def duration(seconds: float | None) -> str:
    """A time as a person says it: 8 s, 3 min, 2.2 h, 4.5 days; a dash where it cannot be told."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 100 else f"{hours / 24:.1f} days"
