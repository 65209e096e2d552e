"""Text on its way to the page."""

from __future__ import annotations

import threading
import time

from playground import streaming
from playground.streaming import INTERVAL, Desks, Pen, together


def slowly(text: str, seconds: float):
    for character in text:
        time.sleep(seconds)
        yield character


def test_a_pen_writes_everything_and_knows_its_speed():
    pen = Pen(iter("a whole sentence"))
    assert pen.speed == 0
    for _ in together([pen]):
        pass
    assert "".join(pen.written) == "a whole sentence" and pen.finished and pen.speed > 0


def test_updates_are_far_fewer_than_characters():
    pen = Pen(iter("x" * 50_000))
    began = time.perf_counter()
    updates = sum(1 for _ in together([pen]))
    assert updates <= 2 + (time.perf_counter() - began) / INTERVAL


def test_slow_characters_come_one_by_one():
    pen = Pen(slowly("abc", 2 * INTERVAL))
    assert ["".join(pen.written) for _ in together([pen])][:3] == ["a", "ab", "abc"]


def test_pens_write_side_by_side():
    pens = [Pen(slowly("aaaa", INTERVAL)), Pen(slowly("bbbb", INTERVAL))]
    next(together(pens))
    assert pens[0].written and pens[1].written and not pens[0].finished and not pens[1].finished


def test_calling_off_ends_a_write_and_only_that_one():
    desks = Desks()
    called_off, other = desks.begin("one", "sample"), desks.begin("two", "sample")
    pen = Pen(iter("never written to the end" * 1_000_000))
    for _ in together([pen], called_off):
        desks.call_off("one", "sample")
    assert pen.written and not pen.finished
    assert not other.is_set()


def test_a_new_write_calls_off_the_one_before_it(monkeypatch):
    monkeypatch.setattr(streaming, "LAST_WORDS", 0)  # the one before never comes to its end
    desks = Desks()
    first = desks.begin("one", "sample")
    second = desks.begin("one", "sample")
    assert first.is_set() and not second.is_set()
    desks.end("one", "sample", first)  # the earlier one ends late, and takes nothing with it
    desks.call_off("one", "sample")
    assert second.is_set()


def test_a_new_write_begins_when_the_one_before_it_has_had_its_last_word(monkeypatch):
    monkeypatch.setattr(streaming, "LAST_WORDS", 60.0)
    desks, said = Desks(), []

    def write() -> None:
        called_off = desks.begin("one", "sample")
        begun.set()
        called_off.wait(10)
        time.sleep(0.05)
        said.append("the last word")
        desks.end("one", "sample", called_off)

    begun, first = threading.Event(), threading.Thread(target=write)
    first.start()
    begun.wait(10)
    desks.begin("one", "sample")
    said.append("the next text")
    first.join()
    assert said == ["the last word", "the next text"]


def test_nothing_is_remembered_of_writes_that_ended():
    desks = Desks()
    for visitor in range(10):
        desks.end(str(visitor), "sample", desks.begin(str(visitor), "sample"))
    assert not desks._writing
