"""How much text a run reads, for training and for its evaluations, and so how long it takes."""

from __future__ import annotations

import math

from nanollm.config import ModelConfig, TrainConfig

SNAPSHOTS = 20
MAX_EVAL_CHARACTERS = 2**17  # per split and evaluation: the validation split of a 1 MB text is read completely
# Cost of a character in an evaluation relative to training: evaluation is one of three forward-pass equivalents, but
# always in float32. Measured for the presets against bf16 training on one thread: 0.52 (nano) to 0.73 (sprint).
EVAL_COST = 0.65


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


def characters_per_evaluation(characters: int, train: TrainConfig) -> int:
    """Return how many characters one evaluation reads, given the length of the text.

    The same number from both splits; without a validation split, the training split only.
    """
    validation = min(int(characters * train.validation_fraction), MAX_EVAL_CHARACTERS)
    return 2 * validation or min(characters, MAX_EVAL_CHARACTERS)


def remaining_characters(step: int, model: ModelConfig, train: TrainConfig, characters: int) -> float:
    """Return how much a run still reads after a step (-1: the whole run), given the length of its text.

    In training characters: those of evaluations are weighted by EVAL_COST.
    """
    training = max(0, train.num_steps - max(0, step)) * train.batch_size * model.context_length
    return training + EVAL_COST * remaining_evaluations(step, train) * characters_per_evaluation(characters, train)


def run_seconds(step_seconds: float, model: ModelConfig, train: TrainConfig, characters: int) -> float:
    """Estimate the duration of a run in seconds from the seconds per step and the length of the text."""
    return remaining_characters(-1, model, train, characters) * step_seconds / (train.batch_size * model.context_length)


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
