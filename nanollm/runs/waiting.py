"""How long a queued run will wait: what the run in training still needs, and all that stands before it in line."""

from __future__ import annotations

from nanollm.runs.record import Run, Status
from nanollm.runs.store import RunStore


def estimated_wait(store: RunStore, run_id: str) -> float | None:
    """Seconds until a queued run begins, at the pace measured on the run in training; None if that cannot be told.

    The operations of one forward pass tell how much slower or faster the others are; what starting takes is not in it.
    """
    queue = store.queue()
    training = next((run for run in store.list() if run.alive()), None)
    if run_id not in queue or training is None:
        return None
    status = training.status()
    if not status.eta_seconds or not status.tokens_per_second:
        return None
    flops_per_second = status.tokens_per_second * training.model_config.flops_per_character
    ahead = [store.get(other) for other in queue[: queue.index(run_id)]]
    return status.eta_seconds + sum(_flops_left(run, run.status()) for run in ahead) / flops_per_second


def _flops_left(run: Run, status: Status) -> float:
    steps = max(0, run.train_config.num_steps - status.step)
    return steps * run.train_config.batch_size * run.model_config.context_length * run.model_config.flops_per_character
