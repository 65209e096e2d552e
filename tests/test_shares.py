"""Turns: so many at once, visitor by visitor, and nobody's who has gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from nanollm.errors import InputError
from playground import shares
from playground.shares import Shares
from playground.streaming import Desks
from tests.faults.conftest import until


class Crowd:
    """Threads of several visitors that ask for turns, and the order in which they got them."""

    def __init__(self, slots: int = 1, **how: float) -> None:
        self._names = threading.local()
        self.shares = Shares(lambda: getattr(self._names, "visitor", ""), slots, **how)  # type: ignore[arg-type]
        self.order: list[str] = []
        self.refused: list[str] = []
        self.at_once, self.most_at_once = 0, 0
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def ask(self, visitor: str, seconds: float = 0.0) -> None:
        """One more question of a visitor's, in line before the next is asked."""
        waiting = self.waiting() + len(self.order)
        thread = threading.Thread(target=self._ask, args=(visitor, seconds))
        thread.start()
        self._threads.append(thread)
        until(lambda: self.waiting() + len(self.order) > waiting or bool(self.refused))

    def waiting(self) -> int:
        return sum(map(len, list(self.shares._lines.values())))

    def end(self) -> None:
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _ask(self, visitor: str, seconds: float) -> None:
        self._names.visitor = visitor
        try:
            with self.shares.turn():
                with self._lock:
                    self.order.append(visitor)
                    self.at_once += 1
                    self.most_at_once = max(self.most_at_once, self.at_once)
                time.sleep(seconds)
                with self._lock:
                    self.at_once -= 1
        except InputError as error:
            self.refused.append(str(error))


def test_who_asks_often_waits_for_those_who_ask_once() -> None:
    crowd = Crowd()
    with crowd.shares.turn():  # somebody is at it, and so a line forms
        for visitor in ["greedy"] * 10 + ["ann", "bob"]:
            crowd.ask(visitor)
    crowd.end()
    assert sorted(crowd.order[:3]) == ["ann", "bob", "greedy"]
    assert crowd.order[3:] == ["greedy"] * 9


@pytest.mark.parametrize("slots", [1, 3])
def test_no_more_compute_at_once_than_there_are_slots(slots: int) -> None:
    crowd = Crowd(slots)
    for number in range(12):
        crowd.ask(f"visitor {number % 5}", 0.02)
    crowd.end()
    assert len(crowd.order) == 12 and crowd.most_at_once <= slots


def test_who_has_too_much_waiting_is_refused_alone() -> None:
    crowd = Crowd(waiting=2)
    with crowd.shares.turn():
        for _ in range(3):
            crowd.ask("greedy")
        assert crowd.refused == [shares.ENOUGH]
        crowd.ask("ann")
    crowd.end()
    assert crowd.refused == [shares.ENOUGH] and sorted(crowd.order) == ["ann", "greedy", "greedy"]


def test_nobody_waits_for_ever() -> None:
    crowd = Crowd(patience=0.1)
    with crowd.shares.turn():
        crowd.ask("ann")
        crowd.end()
    assert crowd.refused == [shares.BUSY]
    with crowd.shares.turn():  # nothing of it is left in the line
        assert crowd.waiting() == 0


def test_nothing_is_computed_for_who_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd()
    with ExitStack() as busy:
        busy.enter_context(crowd.shares.turn())
        crowd.ask("ann")
        monkeypatch.setattr(shares, "abandoned", lambda: True)
        crowd.end()
    assert crowd.refused == [shares.GONE] and crowd.order == []


def test_a_turn_within_a_turn_is_the_same() -> None:
    turns = Shares(str, slots=1, patience=0.1)
    fair = turns.fair(lambda: "inner")
    with turns.turn():
        assert fair() == "inner"
    with turns.turn():
        pass


def test_a_defect_gives_the_turn_back() -> None:
    turns = Shares(str, slots=1, patience=0.1)
    with pytest.raises(ZeroDivisionError), turns.turn():
        raise ZeroDivisionError
    assert turns.fair(lambda: 1)() == 1


def test_a_long_reading_lets_others_in_between() -> None:
    turns, closed = Shares(str, slots=1, patience=0.1), []

    @turns.fair
    def long() -> Iterator[int]:
        try:
            yield from range(3)
        finally:
            closed.append(True)

    steps = long()
    assert next(steps) == 0
    assert turns.fair(lambda: "another")() == "another"
    assert list(steps) == [1, 2] and closed == [True]
    steps = long()
    next(steps)
    steps.close()
    assert closed == [True, True]


def test_a_visitor_writes_only_so_many_texts_at_once() -> None:
    """However many sessions they make up: the oldest write ends for the newest. Others' go on."""
    who = ["greedy"]
    desks = Desks(lambda: who[0], most=2)
    first, second, third = (desks.begin(f"session {number}", "sample") for number in range(3))
    who[0] = "ann"
    hers = desks.begin("hers", "sample")
    assert [first.is_set(), second.is_set(), third.is_set(), hers.is_set()] == [True, False, False, False]
    for number, event in enumerate((first, second, third)):
        desks.end(f"session {number}", "sample", event)
    desks.end("hers", "sample", hers)
    assert not desks._under_way and not desks._writing
