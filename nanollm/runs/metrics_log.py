"""metrics.jsonl: one writes it, many read it while it grows, parsing only what is new since their last look."""

from __future__ import annotations

import itertools
import math
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from nanollm.config import TrainConfig
from nanollm.train.events import Eval, Event, Resume, Step, from_json, to_json
from nanollm.train.workload import remaining_evaluations

_RECENT = 20  # Step events that the speed is taken from
# Step events that are held of one run. A chart draws some hundreds; a million would take seconds to parse and 500 MB.
_MOST_STEPS = 20_000
_STEP = b'{"type": "step"'
_NO_STEP = re.compile(rb'\n(?!\{"type": ?"step")')
_BLOCK = 2**24  # bytes read at a time


class Metrics:
    """metrics.jsonl as its one writer sees it: whole lines only, each visible to readers at once."""

    def __init__(self, path: Path) -> None:
        """Open for appending, and cut off a last line that a crash has torn. Raises OSError."""
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
        """Raises OSError; a line torn by that is cut off when the run is resumed."""
        line = memoryview(to_json(event).encode() + b"\n")
        while line:
            line = line[self._file.write(line) :]

    def sync(self) -> None:
        """Make all lines survive a power cut."""
        os.fsync(self._file.fileno())


@dataclass(frozen=True)
class Curve:
    """What a loss chart shows; losses in nats a character, None where one was not finite or not measured."""

    steps: list[int] = field(default_factory=list)
    loss: list[float | None] = field(default_factory=list)  # mean training loss since the point before
    seconds: list[float] = field(default_factory=list)
    eval_steps: list[int] = field(default_factory=list)
    eval_seconds: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    grad_norm: list[float | None] = field(default_factory=list)  # of the last of the steps since the point before
    train_loss: list[float | None] = field(default_factory=list)
    val_loss: list[float | None] = field(default_factory=list)
    last: Step | None = None  # with learning_rate, grad_norm, tokens, tokens_per_second

    @property
    def best_val_loss(self) -> float | None:
        return min((loss for loss in self.val_loss if loss is not None), default=None)

    @property
    def best_step(self) -> int | None:
        """The step with that loss; of equals, the first."""
        best = self.best_val_loss
        return self.eval_steps[self.val_loss.index(best)] if best is not None else None


@dataclass(frozen=True)
class Pace:
    """How fast a run is. None: not known yet."""

    last: Step | None  # the newest of the points
    step_seconds: float | None  # that a step took lately
    evaluation_seconds: float  # that an evaluation took, with the saving and writing that come with it; 0: not known

    def seconds_left(self, step: int, train: TrainConfig) -> float | None:
        """Of the run, after a step. Steps and evaluations are counted apart: most evaluations come early."""
        if self.step_seconds is None:
            return None
        steps = max(0, train.num_steps - step)
        return steps * self.step_seconds + remaining_evaluations(step, train) * self.evaluation_seconds


