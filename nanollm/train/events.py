"""Events of a run: the records that train() yields and metrics.jsonl stores, one per line.

Losses are in nats per character. `seconds` is the time spent on training steps so far; `elapsed` is the time of the
run so far, including start, calibration, evaluation and saving, but without pauses. `tokens` is the number of
characters trained on so far.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Base class; `step` is the number of optimizer steps taken so far."""

    type: ClassVar[str]
    step: int


@dataclass(frozen=True)
class Start(Event):
    """Training starts or resumes, with everything that determines whether two runs can be bit-identical."""

    type: ClassVar[str] = "start"
    num_steps: int
    precision: str
    threads: int
    device: str
    torch: str
    parameters: int
    train_characters: int
    val_characters: int
    world_size: int = 1  # number of processes in distributed training
    machine: str = ""  # name of the CPU or GPU
    attention_kernel: str = "pytorch"  # older versions had no other


@dataclass(frozen=True)
class Step(Event):
    """A point of the training curve: the mean loss of the steps since the previous one."""

    type: ClassVar[str] = "step"
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    tokens_per_second: float
    # In records of version 0.1, since the last start or resume; 0 in still older ones.
    elapsed: float = 0.0


@dataclass(frozen=True)
class Calibration(Event):
    """Training has not started yet: `done` of at most `most` steps have been timed to resolve "auto" settings."""

    type: ClassVar[str] = "calibration"
    done: int
    most: int


@dataclass(frozen=True)
class Eval(Event):
    """Losses without dropout; `val_loss` is None if there is no validation split.

    Each is measured on the same `characters` evenly spaced characters of its split at every evaluation of the run, and
    has the given standard error as an estimate of the loss on the whole split (0: the whole split was measured).
    """

    type: ClassVar[str] = "eval"
    train_loss: float
    val_loss: float | None
    seconds: float
    best: bool = False
    elapsed: float = 0.0  # 0 in older records, which measured the whole split
    train_error: float = 0.0
    val_error: float = 0.0
    characters: int = 0


@dataclass(frozen=True)
class FinalEval(Event):
    """Losses at the end of a run whose Eval events are estimates; `val_loss` covers the whole validation split.

    `best_step` is the step with the lowest validation loss, `best_val_loss`, also on the whole split. `train_loss` is
    an estimate with the standard error `train_error`.
    """

    type: ClassVar[str] = "final_eval"
    train_loss: float
    train_error: float
    val_loss: float
    best_step: int
    best_val_loss: float


@dataclass(frozen=True)
class Sample(Event):
    """Text generated at this step, always with the same prompt and seed; `text` does not include the prompt."""

    type: ClassVar[str] = "sample"
    prompt: str
    text: str


@dataclass(frozen=True)
class Checkpoint(Event):
    """A request to save the state under this file name, which the caller of train() fulfills before the next event.

    `kind` is "snapshot" (one of snapshot_steps()), "best" (the best validation loss so far, at another step), "final"
    or "resume" (including optimizer and random states). `replaces` is the file of the previous best, to be deleted.
    """

    type: ClassVar[str] = "checkpoint"
    file: str
    kind: str = "snapshot"
    replaces: str = ""


@dataclass(frozen=True)
class Resume(Event):
    """Training resumed at this step: earlier lines of the file with a higher step are void."""

    type: ClassVar[str] = "resume"


@dataclass(frozen=True)
class End(Event):
    """Training ended; `reason` is "completed", "stopped" or "diverged". `times`: seconds by stopwatch.ACTIVITIES."""

    type: ClassVar[str] = "end"
    reason: str
    times: dict[str, float] = field(default_factory=dict, compare=False)


_TYPES: dict[str, type[Event]] = {
    c.type: c for c in (Start, Calibration, Step, Eval, FinalEval, Sample, Checkpoint, Resume, End)
}


def to_json(event: Event) -> str:
    """Format an event as a line of metrics.jsonl, without newline. NaN and infinities become null."""
    row = {"type": event.type, **asdict(event)}
    return json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()})


def from_json(line: str) -> Event | None:
    """Parse a line of metrics.jsonl. Returns None for an incomplete line, an unknown type or missing fields."""
    try:
        row: Any = json.loads(line)
        cls = _TYPES[row["type"]]
        event = cls(**{f.name: row[f.name] for f in fields(cls) if f.name in row})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return event
