"""Guarantees A3, E1, E2, E3: a seed gives the same numbers in every interface, after resuming and with both engines."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from nanollm.config import make_configs, preset
from nanollm.data.corpus import CorpusStore
from nanollm.data.dataset import Dataset
from nanollm.inference.generate import MIN_BATCH, generate, generate_many, generate_text, window_start
from nanollm.inference.numpy_engine import NumpyEngine, Weights
from nanollm.inference.sampling import SamplingOptions
from nanollm.inference.torch_engine import TorchEngine
from nanollm.model import TransformerLanguageModel
from nanollm.runs import run_files
from nanollm.runs.process.control import ControlRequests
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.process.worker import work
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import load_model, read_tensors
from nanollm.train.checkpoint_file import FINAL_NAME
from nanollm.train.events import Checkpoint, Eval, Event, Resume, Step
from nanollm.train.loop import TrainState, set_seed, train, train_with_config
from playground.train.settings_form import NAMES, FormSettings, defaults
from tests.conftest import ROOT
from tests.speed import until
from tests.tiny_runs import TINY

STEPS = TINY["num_steps"]
TIMES = ("seconds", "tokens_per_second", "elapsed", "times")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "nanollm.runs.process.training", "torch._dynamo"])


def train_and_die(folder: Path, corpora: Path, step: int) -> None:
    """Train this many steps and kill the process before the next one."""

    def check(self: ControlRequests, taken: list[int] = [0]) -> None:  # noqa: B006 (one count for all calls)
        if taken[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        taken[0] += 1

    ControlRequests.check = check  # type: ignore[method-assign]
    work(Run.open(folder), corpora)


def kill(run: Run, corpora: Path, step: int) -> None:
    worker = PROCESSES.Process(target=train_and_die, args=(run.folder, corpora, step))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL and run.status().state == "lost"


def pause(run: Run, corpora: Path, step: int) -> None:
    taken, original = 0, ControlRequests.check

    def check(self: ControlRequests) -> None:
        nonlocal taken
        if taken == step:
            (run.folder / run_files.CONTROL / "pause").touch()
            self._checked = 0.0
        taken += 1
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ControlRequests, "check", check)
        assert (work(run, corpora).state, run.status().step) == ("paused", step)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("interrupt", [kill, pause])
def test_a3_an_interrupted_run_is_identical_to_an_uninterrupted_one(
    make: Callable[..., Run], corpora: CorpusStore, interrupt: Callable[[Run, Path, int], None], optimizer: str
) -> None:
    reference = make(dropout=0.1, optimizer=optimizer)
    work(reference, corpora.root)
    for step in (1, STEPS // 2, STEPS - 1):
        run = make(dropout=0.1, optimizer=optimizer)
        interrupt(run, corpora.root, step)
        assert work(run, corpora.root).state == "completed"
        assert any(isinstance(event, Resume) for event in run.events())
        assert curve(run.events()) == curve(reference.events())
        assert_same(training_state(run), training_state(reference))


def test_e3_samples_and_snapshots_do_not_change_training(
    make: Callable[..., Run], corpora: CorpusStore, text: str
) -> None:
    """Compare a run with samples and files at every snapshot to plain train()."""
    run = make(dropout=0.1)
    work(run, corpora.root)
    tokenizer = CharTokenizer.from_text(text[:3000])
    model_config, config = make_configs({**TINY, "dropout": 0.1}, tokenizer.vocab_size)
    set_seed(config.seed)
    state = TrainState.new(TransformerLanguageModel.from_config(model_config), config)
    plain = list(train(state, Dataset.from_ids(tokenizer.encode(text[:3000]), config.validation_fraction), config))
    assert run.samples() and curve(run.events()) == curve(plain)
    state.save(run.folder.with_name("plain.safetensors"))
    assert_same(training_state(run), read_tensors(run.folder.with_name("plain.safetensors"))[0])


def test_e1_python_command_line_and_page_give_the_same_results(
    tmp_path: Path, corpora: CorpusStore, store: RunStore, launcher: Launcher, text: str
) -> None:
    settings = {**TINY, "num_steps": 20, "dropout": 0.1, "seed": 7}
    (tmp_path / "tale.txt").write_text(text[:3000], encoding="utf-8")

    # Like the page: all fields, with the preset's values as default.
    form = FormSettings.of("nano", [{**defaults("nano"), **settings}[name] for name in NAMES])
    corpus = corpora.add_file(tmp_path / "tale.txt")
    page = store.create(settings=form.settings, corpus=corpus, preset=form.preset)
    launcher.start(page.id)

    command = form.command("tale.txt").replace("\\\n", " ")
    arguments = [sys.executable, *shlex.split(command)[1:], "--run-dir", "command-line"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NANOLLM_HOME": str(tmp_path)}
    subprocess.run(arguments, cwd=tmp_path, env=environment, check=True, capture_output=True)
    command_line = Run.open(tmp_path / "command-line")

    tokenizer = CharTokenizer.from_text(text[:3000])
    config = {**preset("nano"), **settings}
    set_seed(7)
    model = TransformerLanguageModel.from_config(make_configs(config, tokenizer.vocab_size)[0])
    config["checkpoint_dir"] = str(tmp_path / "python")
    result = train_with_config(model, tokenizer.encode(text[:3000]), config, tokenizer)

    until(lambda: page.status().state == "completed" and not page.alive())
    assert curve(page.events()) == curve(command_line.events()) != []
    finals = [folder / FINAL_NAME for folder in (page.folder, command_line.folder, tmp_path / "python")]
    weights = [read_tensors(path)[0] for path in finals]
    assert_same(weights[0], weights[1])
    assert_same(weights[0], weights[2])
    assert result["final_val_loss"] == page.curve().val_loss[-1]
    generated = {generate_text(*load(path), "The ", 100) for path in finals}
    assert len(generated) == 1


def load(path: Path) -> tuple[TransformerLanguageModel, CharTokenizer]:
    loaded = load_model(path)
    return loaded.model, loaded.tokenizer


@pytest.mark.parametrize("name", ["nano", "small", "medium"])
def test_e2_both_engines_match_the_pretrained_models(name: str, text: str) -> None:
    """Trained weights and real text: one full window at once and step by step, then greedy sampling beyond it."""
    model, tokenizer = load(Run.open(ROOT / "checkpoints" / "pretrained" / name).snapshot().path)
    C = model.config.context_length
    known = "".join(character for character in text if character in tokenizer.characters)
    ids = tokenizer.encode(known[: C + 1]).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([ids[:C]]))[0].numpy()  # (C, V)
    cut = C // 3
    alone, many = NumpyEngine(Weights.from_model(model)), TorchEngine(model, 2)
    assert_close(alone.read(np.array(ids[:C])), expected[-1])
    assert_close(many.read(np.array([ids[:C]] * 2).T)[1], expected[-1])
    logits, both = alone.read(np.array(ids[:cut])), many.read(np.array([ids[:cut]] * 2).T)
    for t in range(cut, C):
        assert_close(logits, expected[t - 1])
        assert_close(both[1], expected[t - 1])
        logits, both = alone.next(ids[t]), many.next([ids[t]] * 2)

    greedy = [sampled.id for sampled in generate(model, ids[:cut], max_new_tokens=300, temperature=0)]
    for row in generate_many(model, ids[:cut], MIN_BATCH, SamplingOptions(max_length=300, temperature=0)):
        assert {sampled.id for sampled in row} == {greedy[len(ids) - C - 1]}
        ids.append(row[0].id)
    read = [*ids[:cut], *greedy]
    with torch.no_grad():
        for end in range(cut, cut + 300):
            start = window_start(end, C)
            assert int(model(torch.tensor([read[start:end]]))[0, -1].argmax()) == read[end]


def assert_close(logits: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


def curve(events: list[Event]) -> list[dict]:
    """Return the values that must be equal between two runs: all events without times, and the snapshots."""
    compared = [
        event
        for event in events
        if isinstance(event, (Step, Eval)) or (isinstance(event, Checkpoint) and event.kind != "resume")
    ]
    return [{k: v for k, v in {"type": e.type, **asdict(e)}.items() if k not in TIMES} for e in compared]


def training_state(run: Run) -> dict[str, torch.Tensor]:
    """Return the complete training state: weights, optimizer, both random states and the loss buffer."""
    newest = run.resume_files()[0]
    assert newest.name == f"resume_{STEPS:08d}.safetensors"
    return read_tensors(newest)[0]


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys() and len(first) >= 10
    for name, tensor in first.items():
        assert tensor.numpy().tobytes() == second[name].numpy().tobytes(), name  # bytes, so that NaN equals NaN
