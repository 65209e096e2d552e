"""Guarantee B6: diverging training ends as "diverged", and all saved weights are finite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nanollm.config import make_configs
from nanollm.data.corpus import CorpusStore
from nanollm.model import TransformerLanguageModel
from nanollm.runs.process.worker import work
from nanollm.runs.record import Run
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import load_model, read_tensors
from nanollm.train.events import Checkpoint, End, Event
from nanollm.train.loop import Dataset, TrainState, set_seed, train, write_checkpoint
from tests.tiny_runs import TINY

CASES = [
    (rate, precision, optimizer)
    for rate in (1e6, 1e9)
    for precision in ("float32", "bf16")
    for optimizer in ("adamw", "muon")
]


@pytest.mark.parametrize(("learning_rate", "precision", "optimizer"), CASES)
@pytest.mark.parametrize("late", [False, True])
def test_b6_a_far_too_high_learning_rate_ends_as_diverged(
    make: Callable[..., Run],
    corpora: CorpusStore,
    learning_rate: float,
    precision: str,
    optimizer: str,
    late: bool,
) -> None:
    # With a warm-up of a million steps, the first steps are small, so there is a good state to keep.
    warmup = {"warmup_steps": 10**6, "learning_rate": learning_rate / 10} if late else {"warmup_steps": 0}
    run = make(
        **{"learning_rate": learning_rate, "precision": precision, "optimizer": optimizer, "checkpoint_interval": 1}
        | {"num_steps": 400, "grad_clip": 0.0}
        | warmup
    )
    status = work(run, corpora.root)
    assert status.state == "diverged" and "smaller learning_rate" in status.reason
    assert run.events()[-1] == End(status.step, "diverged")
    assert_all_finite(run)
    assert run.snapshots() and all(load_model(s.path).info.step == s.step for s in run.snapshots())
    assert run.snapshot(0).train_loss is not None


def test_b6_a_non_finite_gradient_with_a_finite_loss_changes_no_weight(tmp_path, text: str) -> None:
    tokenizer = CharTokenizer.from_text(text[:3000])
    model_config, config = make_configs(TINY, tokenizer.vocab_size)
    set_seed(1)
    model = TransformerLanguageModel.from_config(model_config)
    with torch.no_grad():  # scale one matrix up and the next down: same function, different gradient
        model.blocks[0].feed_forward.up.weight *= 1e25
        model.blocks[0].feed_forward.down.weight *= 1e-25
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = TrainState.new(model, config)
    data = Dataset.from_ids(tokenizer.encode(text[:3000]), config.validation_fraction)
    happened: list[Event] = []
    for event in train(state, data, config):
        happened.append(event)
        if isinstance(event, Checkpoint):
            write_checkpoint(tmp_path, event, state, config)
    assert state.step <= config.log_interval
    assert happened[-1] == End(state.step, "diverged")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    for path in tmp_path.glob("*.safetensors"):
        assert all(torch.isfinite(tensor).all() for tensor in read_tensors(path)[0].values())


def assert_all_finite(run: Run) -> None:
    """Check all files; the loss buffer of a resume file is initialized with NaN and is ignored."""
    files = list(run.folder.glob("*.safetensors"))
    assert files
    for path in files:
        for name, tensor in read_tensors(path)[0].items():
            assert name in ("recent", "loss_sum") or torch.isfinite(tensor).all(), (path.name, name)
