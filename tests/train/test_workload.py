"""workload.py: what a run reads, counted beforehand, is what train() then reads."""

from __future__ import annotations

import pytest
import torch

from nanollm.config import TrainConfig, make_configs, preset
from nanollm.data.dataset import Dataset
from nanollm.model import TransformerLanguageModel
from nanollm.train import events, workload
from nanollm.train import loop as train
from nanollm.train.workload import characters_per_evaluation, remaining_characters, remaining_evaluations, run_seconds

TINY = dict(embedding_dim=4, num_layers=1, ffn_hidden_dim=4, context_length=8, batch_size=2, precision="float32")


@pytest.mark.parametrize("settings", [{}, {"eval_interval": 7}, {"eval_interval": 1000}, {"num_steps": 1}])
def test_the_evaluations_that_train_makes_were_counted_beforehand(settings: dict) -> None:
    model, config = make_configs({**TINY, "num_steps": 60, "threads": 1, **settings}, 5)
    state = train.TrainState.new(TransformerLanguageModel.from_config(model), config)
    ids = Dataset.from_ids(torch.randint(5, (400,)), 0.1)
    evaluated = [e.step for e in train.train(state, ids, config) if isinstance(e, events.Eval)]
    for step in range(-1, config.num_steps + 1):
        assert remaining_evaluations(step, config) == sum(later > step for later in evaluated)


def test_an_evaluation_reads_as_much_of_both_splits(monkeypatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(train, "evaluate", lambda model, ids, max_characters=10**9: read.append(
        min(len(ids), max_characters, workload.MAX_EVAL_CHARACTERS)) or 1.0)  # fmt: skip
    model, config = make_configs(TINY, 5)
    state = train.TrainState.new(TransformerLanguageModel.from_config(model), config)
    for characters, fraction in ((1000, 0.1), (1000, 0.0), (3_000_000, 0.1)):
        read.clear()
        train.measure_losses(state, Dataset.from_ids(torch.zeros(characters, dtype=torch.uint8), fraction))
        assert sum(read) == characters_per_evaluation(characters, TrainConfig(validation_fraction=fraction))


def test_evaluating_is_a_small_part_of_a_long_training_and_a_large_one_of_a_short() -> None:
    shares = {}
    for name in ("sprint", "medium"):
        model, config = make_configs(preset(name), 65)
        learning = config.num_steps * 0.1
        assert run_seconds(0.1, model, config, 0) == pytest.approx(learning)
        shares[name] = 1 - learning / run_seconds(0.1, model, config, 119_842)
        assert remaining_characters(config.num_steps, model, config, 119_842) == 0
    assert shares["medium"] < 0.02 < 0.2 < shares["sprint"] < 0.6
