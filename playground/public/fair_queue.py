"""Fair scheduling of inspection requests: bounded concurrency, round-robin by visitor.

Inspections run on PyTorch and use whole processor cores, so one visitor with fifty requests could occupy all of them.
Here every visitor gets the next slot in turn, however many requests they have waiting. Text generation is scheduled
separately, by nanollm.inference.thread_limits.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from nanollm.errors import InputError
from playground.public.sentences import BUSY, CANCELLED, TOO_MANY_REQUESTS
from playground.services.gradio_internals import event_abandoned

Item = TypeVar("Item")
Function = TypeVar("Function", bound=Callable[..., Any])

SLOTS = 2  # concurrent computations; more would only compete for the same cores
TIMEOUT = 30.0  # seconds
POLL_INTERVAL = 0.25  # seconds between checks whether a waiting request was cancelled


class FairQueue:
    """Grants at most `slots` concurrent computations, to one visitor after another."""

    def __init__(
        self, visitor_key: Callable[[], str], slots: int = SLOTS, max_waiting: int = 64, timeout: float = TIMEOUT
    ) -> None:
        """`visitor_key` identifies the visitor that the current thread works for; each may have `max_waiting` requests
        in the queue."""
        self._visitor_key, self._free, self._max_waiting, self._timeout = visitor_key, slots, max_waiting, timeout
        self._waiting: OrderedDict[str, deque[object]] = OrderedDict()  # by visitor; the first ticket of the first next
        self._changed = threading.Condition()
        self._thread = threading.local()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a slot, and hold it inside the `with` block. A thread that already holds one keeps it.

        Raises InputError if the visitor has too many requests waiting, if the request is cancelled, or on timeout.
        """
        if getattr(self._thread, "has_slot", False):
            yield
            return
        self._acquire(self._visitor_key())
        self._thread.has_slot = True
        try:
            yield
        finally:
            self._thread.has_slot = False
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    def limit(self, handler: Function) -> Function:
        """Decorate a handler so that it runs in a slot; a generator takes a new slot for each step."""
        if inspect.isgeneratorfunction(handler):

            @functools.wraps(handler)
            def generator(*args: Any, **kwargs: Any) -> Any:
                yield from self.iterate(handler(*args, **kwargs))

            return cast(Function, generator)

        @functools.wraps(handler)
        def function(*args: Any, **kwargs: Any) -> Any:
            with self.slot():
                return handler(*args, **kwargs)

        return cast(Function, function)

    def iterate(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the same items, each computed in its own slot, so that other visitors are served in between."""
        steps = iter(items)
        try:
            while True:
                with self.slot():
                    try:
                        item = next(steps)
                    except StopIteration:
                        return
                yield item
        finally:
            if inspect.isgenerator(steps):
                steps.close()

    def waiting(self) -> int:
        """Return the number of waiting requests."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    def _acquire(self, visitor: str) -> None:
        ticket, deadline = object(), time.monotonic() + self._timeout
        with self._changed:
            tickets = self._waiting.setdefault(visitor, deque())
            if len(tickets) >= self._max_waiting:
                raise InputError(TOO_MANY_REQUESTS)
            tickets.append(ticket)
            try:
                while not (self._free and ticket is self._next()):
                    if event_abandoned():
                        raise InputError(CANCELLED)
                    if time.monotonic() > deadline:
                        raise InputError(BUSY)
                    self._changed.wait(POLL_INTERVAL)
                if event_abandoned():
                    raise InputError(CANCELLED)
                self._free -= 1
                self._waiting.move_to_end(visitor)  # the other visitors are served first now
            finally:
                tickets.remove(ticket)
                if not tickets:
                    del self._waiting[visitor]
                self._changed.notify_all()

    def _next(self) -> object:
        return next(iter(self._waiting.values()))[0]
