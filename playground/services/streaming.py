"""Text on its way to the page: a model writes thousands of characters a second, a page wants about twenty updates.

Of a stream's outputs, those that are dictionaries on their way (a button, a value with fields) are in every update. In
the browser Gradio makes each update of the one before, in place: a gr.skip() that comes before the page has taken in
the button before it would take its place. And what a write says of Stop is said again by the next one's next update,
should the first one's last come late.
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
LAST_WORDS = 1.0  # seconds that a write which is called off has for its last update

Stroke = TypeVar("Stroke")  # whatever the core yields a character: the character itself, or all that is known of it


@dataclass
class Pen(Generic[Stroke]):
    """One model writing: the characters still to come, those so far, and the time that the writing itself took."""

    strokes: Iterator[Stroke]
    written: list[Stroke] = field(default_factory=list)
    seconds: float = 0.0
    finished: bool = False

    @property
    def speed(self) -> float:
        """Characters a second; 0 before the first."""
        return len(self.written) / self.seconds if self.seconds else 0.0

    def advance(self, seconds: float) -> None:
        """Write for about so long: at least one character, at most to the end."""
        began = time.perf_counter()
        for stroke in self.strokes:
            self.written.append(stroke)
            if time.perf_counter() - began >= seconds:
                break
        else:
            self.finished = True
        self.seconds += time.perf_counter() - began


def together(pens: Sequence[Pen[Any]], called_off: Event | None = None) -> Iterator[None]:
    """Let all pens write side by side, each its share of every interval, and yield after each interval.

    The first interval is as short as it can be: who waits, waits for the first character.
    """
    called_off = called_off or Event()
    interval = 0.0
    while not called_off.is_set() and (writing := [pen for pen in pens if not pen.finished]):
        for pen in takewhile(lambda _: not called_off.is_set(), writing):
            pen.advance(interval / len(writing))
        yield
        interval = INTERVAL


class Desks:
    """Who is writing what at the moment: each visitor one text a place, and any of them can be called off.

    Gradio's own `cancels` drops what was under way without a last update, and two streams into one component overtake
    each other. Here a write that is called off ends by itself, with its last update, and the next begins after it.
    """

    def __init__(self, who: Callable[[], str] = str, most: int = 64) -> None:
        """`who` names the visitor that a thread is at work for: each may have `most` texts in the making."""
        self._who, self._most = who, most
        self._writing: dict[tuple[str | None, str], Event] = {}
        self._under_way: dict[str, list[Event]] = {}  # by visitor, the oldest first
        self._changed = Condition()

    def begin(self, session: str | None, place: str) -> Event:
        """What `together` is to watch; whatever the visitor was writing there before is called off and comes to its
        end first, and the oldest of what they write elsewhere is called off if that is too much."""
        with self._changed:
            if earlier := self._writing.get((session, place)):
                earlier.set()
            self._writing[session, place] = called_off = Event()
            mine = self._under_way.setdefault(self._who(), [])
            mine.append(called_off)
            for oldest in mine[: -self._most]:
                oldest.set()
            self._changed.wait_for(lambda: earlier not in mine, LAST_WORDS)
            return called_off

    def end(self, session: str | None, place: str, called_off: Event) -> None:
        """Forget a write that is over."""
        with self._changed:
            if self._writing.get((session, place)) is called_off:
                del self._writing[session, place]
            for visitor, mine in list(self._under_way.items()):
                if called_off in mine:
                    mine.remove(called_off)
                    if not mine:
                        del self._under_way[visitor]
            self._changed.notify_all()

    @contextmanager
    def at(self, session: str | None, place: str) -> Iterator[Event]:
        """begin() and end() around a write."""
        called_off = self.begin(session, place)
        try:
            yield called_off
        finally:
            self.end(session, place, called_off)

    def call_off(self, session: str | None, place: str) -> None:
        """Let the visitor's write there end now, if there is one."""
        with self._changed:
            if called_off := self._writing.get((session, place)):
                called_off.set()
