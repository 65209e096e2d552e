"""How a run is put into words: its state as a sentence with what to do, its loss as a number of choices, its times."""

from __future__ import annotations

import math
from typing import Any

from nanollm.runs.store import Curve, Run, Status

STRIP = 160  # characters of a sample in the strip
# Which buttons a state offers.
BUTTONS = {
    "queued": ("pause", "stop"),
    "running": ("pause", "stop"),
    "stalled": ("stop",),
    "paused": ("resume", "stop"),
    "stopped": ("resume",),
    "failed": ("resume",),
    "lost": ("resume", "stop"),
}


def headline(run: Run, status: Status, curve: Curve) -> list[list[str]]:
    """The three large numbers, each with its name."""
    measured = [loss for loss in curve.val_loss if loss is not None]
    loss = measured[-1] if measured else None
    left = duration(status.eta_seconds) if status.state == "running" else "–"
    return [
        ["validation loss", f"{loss:.2f}" if loss is not None else "–"],
        ["characters it chooses among", choices(loss)],
        ["left", left] if status.active else ["took", duration(status.seconds)],
    ]


def choices(loss: float | None) -> str:
    """A loss as a number of characters: so many equally likely ones are as hard to choose among."""
    if loss is None:
        return "–"
    return f"{math.exp(loss):.1f}" if loss < math.log(10_000) else "over 10,000"


def facts(
    stamp: str | None, run: Run | None = None, status: Status | None = None, samples: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """What the progress component shows of a run, or that there is none; `stamp` says to the caller what is shown."""
    shown = {"state": "", "fraction": None, "facts": "", "samples": samples or [], "stamp": stamp or ""}
    if run is None or status is None:
        return shown
    speed = f"{status.tokens_per_second:,.0f} characters a second" if status.tokens_per_second else ""
    steps = f"step {status.step:,} of {status.num_steps:,}"
    size = f"{run.model_config.num_parameters:,} parameters"
    fraction = None if run.bare else round(status.progress, 4)
    told = ", ".join(part for part in (steps, speed, size) if part)
    return shown | {"state": status.state, "fraction": fraction, "facts": told}


def newest_samples(run: Run, count: int = 3) -> list[dict[str, Any]]:
    """The newest things that the model wrote, newest first, one a step, each cut to a strip."""
    by_step = {sample.step: sample for sample in run.samples()}
    return [
        {"step": step, "prompt": sample.prompt[:STRIP], "text": sample.text[:STRIP]}
        for step, sample in sorted(by_step.items(), reverse=True)[:count]
    ]


def run_sentences(run: Run, status: Status) -> str:
    """How the run stands and, where it continues another, what that means for its curve."""
    state = state_sentence(run, status)
    return f"{state.rstrip()} {run.parent.sentence()}" if run.parent else state


def state_sentence(run: Run, status: Status) -> str:
    """How the run stands, and what to do where something can be done."""
    if status.asked:
        return "Saving, then it pauses." if status.asked == "pause" else "Saving, then it stops."
    step = f"step {status.step:,}"
    took = f" in {duration(status.seconds)}" if status.seconds else ""
    reason = status.reason.rstrip()
    told = f"{reason} " if reason else ""
    if status.state == "running" and not status.step:
        return "Getting ready. First words in a moment."
    return {
        "queued": _place(status.place),
        "running": "Training. You can close this page: it goes on.",
        "completed": f"Finished: {status.step:,} steps{took}.",
        "paused": f"Paused at {step}. {told}Resume goes on from exactly there.",
        "stopped": f"Stopped at {step}; what it learned is kept. {told}",
        "failed": f"Training failed at {step}. {told}Resume tries again from the last save.",
        "lost": f"{told}Resume goes on from the last save.",
        "stalled": f"{told}Wait a little, or stop it and keep what is saved.",
        "diverged": f"The loss left every bound at {step}. Start again with a smaller learning rate.",
    }.get(status.state, reason)


def duration(seconds: float | None) -> str:
    """A time as a person says it: 8 s, 3 min, 2.2 h."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h"


def _place(place: int | None) -> str:
    if place is None or place <= 1:
        return "Next in line: it starts by itself. You can close this page."
    ordinal = {2: "2nd", 3: "3rd"}.get(place, f"{place}th")
    return f"{ordinal} in line. You can close this page."
