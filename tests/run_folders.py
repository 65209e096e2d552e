"""Write run folders without training, for tests that only read them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from nanollm.runs import run_files
from nanollm.runs.record import Run
from nanollm.runs.store import CorpusRef, RunStore
from nanollm.train import events

TALE = CorpusRef("tale.txt", "ab" * 32, 5000, 40)


def make(store: RunStore, **settings) -> Run:
    """Create a queued nano run on a text that is not stored."""
    return store.create(settings=settings, corpus=TALE, preset="nano")


def write(run: Run, *new_events: events.Event) -> None:
    """Append events to the run's metrics."""
    with open(run.folder / run_files.METRICS, "a") as file:
        file.writelines(events.to_json(event) + "\n" for event in new_events)


def step(number: int, loss: float = 2.0, seconds: float | None = None) -> events.Step:
    """Return the event of a step; by default at 100 steps per second."""
    return events.Step(number, loss, 0.01, 0.5, number * 64, number / 100 if seconds is None else seconds, 6400.0)


def evaluated(number: int, val_loss: float | None) -> events.Eval:
    """Return the event of an evaluation with this validation loss."""
    return events.Eval(number, 1.5, val_loss, number / 100)


def checkpoint(
    folder: Path, name: str, number: int, val_loss: object = None, characters: str = "", **others: object
) -> None:
    """Write a valid safetensors header without tensors; `others` override its metadata."""
    facts = {"format": 1, "step": number, "train": None, "train_loss": 2.5, "val_loss": val_loss}
    facts["model"] = {"vocab_size": 40, "embedding_dim": 16, "num_layers": 1, "ffn_hidden_dim": 16}
    facts |= ({"characters": sorted(set(characters))} if characters else {}) | others
    header = json.dumps({"__metadata__": {"nanollm": json.dumps(facts), "digest": "0" * 64}}).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"checkpoint_{name}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
