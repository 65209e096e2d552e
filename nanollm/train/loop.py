"""Training, as a generator of events: `for event in train(state, data, config): ...`, and `break` to stop.

train() never touches a file. When the state is worth keeping it yields a Checkpoint event, and whoever drives it writes
the file (write_checkpoint() does) before asking for more.
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
from nanollm.data.dataset import Dataset as Dataset  # at home here too, beside train
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train.calibration import device_name, resolve
from nanollm.train.checkpoint import FINAL_NAME, resume_name, save_checkpoint, snapshot_name
from nanollm.train.checkpoint import load_checkpoint as load_checkpoint  # at home here too, beside train_with_config
from nanollm.train.device import free_memory, random_state, set_random_state
from nanollm.train.distributed import Ranks
from nanollm.train.evaluation import evaluate
from nanollm.train.events import Checkpoint, End, Eval, Event, Start, Step
from nanollm.train.memory import require_memory
from nanollm.train.optim import learning_rate_at
from nanollm.train.state import TrainState as TrainState  # at home here too
from nanollm.train.step import training_step
from nanollm.train.workload import MAX_EVAL_CHARACTERS, snapshot_steps

GONE_ASTRAY = 3.0  # times ln V: no model that still learns is so much worse than guessing


def set_seed(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators. Raises InputError unless it is a TrainConfig seed."""
    seed = TrainConfig(seed=seed).seed
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def train(state: TrainState, data: Dataset, config: TrainConfig) -> Iterator[Event]:
    """Train from state.step to config.num_steps, changing `state` in place, and yield what happens.

    At each step that has events they come in this order: Eval, Checkpoint (snapshot or best), Step, Checkpoint
    (resume). So a Step closes its step: whoever breaks there and saves the state loses no record on going on from it.
    The driver may sample from the model between events; random state and training mode are put back afterwards.
    Where precision or threads are "auto", the first run of a shape on a machine spends a moment on finding out.
    Raises InputError before the first event if model, data and config do not fit together.
    """
    data.check(state.model.config, config)
    _require_shares(config, state.ranks)
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


def _require_shares(config: TrainConfig, ranks: Ranks) -> None:
    if config.batch_size % (ranks.world_size * config.accumulation_steps):
        raise InputError(
            f"A batch of {config.batch_size} windows cannot be shared out equally among {ranks.world_size} processes "
            f"with {config.accumulation_steps} pieces each: choose another batch_size."
        )


def _events(state: TrainState, data: Dataset, config: TrainConfig) -> Iterator[Event]:
    model, snapshots = state.model, snapshot_steps(config.num_steps)
    characters_a_step = config.batch_size * model.config.context_length
    worst_loss = GONE_ASTRAY * math.log(max(2, model.config.vocab_size))
    began = time.perf_counter()
    yield _start(state, data, config)
    if state.step == 0:
        yield from _judge(state, data, snapshots)
    logged_at, logged_seconds = state.step, state.seconds
    while state.step < config.num_steps:
        started = time.perf_counter()
        grad_norm = _step(state, data, config)
        step, last = state.step, state.step == config.num_steps
        logging, saving = last or step % config.log_interval == 0, step % config.checkpoint_interval == 0
        judging = last or step in snapshots or step % config.eval_interval == 0
        looking = logging or saving or judging
        healthy = not looking or (state.is_finite() and state.mean_loss() < worst_loss)
        state.seconds += time.perf_counter() - started  # by now a GPU has done what it was asked to do
        if not looking:
            continue
        if judging and healthy:
            yield from _judge(state, data, snapshots)
        if logging or not healthy:
            speed = (step - logged_at) * characters_a_step / max(1e-9, state.seconds - logged_seconds)
            loss = state.mean_loss()
            state.reset_running_loss()  # before the event, at which the driver may save the state
            logged_at, logged_seconds = step, state.seconds
            yield Step(
                step=step,
                loss=loss,
                learning_rate=learning_rate_at(step - 1, config),
                grad_norm=float(grad_norm),
                tokens=step * characters_a_step,
                seconds=round(state.seconds, 4),
                tokens_per_second=round(speed, 1),
                elapsed=round(time.perf_counter() - began, 4),
            )
        if not healthy:
            yield End(step, "diverged")
            return
        if saving and not last:
            yield Checkpoint(step, resume_name(step), "resume")
    yield Checkpoint(state.step, FINAL_NAME, "final")
    yield Checkpoint(state.step, resume_name(state.step), "resume")
    yield End(state.step, "completed")


