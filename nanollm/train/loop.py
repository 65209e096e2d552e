"""The training loop, as a generator of events: `for event in train(state, data, config): ...`; `break` stops it.

train() writes no files. It yields a Checkpoint event when the state should be saved, and the caller writes the file
(with write_checkpoint()) before it requests the next event.
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Iterator, Mapping, Sequence
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
from nanollm.train.calibration import resolve_stepwise
from nanollm.train.checkpoint import load_checkpoint as load_checkpoint  # also importable from here
from nanollm.train.checkpoint import save_checkpoint
from nanollm.train.checkpoint_file import FINAL_NAME, resume_name, snapshot_name
from nanollm.train.compiled_attention import use_kernel
from nanollm.train.device import device_name, free_memory, random_state, set_random_state
from nanollm.train.distributed import Ranks
from nanollm.train.evaluation import WindowLosses, evaluate, window_losses
from nanollm.train.events import Calibration, Checkpoint, End, Eval, Event, FinalEval, Start, Step
from nanollm.train.memory import require_memory
from nanollm.train.optim import learning_rate_at
from nanollm.train.state import BestModel
from nanollm.train.state import TrainState as TrainState  # also importable from here
from nanollm.train.step import training_step
from nanollm.train.workload import (
    MAX_EVAL_CHARACTERS,
    evaluation_characters,
    final_training_characters,
    snapshot_steps,
)

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
    "auto" precision and threads are resolved first: a new shape on a machine yields Calibration events meanwhile.
    Raises InputError before the first event if model, data and config do not fit together.
    """
    data.check(state.model.config, config)
    _require_divisible(config, state.ranks)
    device = state.model.embedding.weight.device
    require_memory(state.model.config, config, free_memory(device))
    state.stopwatch.restart()
    config = yield from _calibrate(state, config, device)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(int(config.threads))
    use_kernel(state.model, config.attention_kernel)
    set_random_state(device, state.global_random)
    state.model.train()
    try:
        for event in _events(state, data, config):
            state.global_random = random_state(device)
            yield event
            state.stopwatch.lap("files")  # what the caller did with the event
            set_random_state(device, state.global_random)
            state.model.train()
    finally:
        torch.set_num_threads(threads_before)
        use_kernel(state.model, "pytorch")


def _calibrate(
    state: TrainState, config: TrainConfig, device: torch.device
) -> Generator[Calibration, None, TrainConfig]:
    """Resolve "auto" settings and return the config, yielding an event after each timed step."""
    trials = resolve_stepwise(state.model.config, config, device)
    while True:
        try:
            progress = next(trials)
        except StopIteration as end:
            state.stopwatch.lap("calibration")
            return end.value
        state.stopwatch.lap("calibration")
        yield Calibration(state.step, *progress)


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
        yield from _evaluate_and_snapshot(state, data, config, snapshots)
    while state.step < config.num_steps:
        grad_norm = _step(state, data, config)
        step, last = state.step, state.step == config.num_steps
        log_due = last or step % config.log_interval == 0
        eval_due = last or step in snapshots or step % config.eval_interval == 0
        resume_due = step % config.checkpoint_interval == 0
        # Checking for divergence waits for the device, so it is done only at steps that have events.
        due = log_due or eval_due or resume_due
        healthy = not due or (state.is_finite() and state.mean_loss() < max_loss)
        state.stopwatch.lap("steps")
        if eval_due and healthy:
            yield from _evaluate_and_snapshot(state, data, config, snapshots)
        if log_due or not healthy:
            yield log.event(grad_norm)
        if not healthy:
            yield End(step, "diverged", state.stopwatch.rounded())
            return
        if resume_due and not last:
            yield Checkpoint(step, resume_name(step), "resume")
    yield from final_evaluation(state, data, config)
    yield Checkpoint(state.step, FINAL_NAME, "final")
    yield Checkpoint(state.step, resume_name(state.step), "resume")
    yield End(state.step, "completed", state.stopwatch.rounded())


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
        self.last_step, self.last_seconds = state.step, state.stopwatch.seconds["steps"]

    def event(self, grad_norm: Tensor) -> Step:
        """The event of the current step; resets the running loss, so that a state saved afterwards is complete."""
        state, step = self.state, self.state.step
        characters_per_step = self.config.batch_size * state.model.config.context_length
        characters = (step - self.last_step) * characters_per_step
        seconds = state.stopwatch.seconds["steps"]
        speed = characters / max(1e-9, seconds - self.last_seconds)
        loss = state.mean_loss()
        state.reset_running_loss()
        self.last_step, self.last_seconds = step, seconds
        return Step(
            step=step,
            loss=loss,
            learning_rate=learning_rate_at(step - 1, self.config),
            grad_norm=float(grad_norm),
            tokens=step * characters_per_step,
            seconds=round(seconds, 4),
            tokens_per_second=round(speed, 1),
            elapsed=round(state.stopwatch.elapsed, 4),
        )


