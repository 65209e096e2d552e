"""How much one person may ask of a machine: generous where it is their own, modest where strangers share it.

A limit that is None does not exist. What goes beyond one is refused with a sentence that names what was asked, the
limit, and what to do instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from nanollm.config import ModelConfig, TrainConfig
from nanollm.errors import InputError

STARTING_SECONDS = 5.0  # until a worker trains
FLOPS_PER_SECOND = 2e10  # of forward passes, where nothing was measured: two processors of a rented machine


@dataclass(frozen=True)
class Limits:
    """LOCAL and PUBLIC are the two that are used."""

    text_bytes: int = 200 * 2**20  # of one text
    vocabulary: int = 20_000  # different characters of one text
    num_steps: int | None = None
    parameters: int | None = None
    training_bytes: int | None = None  # of memory, estimated before training
    run_seconds: float | None = None  # of training; what is longer than estimated ends then, and keeps what it learned
    queue_seconds: float | None = None  # that the newest in line would wait
    runs: int | None = None  # that one visitor keeps
    queued: int | None = None  # runs of one visitor that wait or train
    texts: int | None = None  # that one visitor keeps
    disk_bytes: int | None = None  # of all that people bring and train; beyond it the oldest goes first
    prompt: int = 20_000  # characters
    max_length: int = 100_000  # characters to be written

    def require_vocabulary(self, vocab_size: int) -> None:
        """Raise InputError for a text of more different characters."""
        if vocab_size > self.vocabulary:
            raise InputError(
                f"This text has {vocab_size:,} different characters, the limit is {self.vocabulary:,}: "
                "is it plain text?"
            )

    def require_run(self, model: ModelConfig, train: TrainConfig, needed_bytes: int) -> None:
        """Raise InputError if a run exceeds the limits on steps, model size, memory or time.

        `needed_bytes` is the memory estimate of nanollm.train.memory.training_bytes().
        """
        _within("num_steps", train.num_steps, self.num_steps, "choose fewer, or a smaller preset")
        _within("parameters", model.num_parameters, self.parameters, "choose a smaller embedding_dim or fewer layers")
        megabytes = None if self.training_bytes is None else self.training_bytes / 1e6
        _within("MB of memory", needed_bytes / 1e6, megabytes, "choose a smaller batch_size or a smaller model")
        seconds = estimated_seconds(model, train)
        if self.run_seconds is not None and seconds > self.run_seconds:
            raise InputError(
                f"This training would take about {_minutes(seconds)} here, and {_minutes(self.run_seconds)} are "
                "possible: choose the preset sprint or nano, or fewer num_steps."
            )

    def require_queue(self, seconds: float) -> None:
        """Raise InputError where the newest in line would wait for longer than so many seconds allow."""
        if self.queue_seconds is not None and seconds > self.queue_seconds:
            raise InputError(f"The line is full for about {_minutes(seconds)}: try again later.")

    def require_generation(self, prompt: str, max_length: float = 0) -> None:
        """Raise InputError for a longer prompt, or for more characters to be written."""
        _within("characters of prompt", len(prompt), self.prompt, "shorten it")
        _within("characters to be written", max_length, self.max_length, "ask for fewer")


def estimated_seconds(model: ModelConfig, train: TrainConfig, done: int = 0) -> float:
    """Seconds that training will take from step `done` on, as far as can be told before it was tried."""
    steps = max(0, train.num_steps - done)
    forward = steps * train.batch_size * model.context_length * model.flops_per_character
    return STARTING_SECONDS + forward / FLOPS_PER_SECOND


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


def _within(what: str, asked: float, limit: float | None, advice: str) -> None:
    if limit is not None and asked > limit:
        raise InputError(f"{asked:,.0f} {what} are more than the {limit:,.0f} that are possible here: {advice}.")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min"
