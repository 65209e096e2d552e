"""How much a run reads, and so how long it takes: what it learns from, and what it is judged on in between."""

from __future__ import annotations

import math

from nanollm.config import ModelConfig, TrainConfig

SNAPSHOTS = 20
MAX_EVAL_CHARACTERS = 2**17  # of each split that an evaluation reads: the last tenth of a megabyte is read whole
# What a character costs that is only judged, as a share of one that is learned from: a forward pass of the three that
# learning takes, but always in float32. Measured for the presets in bf16 on one thread: 0.52 (nano) to 0.73 (sprint).
JUDGING = 0.65


def snapshot_steps(num_steps: int) -> frozenset[int]:
    """About 20 steps worth looking back at, 0 and the last among them, closer together where learning is fast.

    Evenly spaced on a logarithmic scale, rounded to two digits.
    """
    first = max(1.0, num_steps / 256)
    spaced = [first * (num_steps / first) ** (n / (SNAPSHOTS - 2)) for n in range(SNAPSHOTS - 2)]
    rounded = [round(step, min(0, 1 - math.floor(math.log10(step)))) for step in spaced]
    return frozenset({0, num_steps, *(int(step) for step in rounded if step < num_steps)})


def remaining_evaluations(step: int, train: TrainConfig) -> int:
    """How many times a run is judged after a step, with all that comes with it; -1 for the step: in all of its life."""
    every = train.eval_interval
    others = sum(later > step and later % every > 0 for later in snapshot_steps(train.num_steps))
    return max(0, train.num_steps // every - step // every) + others


def characters_per_evaluation(characters: int, train: TrainConfig) -> int:
    """How many characters an evaluation reads of a text of so many: as much of both splits, all where none is kept."""
    kept_back = int(characters * train.validation_fraction)
    judged_by = min(kept_back, MAX_EVAL_CHARACTERS)
    return 2 * judged_by or min(characters, MAX_EVAL_CHARACTERS)


def remaining_characters(step: int, model: ModelConfig, train: TrainConfig, characters: int) -> float:
    """What a run on a text of so many characters still reads after a step (-1: before the first).

    Counted in characters that are learned from: that many take as long.
    """
    learned = max(0, train.num_steps - max(0, step)) * train.batch_size * model.context_length
    return learned + JUDGING * remaining_evaluations(step, train) * characters_per_evaluation(characters, train)


def run_seconds(step_seconds: float, model: ModelConfig, train: TrainConfig, characters: int) -> float:
    """How long a whole run on a text of so many characters takes, where a step takes so many seconds."""
    return remaining_characters(-1, model, train, characters) * step_seconds / (train.batch_size * model.context_length)


def duration(seconds: float | None) -> str:
    """A time as a person says it: 8 s, 3 min, 2.2 h, 4.5 days; a dash where it cannot be told."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 100 else f"{hours / 24:.1f} days"
