"""FairQueue: bounded concurrency, round-robin by visitor, and no work for cancelled requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from nanollm.errors import InputError
from playground.public import fair_queue, sentences
from playground.public.fair_queue import FairQueue
from playground.services.streaming import ActiveStreams
from tests.speed import until


class Requests:
    """Threads of several visitors that request slots, and the order in which they got them."""

    def __init__(self, slots: int = 1, **how: float) -> None:
        self._names = threading.local()
        self.queue = FairQueue(lambda: getattr(self._names, "visitor", ""), slots, **how)  # type: ignore[arg-type]
        self.order: list[str] = []
        self.errors: list[str] = []
        self.at_once, self.most_at_once = 0, 0
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def add(self, visitor: str, seconds: float = 0.0) -> None:
        """Start a request of a visitor and wait until it is queued."""
        before = self.queue.waiting() + len(self.order)
        thread = threading.Thread(target=self._run, args=(visitor, seconds))
        thread.start()
        self._threads.append(thread)
        until(lambda: self.queue.waiting() + len(self.order) > before or bool(self.errors))

    def join(self) -> None:
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _run(self, visitor: str, seconds: float) -> None:
        self._names.visitor = visitor
        try:
            with self.queue.slot():
                with self._lock:
                    self.order.append(visitor)
                    self.at_once += 1
                    self.most_at_once = max(self.most_at_once, self.at_once)
                time.sleep(seconds)
                with self._lock:
                    self.at_once -= 1
        except InputError as error:
            self.errors.append(str(error))


def test_a_visitor_with_many_requests_does_not_delay_the_others() -> None:
    requests = Requests()
    with requests.queue.slot():  # occupied, so that the requests have to wait
        for visitor in ["greedy"] * 10 + ["ann", "bob"]:
            requests.add(visitor)
    requests.join()
    assert sorted(requests.order[:3]) == ["ann", "bob", "greedy"]
    assert requests.order[3:] == ["greedy"] * 9


@pytest.mark.parametrize("slots", [1, 3])
def test_concurrency_is_bounded_by_the_slots(slots: int) -> None:
    requests = Requests(slots)
    for number in range(12):
        requests.add(f"visitor {number % 5}", 0.02)
    requests.join()
    assert len(requests.order) == 12 and requests.most_at_once <= slots


def test_only_the_visitor_with_too_many_waiting_requests_is_refused() -> None:
    requests = Requests(max_waiting=2)
    with requests.queue.slot():
        for _ in range(3):
            requests.add("greedy")
        assert requests.errors == [sentences.TOO_MANY_REQUESTS]
        requests.add("ann")
    requests.join()
    assert requests.errors == [sentences.TOO_MANY_REQUESTS] and sorted(requests.order) == ["ann", "greedy", "greedy"]


def test_a_request_times_out() -> None:
    requests = Requests(timeout=0.1)
    with requests.queue.slot():
        requests.add("ann")
        requests.join()
    assert requests.errors == [sentences.BUSY]
    with requests.queue.slot():  # the expired request has left the queue
        assert requests.queue.waiting() == 0


def test_a_cancelled_request_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = Requests()
    with ExitStack() as busy:
        busy.enter_context(requests.queue.slot())
        requests.add("ann")
        monkeypatch.setattr(fair_queue, "event_abandoned", lambda: True)
        requests.join()
    assert requests.errors == [sentences.CANCELLED] and requests.order == []


def test_a_nested_slot_reuses_the_outer_one() -> None:
    queue = FairQueue(str, slots=1, timeout=0.1)
    limited = queue.limit(lambda: "inner")
    with queue.slot():
        assert limited() == "inner"
    with queue.slot():
        pass


def test_an_exception_frees_the_slot() -> None:
    queue = FairQueue(str, slots=1, timeout=0.1)
    with pytest.raises(ZeroDivisionError), queue.slot():
        raise ZeroDivisionError
    assert queue.limit(lambda: 1)() == 1


def test_a_generator_frees_its_slot_between_steps() -> None:
    queue, closed = FairQueue(str, slots=1, timeout=0.1), []

    @queue.limit
    def long() -> Iterator[int]:
        try:
            yield from range(3)
        finally:
            closed.append(True)

    steps = long()
    assert next(steps) == 0
    assert queue.limit(lambda: "another")() == "another"
    assert list(steps) == [1, 2] and closed == [True]
    steps = long()
    next(steps)
    steps.close()
    assert closed == [True, True]


def test_a_visitor_has_a_limited_number_of_generations() -> None:
    """However many sessions they use: the newest generation cancels the oldest. Other visitors' continue."""
    who = ["greedy"]
    streams = ActiveStreams(lambda: who[0], most=2)
    first, second, third = (streams.begin(f"session {number}", "sample") for number in range(3))
    who[0] = "ann"
    hers = streams.begin("hers", "sample")
    assert [first.is_set(), second.is_set(), third.is_set(), hers.is_set()] == [True, False, False, False]
    for number, event in enumerate((first, second, third)):
        streams.end(f"session {number}", "sample", event)
    streams.end("hers", "sample", hers)
    assert not streams._by_visitor and not streams._active
