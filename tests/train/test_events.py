"""Events round-trip through JSON lines."""

from __future__ import annotations

import json
import math

import pytest

from nanollm.train import events as ev

EXAMPLES = [
    ev.Start(0, 100, "float32", 2, "cpu", "2.13", 18_752, 900, 100),
    ev.Step(50, 2.31, 0.003, 0.8, 204_800, 1.9, 107_000.0),
    ev.Eval(50, 2.0, 2.1, 1.9, best=True),
    ev.Eval(50, 2.0, None, 1.9),
    ev.Sample(50, "The", ' "quick"\n\tbrown\u2028 fox \U0001f98a'),
    ev.Checkpoint(50, "checkpoint_00000050.safetensors", "best", replaces="checkpoint_00000040.safetensors"),
    ev.Resume(50),
    ev.End(100, "completed"),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.type)
def test_events_round_trip_through_json(event: ev.Event) -> None:
    line = ev.to_json(event)
    assert "\n" not in line
    assert json.loads(line)["type"] == event.type
    assert ev.from_json(line) == event


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", "7", '{"type": "step"}', '{"type": "news", "step": 1}', '"step"']
)
def test_invalid_lines_are_none(line: str) -> None:
    assert ev.from_json(line) is None


def test_truncated_lines_are_none() -> None:
    line = ev.to_json(EXAMPLES[1])
    assert all(ev.from_json(line[:cut]) is None for cut in range(len(line)))


def test_nan_becomes_null() -> None:
    row = json.loads(ev.to_json(ev.Step(1, math.nan, 1.0, math.inf, 1, 1.0, 1.0)))
    assert row["loss"] is None and row["grad_norm"] is None
