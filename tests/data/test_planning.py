"""Whether a text is long enough for each preset."""

from __future__ import annotations

import pytest

from nanollm.config import PRESETS
from nanollm.data.planning import MAX_EPOCHS, plans, verdict


def test_every_preset_has_a_plan_and_more_text_is_never_worse() -> None:
    before = [float("inf")] * len(PRESETS)
    for characters in (1, 100, 10_000, 119_842, 1_115_394, 200_000_000):
        made = plans(characters, 65)
        assert [plan.preset for plan in made] == list(PRESETS)
        epochs = [plan.epochs for plan in made]
        assert all(now <= then for now, then in zip(epochs, before, strict=True))
        before = epochs
        for plan in made:
            assert plan.sentence() and plan.enough == (not plan.problem and plan.epochs <= MAX_EPOCHS)


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        (20, "too short for all presets"),
        (119_842, "enough for sprint and nano"),
        (400_000, "enough for sprint, nano and small"),
        (1_115_394, "enough for sprint, nano, small and medium"),
    ],
)
def test_the_verdict_names_the_presets(characters: int, expected: str) -> None:
    assert verdict(plans(characters, 65)) == expected


def test_a_plan_counts_the_epochs() -> None:
    nano = next(plan for plan in plans(100_000, 65) if plan.preset == "nano")
    steps, batch, window = (PRESETS["nano"][name] for name in ("num_steps", "batch_size", "context_length"))
    assert nano.epochs == pytest.approx(steps * batch * window / 90_000)
    assert "context_length of 64" in plans(60, 65)[1].problem
