"""Training progress on stderr: a progress bar on a terminal, otherwise one line per update."""

from __future__ import annotations

import sys
import time

from nanollm.experiments.scaling import ExperimentStatus
from nanollm.runs.record import Run, Status
from nanollm.train.events import Calibration, Eval, Event, Start, Step

BAR_WIDTH = 24


class Progress:
    """Progress of one run in this process: a bar on a terminal, otherwise one line per evaluation."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.val_loss: float | None = None
        self.began = time.monotonic()
        self.steps_before = 0
        self.terminal = sys.stderr.isatty()

    def __call__(self, event: Event) -> None:
        """Show one training event; call it with every event."""
        if isinstance(event, Calibration):
            self._show_calibration(event)
        elif isinstance(event, Start):
            self.steps_before = event.step
            self.began = time.monotonic()  # the speed of the steps, without calibration
            if self.terminal:
                _redraw("", last=False)
            print(f"{self.run.title}: {event.parameters:,} parameters, {event.threads} threads", file=sys.stderr)
        elif isinstance(event, Eval):
            self.val_loss = event.val_loss
            if not self.terminal:
                val = f"{event.val_loss:.4f}" if event.val_loss is not None else "none"
                print(
                    f"step {event.step}: training loss {event.train_loss:.4f}, validation loss {val}", file=sys.stderr
                )
        elif isinstance(event, Step) and self.terminal:
            _redraw(self._bar(event), last=event.step == self.run.train_config.num_steps)

    def _show_calibration(self, event: Calibration) -> None:
        if self.terminal:
            done = event.done / event.most
            _redraw(f"{progress_bar(done)} calibrating: timing training steps on this machine", last=False)
        elif event.done == 1:
            print("Calibrating: timing training steps on this machine.", file=sys.stderr, flush=True)

    def _bar(self, event: Step) -> str:
        done, steps = event.step, self.run.train_config.num_steps
        left = (time.monotonic() - self.began) / max(1, done - self.steps_before) * (steps - done)
        val = f"  validation {self.val_loss:.3f}" if self.val_loss is not None else ""
        return (
            f"{progress_bar(done / steps)} {done:,}/{steps:,}  loss {event.loss:.3f}{val}"
            f"  {event.tokens_per_second:,.0f} characters/s  {clock(left)} left"
        )


class ExperimentProgress:
    """Progress of several runs in worker processes: one bar for all, plus a line when the state of a run changes."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self._shown: dict[str, str] = {}

    def __call__(self, moment: ExperimentStatus) -> None:
        """Show the progress of an experiment; call it with everything that run_experiment() yields."""
        for run, status in zip(moment.runs, moment.statuses, strict=True):
            if self._shown.get(run.id) == status.state or status.state == "queued":
                continue
            self._shown[run.id] = status.state
            if not (self.terminal and status.state == "running"):  # shown by the bar
                self._print(f"{run.title}: {_state_line(status)}")
        if self.terminal and moment.active:
            _redraw(self._bar(moment), last=False)

    def _print(self, line: str) -> None:
        print(f"\r{line}\033[K" if self.terminal else line, file=sys.stderr, flush=True)

    def _bar(self, moment: ExperimentStatus) -> str:
        completed = sum(status.state == "completed" for status in moment.statuses)
        left = f"  {clock(moment.seconds_left)} left" if moment.seconds_left is not None else ""
        now = ""
        for run, status in zip(moment.runs, moment.statuses, strict=True):
            if status.state == "running":
                loss = f"  validation {status.val_loss:.3f}" if status.val_loss is not None else ""
                now = f"  {run.preset} {status.step:,}/{status.num_steps:,}{loss}"
        return f"{progress_bar(moment.done)} {completed} of {len(moment.runs)} done{now}{left}"


def progress_bar(fraction: float) -> str:
    """A text progress bar; `fraction` is clamped to 0 to 1."""
    filled = int(BAR_WIDTH * min(1.0, max(0.0, fraction)))
    return f"{'█' * filled}{'░' * (BAR_WIDTH - filled)}"


def clock(seconds: float) -> str:
    """Format a duration as m:ss or h:mm:ss: 4:05, 1:02:03."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _state_line(status: Status) -> str:
    loss = f", best validation loss {status.val_loss:.4f}" if status.val_loss is not None else ""
    took = f" in {clock(status.elapsed)}" if status.elapsed is not None and status.state == "completed" else ""
    reason = f": {status.reason}" if status.reason else ""
    return f"{status.state} at step {status.step:,} of {status.num_steps:,}{took}{loss}{reason}"


def _redraw(line: str, last: bool) -> None:
    print(f"\r{line}\033[K", end="\n" if last else "", file=sys.stderr, flush=True)
