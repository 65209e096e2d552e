"""Streaming generated text to the page: thousands of characters per second in about twenty updates per second.

Every update of a stream repeats the outputs that are dictionaries (a button, a value with fields). Gradio's frontend
builds each update from the previous one in place, so a gr.skip() that arrives before the page has applied such an
output would replace it. For the same reason the state of the Stop button is part of every update: the last update of a
cancelled stream may arrive after the first one of the next stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from threading import Condition, Event
from typing import Any, Generic, TypeVar

INTERVAL = 0.05  # seconds between two updates
CANCEL_TIMEOUT = 1.0  # seconds that a new stream waits for the last update of the one it replaces

Token = TypeVar("Token")  # what the core yields per character: the character itself, or a record about it


@dataclass
class TokenStream(Generic[Token]):
    """One generation in progress: its token iterator, the tokens so far and the time spent generating them."""

    tokens: Iterator[Token]
    generated: list[Token] = field(default_factory=list)
    seconds: float = 0.0
    finished: bool = False

    @property
    def tokens_per_second(self) -> float:
        """Generation speed; 0 before the first token."""
        return len(self.generated) / self.seconds if self.seconds else 0.0

    def advance(self, seconds: float) -> None:
        """Generate for about `seconds`: at least one token, at most up to the end."""
        began = time.perf_counter()
        for token in self.tokens:
            self.generated.append(token)
            if time.perf_counter() - began >= seconds:
                break
        else:
            self.finished = True
        self.seconds += time.perf_counter() - began


def run_streams(streams: Sequence[TokenStream[Any]], cancelled: Event | None = None) -> Iterator[None]:
    """Advance all streams in equal shares of an interval and yield after each one, until all finish or are cancelled.

    The first interval is as short as possible, so that the first characters appear at once.
    """
    cancelled = cancelled or Event()
    interval = 0.0
    while not cancelled.is_set() and (unfinished := [stream for stream in streams if not stream.finished]):
        for stream in takewhile(lambda _: not cancelled.is_set(), unfinished):
            stream.advance(interval / len(unfinished))
        yield
        interval = INTERVAL


class ActiveStreams:
    """The generations in progress: one per session and place, each of which can be cancelled.

    Gradio's own `cancels` ends a generator without a last update, and two generators that update one component
    overtake each other. Here a cancelled generation ends by itself with a last update, and the next starts after it.
    """

    def __init__(self, visitor: Callable[[], str] = str, most: int = 64) -> None:
        """`visitor` returns the visitor of the current thread; each may run `most` generations at once."""
        self._visitor, self._most = visitor, most
        self._active: dict[tuple[str | None, str], Event] = {}
        self._by_visitor: dict[str, list[Event]] = {}  # oldest first
        self._changed = Condition()

    def begin(self, session: str | None, place: str) -> Event:
        """Register a generation and return its cancellation event, for `run_streams`.

        Cancels the session's earlier generation at this place and waits for its last update. Also cancels the
        visitor's oldest generation if there are too many.
        """
        with self._changed:
            if earlier := self._active.get((session, place)):
                earlier.set()
            self._active[session, place] = cancelled = Event()
            mine = self._by_visitor.setdefault(self._visitor(), [])
            mine.append(cancelled)
            for oldest in mine[: -self._most]:
                oldest.set()
            self._changed.wait_for(lambda: earlier not in mine, CANCEL_TIMEOUT)
            return cancelled

    def end(self, session: str | None, place: str, cancelled: Event) -> None:
        with self._changed:
            if self._active.get((session, place)) is cancelled:
                del self._active[session, place]
            for visitor, mine in list(self._by_visitor.items()):
                if cancelled in mine:
                    mine.remove(cancelled)
                    if not mine:
                        del self._by_visitor[visitor]
            self._changed.notify_all()

    @contextmanager
    def at(self, session: str | None, place: str) -> Iterator[Event]:
        """Context manager that calls begin() and end()."""
        cancelled = self.begin(session, place)
        try:
            yield cancelled
        finally:
            self.end(session, place, cancelled)

    def cancel(self, session: str | None, place: str) -> None:
        """Cancel the session's generation at this place, if there is one."""
        with self._changed:
            if cancelled := self._active.get((session, place)):
                cancelled.set()
