"""Estimated waiting times of the queue: the rest of the current training plus all runs ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from nanollm.errors import InputError
from nanollm.limits import estimated_seconds
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore
from nanollm.train.workload import run_seconds


def estimated_wait(store: RunStore, run_id: str) -> float | None:
    """Seconds until a queued run starts, at the speed measured on the current run; None if unknown.

    Other runs are converted by their FLOPs per forward pass. Includes start, training, evaluation and saving.
    """
    queue = store.queue()
    training = next((run for run in store.list() if run.alive()), None)
    if run_id not in queue or training is None:
        return None
    status = training.status()
    if not status.eta_seconds or not status.tokens_per_second:
        return None
    flops_per_second = status.tokens_per_second * training.model_config.flops_per_character
    ahead = _existing(store, queue[: queue.index(run_id)])
    return status.eta_seconds + sum(_seconds_left(run, flops_per_second) for run in ahead)


def queue_seconds_ahead(store: RunStore) -> float:
    """Seconds that a new run would wait: measured for the current run if possible, else estimated from its size."""
    waiting = _existing(store, store.queue())
    training = [run for run in store.list() if run.alive()]
    measured = [run.status().eta_seconds for run in training]
    left = [run for run, seconds in zip(training, measured, strict=True) if seconds is None]
    known = sum(seconds for seconds in measured if seconds is not None)
    return known + sum(estimated_seconds(r.model_config, r.train_config, r.status().step) for r in (*left, *waiting))


def _existing(store: RunStore, ids: Iterable[str]) -> Iterator[Run]:
    """The runs with these ids, without those that were deleted meanwhile or cannot be read."""
    for run_id in ids:
        with suppress(InputError):
            yield store.get(run_id)


def _seconds_left(run: Run, flops_per_second: float) -> float:
    """Remaining seconds of a run at this speed, in FLOPs of forward passes."""
    text = run.corpus.get("characters")
    model, train = run.model_config, run.train_config
    step_seconds = train.batch_size * model.context_length * model.flops_per_character / flops_per_second
    return run_seconds(step_seconds, model, train, text if isinstance(text, int) else 0, step=run.status().step or -1)