def _evaluate_and_snapshot(
    state: TrainState, data: Dataset, config: TrainConfig, snapshots: frozenset[int]
) -> Iterator[Event]:
    """Measure the losses, then request a checkpoint if this is a snapshot step or the best step so far."""
    previous_best = state.best_step
    event = measure_losses(state, data, config)
    yield event
    if event.best or state.step in snapshots:
        kind = "snapshot" if state.step in snapshots else "best"
        replaces = ""
        if event.best and previous_best is not None and previous_best not in snapshots:
            replaces = snapshot_name(previous_best)
        yield Checkpoint(state.step, snapshot_name(state.step), kind, replaces=replaces)


def measure_losses(state: TrainState, data: Dataset, config: TrainConfig) -> Eval:
    """Measure the training and validation loss, and record them and the best step in the state.

    Both are measured on evaluation_characters() of their split. If that is less than final_evaluation() reads, the
    state keeps a copy of the best model for it.
    """
    # The same number of characters from both splits, so that both losses have about the same standard error.
    characters = evaluation_characters(len(data.val) or len(data.train), state.model.config, config)
    measured: list[float | None] = [None, None, None, None, None]
    if state.ranks.is_main:
        training = window_losses(state.model, data.train, max_characters=characters)
        validation = window_losses(state.model, data.val, max_characters=characters)
        assert training is not None
        measured[:2] = training.mean, training.error
        if validation is not None:
            estimated = characters < min(len(data.val), MAX_EVAL_CHARACTERS)
            best = _is_best(state, validation, estimated)
            if best and estimated:
                state.best = BestModel.copy_of(state.model, validation)
            measured[2:] = validation.mean, validation.error, float(best)
    state.train_loss, train_error, state.val_loss, val_error, best = state.ranks.broadcast(measured)
    if best:
        state.best_val_loss, state.best_step = state.val_loss, state.step
    state.stopwatch.lap("evaluation")
    assert state.train_loss is not None
    return Eval(
        step=state.step,
        train_loss=state.train_loss,
        val_loss=state.val_loss,
        seconds=round(state.stopwatch.seconds["steps"], 4),
        best=bool(best),
        elapsed=round(state.stopwatch.elapsed, 4),
        train_error=round(train_error or 0.0, 6),
        val_error=round(val_error or 0.0, 6),
        characters=characters,
    )


def _is_best(state: TrainState, validation: WindowLosses, estimated: bool) -> bool:
    if state.best_val_loss is None:
        return True
    if estimated and state.best is not None:
        return validation.is_lower_than(state.best.losses)
    return validation.mean < state.best_val_loss


def final_evaluation(state: TrainState, data: Dataset, config: TrainConfig) -> Iterator[FinalEval]:
    """Measure the current and the best model on the whole validation split, if the evaluations so far were estimates.

    Records the losses and the better of the two steps in the state. Yields one event, or none if there were no
    estimates. "Whole" means up to MAX_EVAL_CHARACTERS.
    """
    characters = evaluation_characters(len(data.val) or len(data.train), state.model.config, config)
    if characters >= min(len(data.val), MAX_EVAL_CHARACTERS):
        return
    measured: list[float | None] = [None, None, None, None]
    if state.ranks.is_main:
        most = final_training_characters(len(data.val), state.model.config, config)
        training = window_losses(state.model, data.train, max_characters=most)
        val_loss = best_val_loss = evaluate(state.model, data.val)
        if state.best is not None and state.best_step != state.step:
            best_val_loss = evaluate(state.best.model(state.model), data.val)
        assert training is not None
        measured = [training.mean, training.error, val_loss, best_val_loss]
    state.train_loss, train_error, state.val_loss, state.best_val_loss = state.ranks.broadcast(measured)
    assert state.train_loss is not None and state.val_loss is not None and state.best_val_loss is not None
    if state.val_loss <= state.best_val_loss or state.best_step is None:
        state.best_val_loss, state.best_step = state.val_loss, state.step
    state.stopwatch.lap("evaluation")
    yield FinalEval(
        state.step, state.train_loss, round(train_error or 0.0, 6), state.val_loss, state.best_step, state.best_val_loss
    )


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
        attention_kernel=config.attention_kernel,
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
