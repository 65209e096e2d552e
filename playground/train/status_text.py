"""How a run is put into words: its state as a sentence with what to do, its loss as a number of choices, its times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nanollm.charts.base import Reference
from nanollm.runs.store import Curve, Run, Status
from nanollm.train.events import Start
from nanollm.train.workload import duration

NUMBERS = ("validation loss", "characters to choose among", "time left")
STRIP = 160  # characters of a sample in the strip
# Which buttons a state offers; "fork" only where there is a snapshot.
BUTTONS = {
    "queued": ("pause", "stop"),
    "running": ("pause", "stop", "fork"),
    "stalled": ("stop", "fork"),
    "paused": ("resume", "stop", "fork"),
    "stopped": ("resume", "onward", "fork"),
    "failed": ("resume", "fork"),
    "lost": ("resume", "stop", "fork"),
    "completed": ("onward", "fork"),
    "diverged": ("fork",),
}
# Before the first step, where most of the time goes into what calibration.py does.
GETTING_READY = (
    "Getting ready: it reads the text and, for a shape that is new to this machine, tries which way to compute is "
    "fastest. The first words appear by themselves."
)
_GOING_ON = {
    ("onward", "fork"): "Continue makes a new run that goes on from the end of this one, Fork one from the snapshot "
    "chosen above.",
    ("fork",): "Fork makes a new run that goes on from the snapshot chosen above.",
}


def headline(run: Run, status: Status, curve: Curve) -> list[list[str]]:
    """The three large numbers, each with its name."""
    measured = [loss for loss in curve.val_loss if loss is not None]
    loss = measured[-1] if measured else None
    left = duration(status.eta_seconds) if status.state == "running" else "–"
    return [
        [NUMBERS[0], f"{loss:.2f}" if loss is not None else "–"],
        [NUMBERS[1], choices(loss)],
        [NUMBERS[2], left] if status.active else ["time in training", duration(status.seconds)],
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
    shown = {"run": "", "own": False, "state": "", "fraction": None, "facts": "", "samples": samples or []}
    shown["stamp"] = stamp or ""
    if run is None or status is None:
        return shown
    speed = f"{status.tokens_per_second:,.0f} characters a second" if status.tokens_per_second else ""
    steps = f"step {status.step:,} of {status.num_steps:,}"
    size = f"{run.model_config.num_parameters:,} parameters"
    fraction = None if run.checkpoints_only else round(status.progress, 4)
    told = ", ".join(part for part in (steps, speed, size) if part)
    which = {"run": run.id, "own": not run.read_only}
    return shown | which | {"state": status.state, "fraction": fraction, "facts": told}


def health(run: Run, status: Status, curve: Curve) -> list[list[str]]:
    """What says whether training is well, and what was settled when it began."""
    start = next((event for event in run.events() if isinstance(event, Start)), None)
    last = curve.last
    told = [
        ["gradient norm", f"{last.grad_norm:.3g}" if last and last.grad_norm is not None else "–"],
        ["learning rate", f"{last.learning_rate:.3g}" if last else "–"],
    ]
    if start:
        told += [["precision", start.precision], ["threads", f"{start.threads}"], ["computes on", start.device]]
    if status.peak_bytes:
        told.append(["memory, at most", size(status.peak_bytes)])
    return told


def newest_samples(run: Run, count: int = 3) -> list[dict[str, Any]]:
    """The newest things that the model wrote, newest first, one a step, each cut to a strip."""
    by_step = {sample.step: sample for sample in run.samples()}
    return [
        {"step": step, "prompt": sample.prompt[:STRIP], "text": sample.text[:STRIP]}
        for step, sample in sorted(by_step.items(), reverse=True)[:count]
    ]


def beaten(curve: Curve, references: Sequence[Reference], over: bool = False) -> str:
    """Which of the reference lines the validation loss is below, which it lost again, and which comes next.

    The first of several, blind guessing, is no news: one step is enough.
    """
    columns = zip(curve.eval_steps, curve.val_loss, strict=True)
    measured = [(step, loss) for step, loss in columns if step and loss is not None]
    hardest_last = sorted(references, key=lambda reference: -reference.loss)
    if not measured or len(hardest_last) < 2:
        return ""
    told, below = [], [(one, since) for one in hardest_last[1:] if (since := _below_since(measured, one.loss))]
    if below:
        told.append(f"{'Better' if over else 'Now better'} than {below[-1][0].name} (since step {below[-1][1]:,}).")
    missing = hardest_last[1 + len(below) :]
    lost = [(one, at[-1]) for one in missing if (at := [step for step, loss in measured if loss < one.loss])]
    if lost:
        told.append(f"It was better than {lost[-1][0].name} at step {lost[-1][1]:,}, and lost that again.")
    elif not missing:
        told.append("It has passed all that counting can do.")
    elif not over:
        told.append(f"Next: {missing[0].name}, which {missing[0].meaning}, at {missing[0].loss:.2f}.")
    return " ".join(told)


def _below_since(measured: Sequence[tuple[int, float]], bound: float) -> int | None:
    """The step from which on every measurement (step, loss) is below a bound; None if the last one is not."""
    since = None
    for step, loss in measured:
        since = None if loss >= bound else since or step
    return since


def run_sentences(run: Run, status: Status, wait: float | None = None) -> str:
    """How the run stands and, where it continues another, what that means for its curve; `wait` is in seconds."""
    state = state_sentence(run, status, wait)
    return f"{state.rstrip()} {run.parent.describe()}" if run.parent else state


def state_sentence(run: Run, status: Status, wait: float | None = None) -> str:
    """How the run stands, and what to do where something can be done."""
    if status.requested:
        return "Saving, then it pauses." if status.requested == "pause" else "Saving, then it stops."
    step = f"step {status.step:,}"
    took = f" in {duration(status.seconds)} of training" if status.seconds else ""  # evaluating and saving come on top
    reason = status.reason.rstrip()
    told = f"{reason} " if reason else ""
    if status.state == "running" and not status.step:
        return GETTING_READY
    return {
        "queued": _place(status.place, wait),
        "running": "Training. You can close this page: it goes on.",
        "completed": f"Finished: {status.step:,} steps{took}.",
        "paused": f"Paused at {step}. {told}Resume goes on from exactly there.",
        "stopped": f"Stopped at {step}; what it learned is kept. {told}",
        "failed": f"Training failed at {step}. {told}Resume tries again from the last save.",
        "lost": f"{told}Resume goes on from the last save.",
        "stalled": f"{told}Wait a little, or stop it and keep what is saved.",
        "diverged": f"The loss left every bound at {step}. Start again with a smaller learning rate.",
    }.get(status.state, reason)


def going_on(offered: Sequence[str]) -> str:
    """What the buttons do that make a new run; empty where none of them is offered."""
    return _GOING_ON.get(tuple(name for name in offered if name in ("onward", "fork")), "")


def size(number: float) -> str:
    """Bytes as a person says them."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _place(place: int | None, wait: float | None) -> str:
    """The place in line and, where it can be told, how long that takes."""
    told = "Next in line" if place is None or place <= 1 else f"{ordinal(place)} in line"
    return f"{told}, about {duration(wait)}. You can close this page." if wait else f"{told}. You can close this page."


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, … 11th, … 21st."""
    teen = 10 < number % 100 < 20
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
