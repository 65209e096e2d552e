"""Whose turn it is to look inside a model: a few at once, visitor by visitor, and nobody for who has gone.

What reads with PyTorch takes whole processor cores, and whoever asks fifty times at once would have them all. Here
each visitor stands in line once, however much they asked. Writing shares itself: nanollm.inference.thread_limits.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from nanollm.errors import InputError
from playground.services.gradio_internals import event_abandoned

Item = TypeVar("Item")
Function = TypeVar("Function", bound=Callable[..., Any])

SLOTS = 2  # that compute at once: more would only take the cores from each other
PATIENCE = 30.0  # seconds
LOOK_ROUND = 0.25  # seconds between two looks whether who waits is still there

BUSY = "Many are at it at this moment: try again in a while."
ENOUGH = "You asked for several things at once: wait for one of them first."
GONE = "This was called off."


class Shares:
    """Turns at computing, at most `slots` at once. `who` names the visitor for whom a thread is at work."""

    def __init__(
        self, who: Callable[[], str], slots: int = SLOTS, waiting: int = 64, patience: float = PATIENCE
    ) -> None:
        self._who, self._free, self._most, self._patience = who, slots, waiting, patience
        self._lines: OrderedDict[str, deque[object]] = OrderedDict()  # by visitor; the first one's first is next
        self._moved = threading.Condition()
        self._mine = threading.local()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Compute within; a thread that has a turn already keeps it.

        Raises InputError where too much of the visitor's waits already, where nobody waits for it any more, and after
        half a minute.
        """
        if getattr(self._mine, "turn", False):
            yield
            return
        self._wait(self._who())
        self._mine.turn = True
        try:
            yield
        finally:
            self._mine.turn = False
            with self._moved:
                self._free += 1
                self._moved.notify_all()

    def fair(self, handler: Function) -> Function:
        """The same handler, in a turn of the visitor's; a generator in one for each of its steps."""
        if inspect.isgeneratorfunction(handler):

            @functools.wraps(handler)
            def generator(*args: Any, **kwargs: Any) -> Any:
                yield from self.each(handler(*args, **kwargs))

            return generator  # type: ignore[return-value]

        @functools.wraps(handler)
        def function(*args: Any, **kwargs: Any) -> Any:
            with self.turn():
                return handler(*args, **kwargs)

        return function  # type: ignore[return-value]

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items, each of them computed in a turn of its own: others come in between."""
        steps = iter(items)
        try:
            while True:
                with self.turn():
                    try:
                        item = next(steps)
                    except StopIteration:
                        return
                yield item
        finally:
            if inspect.isgenerator(steps):
                steps.close()

    def _wait(self, visitor: str) -> None:
        ticket, deadline = object(), time.monotonic() + self._patience
        with self._moved:
            line = self._lines.setdefault(visitor, deque())
            if len(line) >= self._most:
                raise InputError(ENOUGH)
            line.append(ticket)
            try:
                while not (self._free and ticket is self._next()):
                    if event_abandoned():
                        raise InputError(GONE)
                    if time.monotonic() > deadline:
                        raise InputError(BUSY)
                    self._moved.wait(LOOK_ROUND)
                if event_abandoned():
                    raise InputError(GONE)
                self._free -= 1
                self._lines.move_to_end(visitor)  # the others come first now
            finally:
                line.remove(ticket)
                if not line:
                    del self._lines[visitor]
                self._moved.notify_all()

    def _next(self) -> object:
        return next(iter(self._lines.values()))[0]
