"""Text about a run: its state with what the user can do, its loss, its times, the baselines it has passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nanollm.charts.base import Reference
from nanollm.runs.store import Curve, Run, Status
from nanollm.train.events import Start
from nanollm.train.workload import duration
from playground.components.format import byte_size, ordinal, perplexity
from playground.train import sentences

SAMPLE_LENGTH = 160  # characters of a sample in the strip
# The buttons for each state. Those in NEW_RUN_BUTTONS also need a snapshot.
BUTTONS = {
    "queued": ("pause", "stop"),
    "running": ("pause", "stop", "fork"),
    "stalled": ("stop", "fork"),
    "paused": ("resume", "stop", "fork"),
    "stopped": ("resume", "continue", "fork"),
    "failed": ("resume", "fork"),
    "lost": ("resume", "stop", "fork"),
    "completed": ("continue", "fork"),
    "diverged": ("fork",),
}
NEW_RUN_BUTTONS = ("continue", "fork")


def headline(status: Status, curve: Curve) -> dict[str, str]:
    """Return the three large numbers by name."""
    measured = [loss for loss in (*curve.val_loss, curve.final_losses[1]) if loss is not None]
    loss = measured[-1] if measured else None
    left = duration(status.eta_seconds) if status.state == "running" else "–"
    active = status.active
    time = {sentences.TIME_LEFT: left} if active else {sentences.TRAINING_TIME: duration(status.elapsed)}
    return {
        sentences.VALIDATION_LOSS: f"{loss:.2f}" if loss is not None else "–",
        sentences.PERPLEXITY: perplexity(loss),
        **time,
    }


def progress(
    stamp: str, run: Run | None = None, status: Status | None = None, samples: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the value of the progress component; without a run, an empty one.

    `stamp` identifies what the browser shows. The browser sends it back with the next request.
    """
    shown = {"run": "", "own": False, "state": "", "fraction": None, "facts": "", "samples": samples or []}
    shown["stamp"] = stamp
    if run is None or status is None:
        return shown
    speed = status.tokens_per_second
    facts = (
        sentences.PROGRESS_STEPS.format(step=status.step, steps=status.num_steps),
        sentences.PROGRESS_SPEED.format(speed=speed) if speed else "",
        sentences.CARD_PARAMETERS.format(count=run.model_config.num_parameters),
    )
    return shown | {
        "run": run.id,
        "own": not run.read_only,
        "state": status.state,
        "fraction": None if run.checkpoints_only else round(status.progress, 4),
        "facts": ", ".join(filter(None, facts)),
    }


def gradients(run: Run, status: Status, curve: Curve) -> dict[str, str]:
    """Return gradient norm and learning rate of the last step, and the settings chosen when training started."""
    start = next((event for event in run.events() if isinstance(event, Start)), None)
    last = curve.last
    values = {
        sentences.GRADIENT_NORM: f"{last.grad_norm:.3g}" if last and last.grad_norm is not None else "–",
        sentences.LEARNING_RATE: f"{last.learning_rate:.3g}" if last else "–",
    }
    if start:
        values |= {
            sentences.PRECISION: start.precision,
            sentences.THREADS: f"{start.threads}",
            sentences.DEVICE: start.device,
        }
    if status.peak_bytes:
        values[sentences.PEAK_MEMORY] = byte_size(status.peak_bytes)
    return values


def newest_samples(run: Run, count: int = 3) -> list[dict[str, Any]]:
    """Return the newest samples, newest first, one per step, each cut to SAMPLE_LENGTH."""
    by_step = {sample.step: sample for sample in run.samples()}
    return [
        {"step": step, "prompt": sample.prompt[:SAMPLE_LENGTH], "text": sample.text[:SAMPLE_LENGTH]}
        for step, sample in sorted(by_step.items(), reverse=True)[:count]
    ]


def passed_baselines(curve: Curve, references: Sequence[Reference], over: bool = False) -> str:
    """Return which baselines the validation loss is below, which it has risen above again, and which is next.

    The uniform guess is not mentioned: one training step is enough to pass it. `over`: the training has ended.
    """
    columns = zip(curve.eval_steps, curve.val_loss, strict=True)
    measured = [(step, loss) for step, loss in columns if step and loss is not None]
    hardest_last = sorted(references, key=lambda reference: -reference.loss)
    if not measured or len(hardest_last) < 2:
        return ""
    told = []
    below = [(one, since) for one in hardest_last[1:] if (since := _below_since(measured, one.loss))]
    if below:
        template = sentences.BETTER if over else sentences.NOW_BETTER
        told.append(template.format(name=below[-1][0].name, step=below[-1][1]))
    missing = hardest_last[1 + len(below) :]
    lost = [(one, steps[-1]) for one in missing if (steps := [step for step, loss in measured if loss < one.loss])]
    if lost:
        told.append(sentences.NO_LONGER_BETTER.format(name=lost[-1][0].name, step=lost[-1][1]))
    elif not missing:
        told.append(sentences.ALL_PASSED)
    elif not over:
        told.append(sentences.NEXT.format(name=missing[0].name, meaning=missing[0].meaning, loss=missing[0].loss))
    return " ".join(told)


def _below_since(measured: Sequence[tuple[int, float]], bound: float) -> int | None:
    """The first step after which all measurements (step, loss) are below a bound; None if the last one is not."""
    since = None
    for step, loss in measured:
        since = None if loss >= bound else since or step
    return since


def run_sentences(run: Run, status: Status, wait: float | None = None) -> str:
    """Return the run's state and, if it continues another run, what that means for its curve; `wait` in seconds."""
    state = state_sentence(status, wait)
    return f"{state.rstrip()} {run.parent.describe()}" if run.parent else state


def state_sentence(status: Status, wait: float | None = None) -> str:
    """Return the run's state and what the user can do; `wait` is the expected seconds in the queue."""
    if status.requested:
        return sentences.PAUSING if status.requested == "pause" else sentences.STOPPING
    if status.state == "queued":
        return _queued(status.place, wait)
    if status.state == "running" and status.calibration:
        return sentences.CALIBRATING.format(done=status.calibration[0], most=status.calibration[1])
    if status.state == "running":
        return sentences.RUNNING if status.step else sentences.PREPARING
    reason = status.reason.rstrip()
    template = {
        "completed": sentences.COMPLETED_IN if status.elapsed else sentences.COMPLETED,
        "paused": sentences.PAUSED,
        "stopped": sentences.STOPPED,
        "failed": sentences.FAILED,
        "lost": sentences.LOST,
        "stalled": sentences.STALLED,
        "diverged": sentences.DIVERGED,
    }.get(status.state)
    if template is None:
        return reason
    time = duration(status.elapsed) if status.elapsed else ""
    return template.format(step=status.step, time=time, reason=f"{reason} " if reason else "")


def new_run_hint(offered: Sequence[str]) -> str:
    """Return what the offered buttons that make a new run do; empty if none is offered."""
    hints = {("continue", "fork"): sentences.CONTINUE_OR_FORK, ("fork",): sentences.FORK_ONLY}
    return hints.get(tuple(name for name in offered if name in NEW_RUN_BUTTONS), "")


def _queued(place: int | None, wait: float | None) -> str:
    first = place is None or place <= 1
    text = sentences.NEXT_IN_LINE if first else sentences.PLACE_IN_LINE.format(place=ordinal(place or 1))
    template = sentences.QUEUED_WAIT if wait else sentences.QUEUED
    return template.format(place=text, time=duration(wait) if wait else "")
