"""Resource limits: LOCAL for a user's own machine, PUBLIC for a shared page.

A limit of None means unlimited. Requests above a limit raise InputError with the requested value, the limit and a fix.
"""

from __future__ import annotations

from dataclasses import dataclass

from nanollm.config import ModelConfig, TrainConfig
from nanollm.errors import InputError

START_SECONDS = 3.0  # of a worker process: imports, reading the text, and calibration of a small model
FLOPS_PER_SECOND = 2e10  # forward passes on two vCPUs of a cloud machine; used until a run has been measured


@dataclass(frozen=True)
class Limits:
    """Limits for texts, training runs and generation. The instances are LOCAL and PUBLIC."""

    text_bytes: int = 200 * 2**20  # size of a text
    vocabulary: int = 20_000  # distinct characters in a text
    num_steps: int | None = None
    parameters: int | None = None
    training_bytes: int | None = None  # memory, estimated before training
    run_seconds: float | None = None  # training time; a run that takes longer is stopped and keeps its snapshots
    queue_seconds: float | None = None  # waiting time of the last run in the queue
    runs: int | None = None  # stored runs per visitor
    queued: int | None = None  # queued or running runs per visitor
    texts: int | None = None  # stored texts per visitor
    disk_bytes: int | None = None  # all texts and runs of visitors; above it, the oldest are deleted
    prompt: int = 20_000  # characters in a prompt
    max_length: int = 100_000  # new characters per generation

    def require_vocabulary(self, vocab_size: int) -> None:
        """Raise InputError if a text has too many distinct characters."""
        if vocab_size > self.vocabulary:
            raise InputError(
                f"This text has {vocab_size:,} distinct characters, but the limit is {self.vocabulary:,}. "
                "Check that it is plain text."
            )

    def require_run(self, model: ModelConfig, train: TrainConfig, needed_bytes: int) -> None:
        """Raise InputError if a run exceeds the limits on steps, model size, memory or time.

        `needed_bytes` is the memory estimate of nanollm.train.memory.training_bytes().
        """
        _within("num_steps", train.num_steps, self.num_steps, "choose fewer steps or a smaller preset")
        _within("parameters", model.num_parameters, self.parameters, "choose a smaller embedding_dim or fewer layers")
        megabytes = None if self.training_bytes is None else self.training_bytes / 1e6
        _within("MB of memory", needed_bytes / 1e6, megabytes, "choose a smaller batch_size or a smaller model")
        seconds = estimated_seconds(model, train)
        if self.run_seconds is not None and seconds > self.run_seconds:
            raise InputError(
                f"This training would take about {_minutes(seconds)} here, but the limit is "
                f"{_minutes(self.run_seconds)}: choose the preset sprint or nano, or fewer num_steps."
            )

    def require_queue(self, seconds: float) -> None:
        """Raise InputError if a new run would wait longer in the queue than the limit (`seconds`: expected wait)."""
        if self.queue_seconds is not None and seconds > self.queue_seconds:
            raise InputError(f"The queue is full for about {_minutes(seconds)}. Try again later.")

    def require_generation(self, prompt: str, max_length: float = 0) -> None:
        """Raise InputError if the prompt or the number of new characters is too large."""
        _within("characters in the prompt", len(prompt), self.prompt, "shorten it")
        _within("new characters", max_length, self.max_length, "request fewer")


def estimated_seconds(model: ModelConfig, train: TrainConfig, done: int = 0) -> float:
    """Estimate the training time in seconds from step `done` on, without a measurement on this machine."""
    steps = max(0, train.num_steps - done)
    forward = steps * train.batch_size * model.context_length * model.flops_per_character
    return START_SECONDS + forward / FLOPS_PER_SECOND


LOCAL = Limits()
PUBLIC = Limits(
    text_bytes=5 * 2**20,
    vocabulary=8_000,
    num_steps=5_000,
    parameters=2_000_000,
    training_bytes=10**9,
    run_seconds=600,
    queue_seconds=900,
    runs=8,
    queued=1,
    texts=10,
    disk_bytes=2 * 10**9,
    prompt=2_000,
    max_length=2_000,
)


def _within(what: str, value: float, limit: float | None, fix: str) -> None:
    if limit is not None and value > limit:
        raise InputError(f"{value:,.0f} {what} exceed the limit of {limit:,.0f}: {fix}.")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min"
