"""How much text a run reads, for training and for its evaluations, and so how long it takes."""

from __future__ import annotations

import math

from nanollm.config import ModelConfig, TrainConfig
from nanollm.limits import START_SECONDS

SNAPSHOTS = 20
MAX_EVAL_CHARACTERS = 2**17  # per split and evaluation: the validation split of a 1 MB text is read completely
# Shares of a run's computation, in addition to its training: all evaluations while it trains, and that of the training
# split at the end. The validation split is then always read completely.
EVAL_SHARE, FINAL_SHARE = 0.06, 0.01
MIN_EVAL_CHARACTERS, MIN_EVAL_WINDOWS = 1024, 8  # per split and evaluation, even if that exceeds the share
# Cost of a character in an evaluation relative to training: evaluation is one of three forward-pass equivalents, but
# always in float32. 0.33 if training is in float32 too; 0.52 (nano) to 0.73 (sprint) of a step in bf16.
EVAL_COST = 0.5
SNAPSHOT_SECONDS = 0.03  # writing a snapshot, its sample and its record


def snapshot_steps(num_steps: int) -> frozenset[int]:
    """Return the steps that keep a snapshot: about 20, including 0 and the last, denser at the start of training.

    They are spaced evenly on a logarithmic scale and rounded to two digits.
    """
    first = max(1.0, num_steps / 256)
    spaced = [first * (num_steps / first) ** (n / (SNAPSHOTS - 2)) for n in range(SNAPSHOTS - 2)]
    rounded = [round(step, min(0, 1 - math.floor(math.log10(step)))) for step in spaced]
    return frozenset({0, num_steps, *(int(step) for step in rounded if step < num_steps)})


def remaining_evaluations(step: int, train: TrainConfig) -> int:
    """Return the number of evaluations after a step (-1: of the whole run, including the one at step 0)."""
    every = train.eval_interval
    others = sum(later > step and later % every > 0 for later in snapshot_steps(train.num_steps))
    return max(0, train.num_steps // every - step // every) + others


def evaluation_characters(split_characters: int, model: ModelConfig, train: TrainConfig) -> int:
    """Return how many characters of each split an evaluation during the run reads.

    `split_characters` is the length of the validation split, or of the training split if there is no other. All of it
    (up to MAX_EVAL_CHARACTERS) if that costs at most EVAL_SHARE of the run, else as many as this share allows.
    """
    whole = min(split_characters, MAX_EVAL_CHARACTERS)
    evaluations = max(1, remaining_evaluations(-1, train))
    affordable = int(EVAL_SHARE * _training_characters(0, model, train) / EVAL_COST / evaluations / 2)
    return min(whole, max(affordable, MIN_EVAL_CHARACTERS, MIN_EVAL_WINDOWS * model.context_length))


def final_training_characters(split_characters: int, model: ModelConfig, train: TrainConfig) -> int:
    """Return how many characters of the training split the evaluation at the end of the run reads."""
    affordable = int(FINAL_SHARE * _training_characters(0, model, train) / EVAL_COST)
    whole = min(split_characters, MAX_EVAL_CHARACTERS)
    return min(whole, max(affordable, evaluation_characters(split_characters, model, train)))


def remaining_characters(step: int, model: ModelConfig, train: TrainConfig, characters: int) -> float:
    """Return how much a run still reads after a step (-1: the whole run), given the length of its text.

    In training characters: those of evaluations are weighted by EVAL_COST.
    """
    validation = int(characters * train.validation_fraction)
    split = validation or characters
    each = evaluation_characters(split, model, train)
    evaluated = remaining_evaluations(step, train) * each * (2 if validation else 1)
    if validation > each and step < train.num_steps:
        evaluated += min(validation, MAX_EVAL_CHARACTERS) + final_training_characters(split, model, train)
    return _training_characters(max(0, step), model, train) + EVAL_COST * evaluated


def run_seconds(
    step_seconds: float, model: ModelConfig, train: TrainConfig, characters: int, *, step: int = -1
) -> float:
    """Estimate the elapsed seconds of a run after a step (-1: the whole run), including the start of its process.

    `step_seconds` is the duration of a training step, `characters` the length of the text.
    """
    read = remaining_characters(step, model, train, characters)
    saving = SNAPSHOT_SECONDS * remaining_evaluations(step, train)
    return START_SECONDS + saving + read * step_seconds / (train.batch_size * model.context_length)


def _training_characters(done: int, model: ModelConfig, train: TrainConfig) -> int:
    """Characters of all training windows after `done` steps."""
    return max(0, train.num_steps - done) * train.batch_size * model.context_length


def duration(seconds: float | None) -> str:
    """Format a time for display: 8 s, 3 min, 2.2 h, 4.5 days; a dash if it is unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 100 else f"{hours / 24:.1f} days"
