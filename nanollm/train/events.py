"""What happens in a run, one small record at a time: what train() yields and metrics.jsonl keeps.

Losses are in nats a character. `seconds` count training so far, and the trial of precisions and threads before it, but
no evaluating, saving or pausing. `tokens` are characters seen so far.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Something that happened at a step (the number of optimizer steps taken so far)."""

    type: ClassVar[str]
    step: int


@dataclass(frozen=True)
class Start(Event):
    """Training begins or goes on; with everything that decides whether two runs can be equal bit by bit."""

    type: ClassVar[str] = "start"
    num_steps: int
    precision: str
    threads: int
    device: str
    torch: str
    parameters: int
    train_characters: int
    val_characters: int
    world_size: int = 1  # processes that train together
    machine: str = ""  # the processor's or GPU's name


@dataclass(frozen=True)
class Step(Event):
    """A point of the training curve: the mean loss of the steps since the last one."""

    type: ClassVar[str] = "step"
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    seconds: float
    tokens_per_second: float
    # Since training began or was taken up again, evaluating and saving included; older records lack it.
    elapsed: float = 0.0


@dataclass(frozen=True)
class Eval(Event):
    """Both losses without dropout; `val_loss` is None where the text leaves nothing to validate on."""

    type: ClassVar[str] = "eval"
    train_loss: float
    val_loss: float | None
    seconds: float
    best: bool = False


@dataclass(frozen=True)
class Sample(Event):
    """What the model writes at this step, always from the same prompt and seed (the prompt is not repeated)."""

    type: ClassVar[str] = "sample"
    prompt: str
    text: str


@dataclass(frozen=True)
class Checkpoint(Event):
    """The state is worth keeping under this file name. Whoever drives train() writes it before asking for more.

    `kind` is "snapshot" (a moment for the slider), "best" (a snapshot only because no step was better so far), "final"
    or "resume" (with optimizer and random states, to go on from). `replaces` names an earlier best that is outdone now.
    """

    type: ClassVar[str] = "checkpoint"
    file: str
    kind: str = "snapshot"
    replaces: str = ""


@dataclass(frozen=True)
class Resume(Event):
    """Training was taken up again here; rows above this step that stand before it in the file no longer count."""

    type: ClassVar[str] = "resume"


@dataclass(frozen=True)
class End(Event):
    """Training is over; `reason` is completed, stopped or diverged."""

    type: ClassVar[str] = "end"
    reason: str


_TYPES: dict[str, type[Event]] = {c.type: c for c in (Start, Step, Eval, Sample, Checkpoint, Resume, End)}


def to_json(event: Event) -> str:
    """One line of metrics.jsonl, without its newline. Numbers that JSON lacks (NaN, infinities) become null."""
    row = {"type": event.type, **asdict(event)}
    return json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()})


def from_json(line: str) -> Event | None:
    """The event on one line; None for a torn line, an unknown type or missing fields (a newer version's rows)."""
    try:
        row: Any = json.loads(line)
        cls = _TYPES[row["type"]]
        event = cls(**{f.name: row[f.name] for f in fields(cls) if f.name in row})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return event


def effective(events: Iterable[Event]) -> list[Event]:
    """The events of a run as if it had never been interrupted: what a resume did again is counted once."""
    kept: list[Event] = []
    for event in events:
        if isinstance(event, Resume):
            kept = [e for e in kept if e.step <= event.step]
        kept.append(event)
    return kept
