"""Streaming: update intervals, cancellation, and replaced streams."""

from __future__ import annotations

import threading
import time

from playground.services import streaming
from playground.services.streaming import INTERVAL, ActiveStreams, TokenStream, run_streams


def slowly(text: str, seconds: float):
    for character in text:
        time.sleep(seconds)
        yield character


def test_a_stream_generates_everything_and_reports_its_speed():
    stream = TokenStream(iter("a whole sentence"))
    assert stream.tokens_per_second == 0
    for _ in run_streams([stream]):
        pass
    assert "".join(stream.generated) == "a whole sentence" and stream.finished and stream.tokens_per_second > 0


def test_updates_are_far_fewer_than_characters():
    stream = TokenStream(iter("x" * 50_000))
    began = time.perf_counter()
    updates = sum(1 for _ in run_streams([stream]))
    assert updates <= 2 + (time.perf_counter() - began) / INTERVAL


def test_slow_characters_are_sent_one_by_one():
    stream = TokenStream(slowly("abc", 2 * INTERVAL))
    assert ["".join(stream.generated) for _ in run_streams([stream])][:3] == ["a", "ab", "abc"]


def test_streams_share_every_interval():
    both = [TokenStream(slowly("aaaa", INTERVAL)), TokenStream(slowly("bbbb", INTERVAL))]
    next(run_streams(both))
    assert both[0].generated and both[1].generated and not both[0].finished and not both[1].finished


def test_cancelling_ends_only_that_stream():
    streams = ActiveStreams()
    cancelled, other = streams.begin("one", "sample"), streams.begin("two", "sample")
    stream = TokenStream(iter("never generated to the end" * 1_000_000))
    for _ in run_streams([stream], cancelled):
        streams.cancel("one", "sample")
    assert stream.generated and not stream.finished
    assert not other.is_set()


def test_a_new_stream_cancels_the_previous_one_of_the_same_tab(monkeypatch):
    monkeypatch.setattr(streaming, "CANCEL_TIMEOUT", 0)  # the previous stream never ends
    streams = ActiveStreams()
    first = streams.begin("one", "sample")
    second = streams.begin("one", "sample")
    assert first.is_set() and not second.is_set()
    streams.end("one", "sample", first)  # a late end of the replaced stream leaves the new one
    streams.cancel("one", "sample")
    assert second.is_set()


def test_a_new_stream_waits_for_the_last_update_of_the_previous_one(monkeypatch):
    monkeypatch.setattr(streaming, "CANCEL_TIMEOUT", 60.0)
    streams, updates = ActiveStreams(), []

    def write() -> None:
        cancelled = streams.begin("one", "sample")
        begun.set()
        cancelled.wait(10)
        time.sleep(0.05)
        updates.append("last update")
        streams.end("one", "sample", cancelled)

    begun, first = threading.Event(), threading.Thread(target=write)
    first.start()
    begun.wait(10)
    streams.begin("one", "sample")
    updates.append("next stream")
    first.join()
    assert updates == ["last update", "next stream"]


def test_ended_streams_are_removed():
    streams = ActiveStreams()
    for visitor in range(10):
        streams.end(str(visitor), "sample", streams.begin(str(visitor), "sample"))
    assert not streams._active
