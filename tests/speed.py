"""Time limits that hold on slow and busy machines, too: they grow with the time that a fixed piece of work takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

Clock = Callable[[], float]

# Seconds of one piece of work on the machine for which the limits are written: two quiet AVX2 cores at about 3 GHz.
REFERENCE_SECONDS = 0.065


def _work() -> None:
    """Interpreter and numpy work on one thread, as most of this project's own code is."""
    numbers = np.arange(2**17, dtype=np.float32)
    for step in range(40):
        sum(number * number for number in range(5000))
        np.sort(np.sin(numbers[step:] * step)[:10_000])


def slowness(clock: Clock = time.monotonic) -> float:
    """How many times as long as on the reference machine work takes here and now; at least 1.

    `clock` must be the one that was measured with: on a busy machine wall clock time grows more than process time.
    """
    taken = []
    for _ in range(5):
        began = clock()
        _work()
        taken.append(clock() - began)
    return max(1.0, float(np.median(taken)) / REFERENCE_SECONDS)


def assert_within(taken: float, seconds: float, clock: Clock = time.monotonic) -> None:
    """Fail if something took longer than `seconds` on the reference machine would be on this one.

    The machine is measured only where the plain limit was missed, so this costs nothing in most runs.
    """
    assert taken <= seconds or taken <= seconds * slowness(clock), f"{taken:.2f} s, with a limit of {seconds} s"


@contextmanager
def within(seconds: float, clock: Clock = time.monotonic) -> Iterator[None]:
    """Fail if the block takes longer than `seconds`, see assert_within().

    Use time.thread_time or time.process_time where the block does not wait for anything: neither counts the time that
    other processes have the processor for.
    """
    began = clock()
    yield
    assert_within(clock() - began, seconds, clock)


def until(reached: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something is true, for at most `seconds` on the reference machine."""
    began = time.monotonic()
    while not reached():
        taken = time.monotonic() - began
        assert taken <= seconds or taken <= seconds * slowness(), f"it did not happen within {seconds} s"
        time.sleep(0.01)
