"""The training loop, as a generator of events: `for event in train(state, data, config): ...`; `break` stops it.

train() writes no files. It yields a Checkpoint event when the state should be saved, and the caller writes the file
(with write_checkpoint()) before it requests the next event.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from nanollm.config import TrainConfig, make_configs, to_dict
from nanollm.data.dataset import Dataset as Dataset  # also importable from here
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train.calibration import resolve
from nanollm.train.checkpoint import load_checkpoint as load_checkpoint  # also importable from here
from nanollm.train.checkpoint import save_checkpoint
from nanollm.train.checkpoint_file import FINAL_NAME, resume_name, snapshot_name
from nanollm.train.device import device_name, free_memory, random_state, set_random_state
from nanollm.train.distributed import Ranks
from nanollm.train.evaluation import evaluate
from nanollm.train.events import Checkpoint, End, Eval, Event, Start, Step
from nanollm.train.memory import require_memory
from nanollm.train.optim import learning_rate_at
from nanollm.train.state import TrainState as TrainState  # also importable from here
from nanollm.train.step import training_step
from nanollm.train.workload import MAX_EVAL_CHARACTERS, snapshot_steps

DIVERGED_FACTOR = 3.0  # a loss above 3 · ln V (three times that of uniform guessing) counts as diverged


def set_seed(seed: int) -> None:
    """Seed the global random generators of Python, numpy and torch. Raises InputError if the seed is out of bounds."""
    seed = TrainConfig(seed=seed).seed
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def train(state: TrainState, data: Dataset, config: TrainConfig) -> Iterator[Event]:
    """Train from state.step to config.num_steps, updating `state` in place, and yield events.

    Order of the events of one step: Eval, Checkpoint (snapshot or best), Step, Checkpoint (resume). Step is therefore
    the last record of its step: a caller that stops there and saves the state can resume without losing a record.
    Between events the caller may sample from the model: the random state and the training mode are restored.
    "auto" precision and threads are resolved first, which takes a moment for a new shape on a machine.
    Raises InputError before the first event if model, data and config do not fit together.
    """
    data.check(state.model.config, config)
    _require_divisible(config, state.ranks)
    device = state.model.embedding.weight.device
    require_memory(state.model.config, config, free_memory(device))
    started = time.perf_counter()
    config = resolve(state.model.config, config, device)
    state.seconds += time.perf_counter() - started
    threads_before = torch.get_num_threads()
    torch.set_num_threads(int(config.threads))
    set_random_state(device, state.global_random)
    state.model.train()
    try:
        for event in _events(state, data, config):
            state.global_random = random_state(device)
            yield event
            set_random_state(device, state.global_random)
            state.model.train()
    finally:
        torch.set_num_threads(threads_before)


def _require_divisible(config: TrainConfig, ranks: Ranks) -> None:
    if config.batch_size % (ranks.world_size * config.accumulation_steps):
        raise InputError(
            f"batch_size ({config.batch_size}) must be divisible by processes × accumulation_steps "
            f"({ranks.world_size} × {config.accumulation_steps}). Choose another batch_size."
        )


def _events(state: TrainState, data: Dataset, config: TrainConfig) -> Iterator[Event]:
    """The loop itself; train() restores random state and threads around it."""
    snapshots = snapshot_steps(config.num_steps)
    max_loss = DIVERGED_FACTOR * math.log(max(2, state.model.config.vocab_size))
    log = _StepLog(state, config)
    yield _start(state, data, config)
    if state.step == 0:
        yield from _evaluate_and_snapshot(state, data, snapshots)
    while state.step < config.num_steps:
        started = time.perf_counter()
        grad_norm = _step(state, data, config)
        step, last = state.step, state.step == config.num_steps
        log_due = last or step % config.log_interval == 0
        eval_due = last or step in snapshots or step % config.eval_interval == 0
        resume_due = step % config.checkpoint_interval == 0
        # Checking for divergence waits for the device, so it is done only at steps that have events.
        due = log_due or eval_due or resume_due
        healthy = not due or (state.is_finite() and state.mean_loss() < max_loss)
        state.seconds += time.perf_counter() - started
        if eval_due and healthy:
            yield from _evaluate_and_snapshot(state, data, snapshots)
        if log_due or not healthy:
            yield log.event(grad_norm)
        if not healthy:
            yield End(step, "diverged")
            return
        if resume_due and not last:
            yield Checkpoint(step, resume_name(step), "resume")
    yield Checkpoint(state.step, FINAL_NAME, "final")
    yield Checkpoint(state.step, resume_name(state.step), "resume")
    yield End(state.step, "completed")


def _step(state: TrainState, data: Dataset, config: TrainConfig) -> Tensor:
    """One optimizer step; returns the gradient norm before clipping. A non-finite gradient changes no weight."""
    ids, targets = data.batch(config.batch_size, state.model.config.context_length, state.data_generator)
    loss, grad_norm = training_step(
        state.model,
        state.optimizer,
        ids,
        targets,
        state.step,
        config.precision,
        micro_batches=config.accumulation_steps,
        ranks=state.ranks,
    )
    state.record_step(loss, grad_norm)
    return grad_norm


class _StepLog:
    """Builds Step events: the mean loss and the throughput since the previous one."""

    def __init__(self, state: TrainState, config: TrainConfig) -> None:
        self.state, self.config = state, config
        self.began = time.perf_counter()
        self.last_step, self.last_seconds = state.step, state.seconds

    def event(self, grad_norm: Tensor) -> Step:
        """The event of the current step; resets the running loss, so that a state saved afterwards is complete."""
        state, step = self.state, self.state.step
        characters_per_step = self.config.batch_size * state.model.config.context_length
        characters = (step - self.last_step) * characters_per_step
        speed = characters / max(1e-9, state.seconds - self.last_seconds)
        loss = state.mean_loss()
        state.reset_running_loss()
        self.last_step, self.last_seconds = step, state.seconds
        return Step(
            step=step,
            loss=loss,
            learning_rate=learning_rate_at(step - 1, self.config),
            grad_norm=float(grad_norm),
            tokens=step * characters_per_step,
            seconds=round(state.seconds, 4),
            tokens_per_second=round(speed, 1),
            elapsed=round(time.perf_counter() - self.began, 4),
        )


def _evaluate_and_snapshot(state: TrainState, data: Dataset, snapshots: frozenset[int]) -> Iterator[Event]:
    """Measure the losses, then request a checkpoint if this is a snapshot step or the best step so far."""
    previous_best = state.best_step
    event = measure_losses(state, data)
    yield event
    if event.best or state.step in snapshots:
        kind = "snapshot" if state.step in snapshots else "best"
        replaces = ""
        if event.best and previous_best is not None and previous_best not in snapshots:
            replaces = snapshot_name(previous_best)
        yield Checkpoint(state.step, snapshot_name(state.step), kind, replaces=replaces)


def measure_losses(state: TrainState, data: Dataset) -> Eval:
    """Measure the training and validation loss, and record them and the best step in the state."""
    losses: tuple[float | None, float | None] = (None, None)
    if state.ranks.is_main:
        # The same number of characters from both splits, so that both losses have the same standard error.
        characters = min(len(data.val) or MAX_EVAL_CHARACTERS, MAX_EVAL_CHARACTERS)
        train_loss = evaluate(state.model, data.train, max_characters=characters)
        losses = train_loss, evaluate(state.model, data.val)
    state.train_loss, state.val_loss = state.ranks.broadcast(losses)
    best = state.val_loss is not None and (state.best_val_loss is None or state.val_loss < state.best_val_loss)
    if best:
        state.best_val_loss, state.best_step = state.val_loss, state.step
    assert state.train_loss is not None
    return Eval(state.step, state.train_loss, state.val_loss, round(state.seconds, 4), best)


def _start(state: TrainState, data: Dataset, config: TrainConfig) -> Start:
    return Start(
        step=state.step,
        num_steps=config.num_steps,
        precision=config.precision,
        threads=torch.get_num_threads(),
        device=str(state.model.embedding.weight.device),
        torch=torch.__version__,
        parameters=state.model.config.num_parameters,
        train_characters=len(data.train),
        val_characters=len(data.val),
        world_size=state.ranks.world_size,
        machine=device_name(state.model.embedding.weight.device),
    )


def write_checkpoint(
    folder: str | Path,
    event: Checkpoint,
    state: TrainState,
    config: TrainConfig,
    tokenizer: CharTokenizer | None = None,
) -> None:
    """Write the file that a Checkpoint event requests, then delete the files it supersedes. Raises OSError."""
    folder = Path(folder)
    if event.kind == "resume":
        state.save(folder / event.file)
        for old in sorted(folder.glob("resume_*.safetensors"))[:-2]:
            old.unlink(missing_ok=True)
        return
    save_checkpoint(
        folder / event.file,
        state.model,
        step=state.step,
        tokenizer=tokenizer,
        train_config=config,
        train_loss=state.train_loss,
        val_loss=state.val_loss,
    )
    if event.replaces:
        (folder / event.replaces).unlink(missing_ok=True)


class TrainResult(TypedDict):
    """Result of train_with_config(); losses in nats per character."""

    final_loss: float  # mean training loss of the last 50 steps
    final_val_loss: float | None
    best_val_loss: float | None
    best_step: int | None
    steps: int
    reason: str  # "completed" or "diverged"
    checkpoint: str | None  # path of checkpoint_final.safetensors


def train_with_config(
    model: TransformerLanguageModel,
    tokens: Sequence[int] | np.ndarray | Tensor,
    config: Mapping[str, Any],
    tokenizer: CharTokenizer | None = None,
) -> TrainResult:
    """Train a model on token ids (N,). `config` has fields of ModelConfig and TrainConfig, and `checkpoint_dir`.

    With a tokenizer, the checkpoints contain its vocabulary and can be sampled from without anything else. Without
    checkpoint_dir, nothing is written.
    Raises InputError for an unknown setting, a value out of bounds, a model setting that differs from the model, a text
    that is too short, or a folder that contains a run; OSError if a checkpoint cannot be written.
    """
    settings = dict(config)
    folder = settings.pop("checkpoint_dir", None)
    shape = to_dict(model.config)
    _, train_config = make_configs({**shape, **settings}, model.config.vocab_size)
    differing = [k for k, v in shape.items() if settings.get(k) not in (None, v)]
    if differing:
        listed = ", ".join(f"{k} {settings[k]!r} (the model has {shape[k]!r})" for k in differing)
        raise InputError(f"The config has {listed}: both must agree.")
    if tokenizer is not None and tokenizer.vocab_size != model.config.vocab_size:
        raise InputError(
            f"The tokenizer has {tokenizer.vocab_size} characters, but the model has {model.config.vocab_size}: "
            "create the model with vocab_size=tokenizer.vocab_size."
        )
    data = Dataset.from_ids(tokens, train_config.validation_fraction)
    data.check(model.config, train_config)  # train() checks again, but only after the folder was cleared
    require_memory(model.config, train_config)
    if folder is not None:
        _clear_checkpoints(Path(folder))
    state = TrainState.new(model, train_config)
    reason = "completed"
    for event in train(state, data, train_config):
        if isinstance(event, Checkpoint) and folder is not None:
            write_checkpoint(folder, event, state, train_config, tokenizer)
        elif isinstance(event, End):
            reason = event.reason
    return TrainResult(
        final_loss=state.final_loss(),
        final_val_loss=state.val_loss,
        best_val_loss=state.best_val_loss,
        best_step=state.best_step,
        steps=state.step,
        reason=reason,
        checkpoint=str(Path(folder) / FINAL_NAME) if folder is not None and reason == "completed" else None,
    )


def _clear_checkpoints(folder: Path) -> None:
    """Delete checkpoints of earlier trainings, so that their snapshots do not mix with the new ones."""
    if (folder / "run.json").exists():
        raise InputError(f"{str(folder)!r} contains a run: choose another checkpoint_dir.")
    for pattern in ("checkpoint_*.safetensors", "resume_*.safetensors", ".*.part"):
        for old in folder.glob(pattern):
            old.unlink()
