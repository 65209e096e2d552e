"""FAULTS A3, E3: an interruption, a kill included, leaves no trace in what is learned; neither does being watched."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from nanollm.checkpoint import read_tensors
from nanollm.config import make_configs
from nanollm.corpus import CorpusStore
from nanollm.dataset import Dataset
from nanollm.events import Checkpoint, Eval, Event, Resume, Step
from nanollm.model import TransformerLanguageModel
from nanollm.runs import folder as names
from nanollm.runs.control import Wishes
from nanollm.runs.record import Run
from nanollm.runs.worker import work
from nanollm.tokenizer import CharTokenizer
from nanollm.train import TrainState, set_seed, train
from tests.faults.conftest import TINY

STEPS = TINY["num_steps"]
TIMES = ("seconds", "tokens_per_second")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "nanollm.runs.training", "torch._dynamo"])


def train_and_die(folder: Path, corpora: Path, step: int) -> None:
    """Train, and be killed just before so many steps and one more would have been taken."""

    def check(self: Wishes, taken: list[int] = [0]) -> None:  # noqa: B006 (one count for all calls)
        if taken[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        taken[0] += 1

    Wishes.check = check  # type: ignore[method-assign]
    work(Run.open(folder), corpora)


def kill(run: Run, corpora: Path, step: int) -> None:
    worker = PROCESSES.Process(target=train_and_die, args=(run.folder, corpora, step))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL and run.status().state == "lost"


def pause(run: Run, corpora: Path, step: int) -> None:
    taken, unchanged = 0, Wishes.check

    def check(self: Wishes) -> None:
        nonlocal taken
        if taken == step:
            (run.folder / names.CONTROL / "pause").touch()
            self._looked = 0.0
        taken += 1
        unchanged(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wishes, "check", check)
        assert (work(run, corpora).state, run.status().step) == ("paused", step)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("interrupt", [kill, pause])
def test_a3_every_number_is_as_if_nothing_had_happened(
    make: Callable[..., Run], corpora: CorpusStore, interrupt: Callable[[Run, Path, int], None], optimizer: str
) -> None:
    undisturbed = make(dropout=0.1, optimizer=optimizer)
    work(undisturbed, corpora.root)
    for step in (1, STEPS // 2, STEPS - 1):
        run = make(dropout=0.1, optimizer=optimizer)
        interrupt(run, corpora.root, step)
        assert work(run, corpora.root).state == "completed"
        assert any(isinstance(event, Resume) for event in run.events())
        assert curve(run.events()) == curve(undisturbed.events())
        assert_same(everything(run), everything(undisturbed))


def test_e3_watching_changes_no_bit(make: Callable[..., Run], corpora: CorpusStore, text: str) -> None:
    """A run that samples, measures and writes files at every snapshot, and train() that nobody drives."""
    run = make(dropout=0.1)
    work(run, corpora.root)
    tokenizer = CharTokenizer.from_text(text[:3000])
    model_config, config = make_configs({**TINY, "dropout": 0.1}, tokenizer.vocab_size)
    set_seed(config.seed)
    state = TrainState.new(TransformerLanguageModel.from_config(model_config), config)
    alone = list(train(state, Dataset.from_ids(tokenizer.encode(text[:3000]), config.validation_fraction), config))
    assert run.samples() and curve(run.events()) == curve(alone)
    state.save(run.folder.with_name("alone.safetensors"))
    assert_same(everything(run), read_tensors(run.folder.with_name("alone.safetensors"))[0])


def curve(events: list[Event]) -> list[dict]:
    """What must be equal between two runs: every loss, every figure but times, and which snapshots were kept."""
    told = [
        event
        for event in events
        if isinstance(event, (Step, Eval)) or (isinstance(event, Checkpoint) and event.kind != "resume")
    ]
    return [{k: v for k, v in {"type": e.type, **asdict(e)}.items() if k not in TIMES} for e in told]


def everything(run: Run) -> dict[str, torch.Tensor]:
    """Weights, optimizer, both random states, last losses: all that training would go on from at the end."""
    newest = run.resume_files()[0]
    assert newest.name == f"resume_{STEPS:08d}.safetensors"
    return read_tensors(newest)[0]


def assert_same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert some.keys() == others.keys() and len(some) > 10
    for name, tensor in some.items():
        assert tensor.numpy().tobytes() == others[name].numpy().tobytes(), name  # NaN is itself, too
