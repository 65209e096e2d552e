"""Workload estimates match what train() reads, and durations are formatted for display."""

from __future__ import annotations

import pytest
import torch

from nanollm.config import TrainConfig, make_configs, preset
from nanollm.data.dataset import Dataset
from nanollm.model import TransformerLanguageModel
from nanollm.train import events, workload
from nanollm.train import loop as train
from nanollm.train.workload import (
    characters_per_evaluation,
    duration,
    remaining_characters,
    remaining_evaluations,
    run_seconds,
)

TINY = dict(embedding_dim=4, num_layers=1, ffn_hidden_dim=4, context_length=8, batch_size=2, precision="float32")


@pytest.mark.parametrize("settings", [{}, {"eval_interval": 7}, {"eval_interval": 1000}, {"num_steps": 1}])
def test_remaining_evaluations_matches_train(settings: dict) -> None:
    model, config = make_configs({**TINY, "num_steps": 60, "threads": 1, **settings}, 5)
    state = train.TrainState.new(TransformerLanguageModel.from_config(model), config)
    ids = Dataset.from_ids(torch.randint(5, (400,)), 0.1)
    evaluated = [e.step for e in train.train(state, ids, config) if isinstance(e, events.Eval)]
    for step in range(-1, config.num_steps + 1):
        assert remaining_evaluations(step, config) == sum(later > step for later in evaluated)


def test_an_evaluation_reads_the_same_number_of_characters_from_both_splits(monkeypatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(train, "evaluate", lambda model, ids, max_characters=10**9: read.append(
        min(len(ids), max_characters, workload.MAX_EVAL_CHARACTERS)) or 1.0)  # fmt: skip
    model, config = make_configs(TINY, 5)
    state = train.TrainState.new(TransformerLanguageModel.from_config(model), config)
    for characters, fraction in ((1000, 0.1), (1000, 0.0), (3_000_000, 0.1)):
        read.clear()
        train.measure_losses(state, Dataset.from_ids(torch.zeros(characters, dtype=torch.uint8), fraction))
        assert sum(read) == characters_per_evaluation(characters, TrainConfig(validation_fraction=fraction))


def test_the_share_of_evaluation_is_small_in_long_runs_and_large_in_short_ones() -> None:
    shares = {}
    for name in ("sprint", "medium"):
        model, config = make_configs(preset(name), 65)
        training = config.num_steps * 0.1
        assert run_seconds(0.1, model, config, 0) == pytest.approx(training)
        shares[name] = 1 - training / run_seconds(0.1, model, config, 119_842)
        assert remaining_characters(config.num_steps, model, config, 119_842) == 0
    assert shares["medium"] < 0.02 < 0.2 < shares["sprint"] < 0.6


@pytest.mark.parametrize(
    ("seconds", "formatted"),
    [
        *((None, "–"), (float("inf"), "–"), (-3, "0 s"), (8.4, "8 s"), (180, "3 min"), (8000, "2.2 h")),
        *((16_607, "4.6 h"), (400_000, "4.6 days")),
    ],
)
def test_duration_formats_times(seconds: float | None, formatted: str) -> None:
    assert duration(seconds) == formatted
