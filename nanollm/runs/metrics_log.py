"""metrics.jsonl: one writer appends events; readers follow the growing file and parse only what is new."""

from __future__ import annotations

import bisect
import math
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from nanollm.config import TrainConfig
from nanollm.train.events import Calibration, Eval, Event, FinalEval, Resume, Step, from_json, to_json
from nanollm.train.workload import remaining_evaluations

_RECENT = 20  # most recent Step events used to estimate the speed
# Step events kept per run. A chart draws some hundreds; a million would take seconds to parse and 500 MB.
_MOST_STEPS = 20_000
_STEP = b'{"type": "step"'
_NO_STEP = re.compile(rb'\n(?!\{"type": ?"step")')
_BLOCK = 2**24  # bytes read at a time


class Metrics:
    """The writer of metrics.jsonl: unbuffered, whole lines."""

    def __init__(self, path: Path) -> None:
        """Open for appending and truncate an incomplete last line (after a crash). Raises OSError."""
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (closed by __exit__)
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
        self.begun = whole > 0

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, event: Event) -> None:
        """Append an event. Raises OSError; an incomplete line is truncated when the run is resumed."""
        line = memoryview(to_json(event).encode() + b"\n")
        while line:
            line = line[self._file.write(line) :]

    def sync(self) -> None:
        """fsync, so that all lines survive a power failure."""
        os.fsync(self._file.fileno())


@dataclass(frozen=True)
class Curve:
    """The data of a loss chart. Losses in nats per character; None: not finite or not measured."""

    steps: list[int] = field(default_factory=list)
    loss: list[float | None] = field(default_factory=list)  # mean training loss since the previous point
    seconds: list[float] = field(default_factory=list)  # spent on training steps
    elapsed: list[float] = field(default_factory=list)  # of the run, without pauses
    eval_steps: list[int] = field(default_factory=list)
    eval_seconds: list[float] = field(default_factory=list)
    eval_elapsed: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    grad_norm: list[float | None] = field(default_factory=list)  # of the last step before each point
    train_loss: list[float | None] = field(default_factory=list)
    val_loss: list[float | None] = field(default_factory=list)
    val_error: list[float] = field(default_factory=list)  # standard errors; 0: the whole split was measured
    last: Step | None = None  # with learning_rate, grad_norm, tokens, tokens_per_second
    chosen: int | None = None  # if losses are estimates: the index of the evaluation that training considers the best
    final: FinalEval | None = None  # if losses are estimates and the run has ended

    @property
    def best_val_loss(self) -> float | None:
        """The lowest validation loss. On the whole split if the run has ended, else possibly an estimate."""
        if self.final is not None:
            return self.final.best_val_loss
        index = self._best_index()
        return self.val_loss[index] if index is not None else None

    @property
    def best_step(self) -> int | None:
        """The (first) step with the lowest validation loss."""
        if self.final is not None:
            return self.final.best_step
        index = self._best_index()
        return self.eval_steps[index] if index is not None else None

    @property
    def final_losses(self) -> tuple[float | None, float | None]:
        """Training and validation loss of the last evaluation; None if there was none."""
        if self.final is not None:
            return self.final.train_loss, self.final.val_loss
        return (self.train_loss[-1], self.val_loss[-1]) if self.eval_steps else (None, None)

    def losses_at(self, step: int) -> tuple[float | None, float | None] | None:
        """Training and validation loss at a step, the best known; None if it was not evaluated."""
        if self.final is not None and step == self.final.step:
            return self.final_losses
        if step not in self.eval_steps:
            return None
        index = self.eval_steps.index(step)
        val_loss = self.best_val_loss if step == self.best_step else self.val_loss[index]
        return self.train_loss[index], val_loss

    def _best_index(self) -> int | None:
        if self.chosen is not None:
            return self.chosen
        measured = [index for index, loss in enumerate(self.val_loss) if loss is not None]
        return min(measured, key=lambda index: self.val_loss[index] or 0.0, default=None)