class EventLog:
    """The events of one metrics.jsonl as if the run had never been interrupted, kept up to date at every look.

    A torn last line waits for its end; rows that no version here knows are passed over. Of a run that recorded very
    many steps, only every second, fourth, … Step event is held, and the newest. Safe to share among threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._forget()

    def events(self) -> list[Event]:
        """All events that count, in order."""
        with self._guard:
            self._catch_up()
            return list(self._events)

    def curve(self) -> Curve:
        """The curve up to now; the same object until something is appended."""
        with self._guard:
            self._catch_up()
            if self._curve is None:
                self._curve = _curve(self._events)
            return self._curve

    def last_step(self) -> int:
        """The step of the newest event; 0 before the first."""
        with self._guard:
            self._catch_up()
            return self._events[-1].step if self._events else 0

    def pace(self) -> Pace:
        """How fast the run is, as far as it is recorded."""
        with self._guard:
            self._catch_up()
            steps = [event for event in self._events if isinstance(event, Step)]
            evaluated = [event.step for event in self._events if isinstance(event, Eval)]
        if not steps:
            return Pace(None, None, 0.0)
        return Pace(steps[-1], _seconds_per_step(steps[-_RECENT:]), _seconds_per_evaluation(steps, evaluated))

    def _forget(self) -> None:
        self._events: list[Event] = []
        self._curve: Curve | None = None
        self._seen: tuple[int, int, int] | None = None
        self._offset = 0
        self._held = 0  # Step events among self._events
        self._every = 1  # of all Step events in the file, about one in so many is parsed

    def _catch_up(self) -> None:
        try:
            now = os.stat(self._path)
            seen = (now.st_ino, now.st_size, now.st_mtime_ns)
            if seen == self._seen:
                return
            if now.st_size < self._offset or (self._seen and now.st_ino != self._seen[0]):
                self._forget()  # another file in its place
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                self._every = max(self._every, _sparseness(file, now.st_size - self._offset))
                while block := file.read(_BLOCK):
                    complete = block[: block.rfind(b"\n") + 1]
                    if not complete:
                        break
                    for line in _chosen(complete, self._every):
                        self._handle(line.decode("utf-8", "replace"))
                    self._offset += len(complete)
                    file.seek(self._offset)
        except OSError:
            return self._forget()
        self._seen = seen
        self._curve = None

    def _handle(self, line: str) -> None:
        event = from_json(line)
        if event is None or not isinstance(event.step, int):
            return
        if isinstance(event, Resume):  # earlier events of higher steps are void
            self._events = [e for e in self._events if e.step <= event.step]
            self._held = sum(isinstance(e, Step) for e in self._events)
        self._events.append(event)
        self._held += isinstance(event, Step)
        if self._held > _MOST_STEPS:
            self._thin_out()

    def _thin_out(self) -> None:
        """Let every second Step event go, but not the newest."""
        held = [e for e in self._events if isinstance(e, Step)]
        gone = set(map(id, held[-2::-2]))
        self._events = [e for e in self._events if id(e) not in gone]
        self._held -= len(gone)
        self._every *= 2


def _sparseness(file: BinaryIO, size: int) -> int:
    """Of how many Step events one is to be parsed, so that the `size` bytes ahead hold not far too many of them."""
    if size < _MOST_STEPS * 100:  # no such line is as short as that
        return 1
    here = file.tell()
    head = file.read(2**16)
    file.seek(here)
    length = len(head) / max(1, head.count(b"\n"))
    return 2 ** max(0, math.ceil(math.log2(size / length / _MOST_STEPS)))


def _chosen(block: bytes, every: int) -> Iterator[bytes]:
    """Of the lines in a block: all that are no Step event, of those about one in `every`, and the last of them."""
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
    return Curve(
        steps=[e.step for e in steps],
        loss=[e.loss for e in steps],
        seconds=[e.seconds for e in steps],
        eval_steps=[e.step for e in evals],
        eval_seconds=[e.seconds for e in evals],
        learning_rate=[e.learning_rate for e in steps],
        grad_norm=[e.grad_norm for e in steps],
        train_loss=[e.train_loss for e in evals],
        val_loss=[e.val_loss for e in evals],
        last=steps[-1] if steps else None,
    )


def _seconds_per_step(recent: Sequence[Step]) -> float | None:
    old, new = recent[0], recent[-1]
    steps, seconds = (new.step - old.step, new.seconds - old.seconds) if new is not old else (new.step, new.seconds)
    return seconds / steps if steps > 0 and seconds > 0 else None


def _seconds_per_evaluation(steps: Sequence[Step], evaluated: Sequence[int]) -> float:
    """What went by besides the steps, from the first of them to the last, for each evaluation in between."""
    count = sum(steps[0].step < step <= steps[-1].step for step in evaluated)
    # From before a pause to after it there is nothing to be told: `elapsed` begins anew.
    besides = [(b.elapsed - a.elapsed) - (b.seconds - a.seconds) for a, b in itertools.pairwise(steps)]
    return sum(max(0.0, seconds) for seconds in besides) / count if count else 0.0