def _step(state: TrainState, data: Dataset, config: TrainConfig) -> Tensor:
    """One optimizer step; returns the gradient's length before clipping. A non-finite gradient changes no weight."""
    ids, targets = data.batch(config.batch_size, state.model.config.context_length, state.data_generator)
    micro_batches, ranks = config.accumulation_steps, state.ranks
    loss, grad_norm = training_step(
        state.model,
        state.optimizer,
        ids,
        targets,
        state.step,
        config.precision,
        micro_batches=micro_batches,
        ranks=ranks,
    )
    state.record_step(loss, grad_norm)
    return grad_norm


def _judge(state: TrainState, data: Dataset, snapshots: frozenset[int]) -> Iterator[Event]:
    """Measure; then ask for a snapshot, if one is due or no step was better so far."""
    former = state.best_step
    event = measure_losses(state, data)
    yield event
    if event.best or state.step in snapshots:
        kind = "snapshot" if state.step in snapshots else "best"
        outdone = snapshot_name(former) if event.best and former is not None and former not in snapshots else ""
        yield Checkpoint(state.step, snapshot_name(state.step), kind, replaces=outdone)


def measure_losses(state: TrainState, data: Dataset) -> Eval:
    """Measure both losses of the model as it is now, and remember in the state whether no step was better."""
    losses: tuple[float | None, float | None] = (None, None)
    if state.ranks.is_main:
        # As many characters of both, so that both losses are equally certain; all, where nothing was kept back.
        as_many = min(len(data.val) or MAX_EVAL_CHARACTERS, MAX_EVAL_CHARACTERS)
        train_loss = evaluate(state.model, data.train, max_characters=as_many)
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
    """Write what a Checkpoint event asks for, then remove what it makes superfluous. Raises OSError."""
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
    """What came of train_with_config; losses in nats a character."""

    final_loss: float  # mean training loss of the last 50 steps
    final_val_loss: float | None
    best_val_loss: float | None
    best_step: int | None
    steps: int
    reason: str  # completed or diverged
    checkpoint: str | None  # path of checkpoint_final.safetensors


def train_with_config(
    model: TransformerLanguageModel,
    tokens: Sequence[int] | np.ndarray | Tensor,
    config: Mapping[str, Any],
    tokenizer: CharTokenizer | None = None,
) -> TrainResult:
    """Train a model on a row of ids (N,) with one flat dict of settings: the fields of both configs, checkpoint_dir.

    With a tokenizer its vocabulary goes into the checkpoints, which then need nothing else to be sampled from.
    Raises InputError for an unknown setting, a value out of bounds, a model setting that disagrees with the model, a
    text too short, or a folder that already holds a run; OSError if a checkpoint cannot be written.
    """
    settings = dict(config)
    folder = settings.pop("checkpoint_dir", None)
    shape = to_dict(model.config)
    _, train_config = make_configs({**shape, **settings}, model.config.vocab_size)
    differing = [k for k, v in shape.items() if settings.get(k) not in (None, v)]
    if differing:
        listed = ", ".join(f"{k} {settings[k]!r} (the model has {shape[k]!r})" for k in differing)
        raise InputError(f"The config says {listed}: let both agree.")
    if tokenizer is not None and tokenizer.vocab_size != model.config.vocab_size:
        raise InputError(f"The tokenizer has {tokenizer.vocab_size} characters, the model {model.config.vocab_size}.")
    data = Dataset.from_ids(tokens, train_config.validation_fraction)
    data.check(model.config, train_config)  # train() asks again, but by then the folder is cleared
    require_memory(model.config, train_config)
    if folder is not None:
        _clear(Path(folder))
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


def _clear(folder: Path) -> None:
    """Make room for a new run's checkpoints, so that no snapshot of an older one stands among them."""
    if (folder / "run.json").exists():
        raise InputError(f"{str(folder)!r} holds a run of its own: choose another checkpoint_dir.")
    for pattern in ("checkpoint_*.safetensors", "resume_*.safetensors", ".*.part"):
        for old in folder.glob(pattern):
            old.unlink()
