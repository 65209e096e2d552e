"""Workload estimates match what train() reads, and durations are formatted for display."""

from __future__ import annotations

import pytest
import torch

from nanollm.config import make_configs, preset
from nanollm.data.dataset import Dataset
from nanollm.model import TransformerLanguageModel
from nanollm.train import events, workload
from nanollm.train import loop as train
from nanollm.train.workload import (
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


@pytest.mark.parametrize(("num_steps", "context_length"), [(3, 8), (60, 8), (60, 64), (400, 8)])
@pytest.mark.parametrize(("characters", "fraction"), [(1000, 0.1), (1000, 0.0), (60_000, 0.1), (60_000, 0.4)])
def test_remaining_characters_matches_what_train_reads(
    monkeypatch: pytest.MonkeyPatch, num_steps: int, context_length: int, characters: int, fraction: float
) -> None:
    settings = {"num_steps": num_steps, "context_length": context_length, "validation_fraction": fraction, "threads": 1}
    model, config = make_configs({**TINY, **settings}, 5)
    read = {True: 0, False: 0}  # characters by whether the model was training

    def forward(self: TransformerLanguageModel, ids: torch.Tensor, **more: object) -> torch.Tensor:
        read[self.training] += ids.numel()
        return original(self, ids, **more)

    original = TransformerLanguageModel.forward
    monkeypatch.setattr(TransformerLanguageModel, "forward", forward)
    state = train.TrainState.new(TransformerLanguageModel.from_config(model), config)
    list(train.train(state, Dataset.from_ids(torch.randint(5, (characters,)), fraction), config))
    expected = remaining_characters(-1, model, config, characters)
    # The best model is measured again at the end if it is not the last: at most one more validation split.
    validation = int(characters * fraction)
    actual = read[True] + workload.EVAL_COST * read[False]
    slack = 0.05 * expected + workload.EVAL_COST * remaining_evaluations(-1, config) * 4 * context_length
    assert expected - slack <= actual <= expected + slack + workload.EVAL_COST * validation


def test_evaluations_take_a_small_share_of_every_preset() -> None:
    """Reading the whole validation split each time would take five times as long as the training of sprint."""
    read = {}
    for name in ("sprint", "nano", "small", "medium"):
        model, config = make_configs(preset(name), 65)
        read[name] = workload.evaluation_characters(111_540, model, config)
        assert remaining_characters(config.num_steps, model, config, 1_115_394) == 0
        training = config.num_steps * config.batch_size * model.context_length
        assert remaining_characters(-1, model, config, 1_115_394) < 1.25 * training
    assert read["sprint"] < read["nano"] < read["small"] < read["medium"] <= 111_540
    model, config = make_configs(preset("nano"), 65)
    assert workload.evaluation_characters(5_000, model, config) == 5_000  # a short split is read completely


def test_the_predicted_time_grows_with_the_steps_and_the_text() -> None:
    model, config = make_configs(preset("nano"), 65)
    short = run_seconds(0.1, model, config, 10_000)
    assert config.num_steps * 0.1 < short < run_seconds(0.1, model, config, 1_000_000) < config.num_steps * 0.15


@pytest.mark.parametrize(
    ("seconds", "formatted"),
    [
        *((None, "–"), (float("inf"), "–"), (-3, "0 s"), (8.4, "8 s"), (180, "3 min"), (8000, "2.2 h")),
        *((16_607, "4.6 h"), (400_000, "4.6 days")),
    ],
)
def test_duration_formats_times(seconds: float | None, formatted: str) -> None:
    assert duration(seconds) == formatted
