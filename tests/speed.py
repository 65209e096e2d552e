"""Time limits that also hold on slow and busy machines: they scale with the measured duration of a fixed workload."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

Clock = Callable[[], float]

# Seconds that _work() takes on the reference machine: two idle AVX2 cores at about 3 GHz.
REFERENCE_SECONDS = 0.065


def _work() -> None:
    """Interpreter and numpy work on one thread, like most of this project's code."""
    numbers = np.arange(2**17, dtype=np.float32)
    for step in range(40):
        sum(number * number for number in range(5000))
        np.sort(np.sin(numbers[step:] * step)[:10_000])


def slowness(clock: Clock = time.monotonic) -> float:
    """Current slowdown relative to the reference machine; at least 1.

    Pass the clock that measured the duration: on a busy machine, wall-clock time grows more than CPU time.
    """
    taken = []
    for _ in range(5):
        began = clock()
        _work()
        taken.append(clock() - began)
    return max(1.0, float(np.median(taken)) / REFERENCE_SECONDS)


def assert_within(taken: float, seconds: float, clock: Clock = time.monotonic) -> None:
    """Fail if `taken` exceeds `seconds`, scaled by the slowness of this machine.

    The slowness is measured only if `taken` exceeds the unscaled limit, so most calls cost nothing.
    """
    assert taken <= seconds or taken <= seconds * slowness(clock), f"{taken:.2f} s, with a limit of {seconds} s"


@contextmanager
def within(seconds: float, clock: Clock = time.monotonic) -> Iterator[None]:
    """Fail if the block takes longer than `seconds`, see assert_within().

    Use time.thread_time or time.process_time if the block does not wait for anything: neither counts the time during
    which other processes use the CPU.
    """
    began = clock()
    yield
    assert_within(clock() - began, seconds, clock)


def until(reached: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until `reached` returns true. Fail after `seconds`, scaled by the slowness of this machine."""
    began = time.monotonic()
    while not reached():
        taken = time.monotonic() - began
        assert taken <= seconds or taken <= seconds * slowness(), f"the condition was not reached within {seconds} s"
        time.sleep(0.01)