@dataclass(frozen=True)
class Pace:
    """Speed of a run. None: not known yet."""

    last: Step | None  # the newest Step event
    step_seconds: float | None  # recent duration of one step
    evaluation_seconds: float  # duration of one evaluation with its snapshot and sample; 0: unknown

    def seconds_left(self, step: int, train: TrainConfig) -> float | None:
        """Remaining seconds after a step. Evaluations are counted separately, because most of them come early."""
        if self.step_seconds is None:
            return None
        steps = max(0, train.num_steps - step)
        return steps * self.step_seconds + remaining_evaluations(step, train) * self.evaluation_seconds


class EventLog:
    """The events of a growing metrics.jsonl, without those that a resume has discarded.

    An incomplete last line is left for the next read; unknown event types are skipped. For very long runs, only every
    second, fourth, … Step event is kept, plus the newest. Thread-safe.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._reset()

    def events(self) -> list[Event]:
        """All events in order, without discarded ones."""
        with self._guard:
            self._catch_up()
            return list(self._events)

    def curve(self) -> Curve:
        """The current curve; the same object until an event is appended."""
        with self._guard:
            self._catch_up()
            if self._curve is None:
                self._curve = _curve(self._events)
            return self._curve

    def last_step(self) -> int:
        """The step of the newest event; 0 if there is none."""
        with self._guard:
            self._catch_up()
            return self._events[-1].step if self._events else 0

    def calibration(self) -> tuple[int, int] | None:
        """Steps timed so far and at most, while the run is calibrating; else None."""
        with self._guard:
            self._catch_up()
            last = self._events[-1] if self._events else None
        return (last.done, last.most) if isinstance(last, Calibration) else None

    def pace(self) -> Pace:
        """The recorded speed of the run."""
        with self._guard:
            self._catch_up()
            steps = [event for event in self._events if isinstance(event, Step)]
            evaluated = [event.step for event in self._events if isinstance(event, Eval)]
        if not steps:
            return Pace(None, None, 0.0)
        return Pace(steps[-1], _seconds_per_step(steps[-_RECENT:]), _seconds_per_evaluation(steps, evaluated))

    def _reset(self) -> None:
        self._events: list[Event] = []
        self._curve: Curve | None = None
        self._seen: tuple[int, int, int] | None = None
        self._offset = 0
        self._held = 0  # number of Step events in self._events
        self._every = 1  # parse about one of this many Step events

    def _catch_up(self) -> None:
        try:
            now = os.stat(self._path)
            seen = (now.st_ino, now.st_size, now.st_mtime_ns)
            if seen == self._seen:
                return
            if now.st_size < self._offset or (self._seen and now.st_ino != self._seen[0]):
                self._reset()  # the file was replaced
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                self._every = max(self._every, _sampling_factor(file, now.st_size - self._offset))
                while block := file.read(_BLOCK):
                    complete = block[: block.rfind(b"\n") + 1]
                    if not complete:
                        break
                    for line in _lines_to_parse(complete, self._every):
                        self._add(line.decode("utf-8", "replace"))
                    self._offset += len(complete)
                    file.seek(self._offset)
        except OSError:
            return self._reset()
        self._seen = seen
        self._curve = None

    def _add(self, line: str) -> None:
        event = from_json(line)
        if event is None or not isinstance(event.step, int):
            return
        if isinstance(event, Resume):  # discard events after the step that training resumed from
            self._events = [e for e in self._events if e.step <= event.step]
            self._held = sum(isinstance(e, Step) for e in self._events)
        self._events.append(event)
        self._held += isinstance(event, Step)
        if self._held > _MOST_STEPS:
            self._thin_out()

    def _thin_out(self) -> None:
        """Drop every second Step event, but keep the newest."""
        held = [e for e in self._events if isinstance(e, Step)]
        gone = set(map(id, held[-2::-2]))
        self._events = [e for e in self._events if id(e) not in gone]
        self._held -= len(gone)
        self._every *= 2


def _sampling_factor(file: BinaryIO, size: int) -> int:
    """The sampling factor (a power of 2) for Step events in the next `size` bytes of the file."""
    if size < _MOST_STEPS * 100:  # a Step line is longer than 100 bytes
        return 1
    here = file.tell()
    head = file.read(2**16)
    file.seek(here)
    length = len(head) / max(1, head.count(b"\n"))
    return 2 ** max(0, math.ceil(math.log2(size / length / _MOST_STEPS)))


def _lines_to_parse(block: bytes, every: int) -> Iterator[bytes]:
    """Lines of a block to parse: all other events, about one in `every` Step events, and the last Step event."""
    if every == 1:
        yield from block.split(b"\n")[:-1]
        return
    stride = every * len(block) // block.count(b"\n")
    starts = {found.end() for found in _NO_STEP.finditer(block)}
    starts |= {block.find(b"\n", at) + 1 for at in range(0, len(block), stride)}
    starts |= {0, block.rfind(b"\n", 0, -1) + 1, block.rfind(b"\n", 0, block.rfind(_STEP) + 1) + 1}
    for start in sorted(starts - {len(block)}):
        yield block[start : block.index(b"\n", start)]


def _curve(events: Sequence[Event]) -> Curve:
    steps = [e for e in events if isinstance(e, Step)]
    evals = [e for e in events if isinstance(e, Eval)]
    final = next((e for e in reversed(events) if isinstance(e, FinalEval)), None)
    best = [index for index, e in enumerate(evals) if e.best and e.val_error]
    elapsed = _elapsed(steps)
    return Curve(
        steps=[e.step for e in steps],
        loss=[e.loss for e in steps],
        seconds=[e.seconds for e in steps],
        elapsed=elapsed,
        eval_steps=[e.step for e in evals],
        eval_seconds=[e.seconds for e in evals],
        eval_elapsed=_eval_elapsed(evals, steps, elapsed),
        learning_rate=[e.learning_rate for e in steps],
        grad_norm=[e.grad_norm for e in steps],
        train_loss=[e.train_loss for e in evals],
        val_loss=[e.val_loss for e in evals],
        val_error=[e.val_error for e in evals],
        last=steps[-1] if steps else None,
        chosen=best[-1] if best else None,
        final=final if final and evals and final.step == evals[-1].step else None,  # else the run was resumed after it
    )


def _elapsed(steps: Sequence[Step]) -> list[float]:
    """The elapsed time of the run at each Step event, without pauses.

    In records of version 0.1 it restarts when the run is resumed, and records before that do not have it.
    """
    total, previous, before = [], 0.0, 0.0
    for event in steps:
        if event.elapsed < previous:
            before += previous
        previous = event.elapsed
        total.append(before + event.elapsed if event.elapsed else event.seconds)
    return total


def _eval_elapsed(evals: Sequence[Eval], steps: Sequence[Step], elapsed: Sequence[float]) -> list[float]:
    """The elapsed time at each evaluation. Old records do not have it: there, it is interpolated between steps."""
    if all(event.elapsed for event in evals):
        return [event.elapsed for event in evals]
    known = dict(zip((0, *(event.step for event in steps)), (0.0, *elapsed), strict=True))
    places = sorted(known)

    def interpolated(step: int) -> float:
        right = min(bisect.bisect_left(places, step), len(places) - 1)
        low, high = places[max(0, right - 1)], places[right]
        share = 1.0 if low == high else min(1.0, (step - low) / (high - low))
        return known[low] + share * (known[high] - known[low])

    return [event.elapsed or interpolated(event.step) for event in evals]


def _seconds_per_step(recent: Sequence[Step]) -> float | None:
    old, new = recent[0], recent[-1]
    steps, seconds = (new.step - old.step, new.seconds - old.seconds) if new is not old else (new.step, new.seconds)
    return seconds / steps if steps > 0 and seconds > 0 else None


def _seconds_per_evaluation(steps: Sequence[Step], evaluated: Sequence[int]) -> float:
    """Time between the first and last Step event that was not spent on steps, per evaluation."""
    count = sum(steps[0].step < step <= steps[-1].step for step in evaluated)
    elapsed = _elapsed(steps)
    other = (elapsed[-1] - elapsed[0]) - (steps[-1].seconds - steps[0].seconds)
    return max(0.0, other) / count if count else 0.0
