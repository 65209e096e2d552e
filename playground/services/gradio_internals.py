"""The parts of Gradio that its documentation does not cover: no other module of the page uses them.

Each function says which undocumented attribute it reads and why no documented one is sufficient. Each has a test that
fails when Gradio changes it (tests/playground/services/test_gradio_internals.py).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from gradio.state_holder import SessionState, StateHolder
from starlette.types import ASGIApp


def event_data(event: gr.EventData) -> dict[str, Any]:
    """The payload that a component's script passed to `trigger`; an empty dict if it is not an object.

    `event.name` is documented, but raises different errors for a missing field and for a payload that is no object.
    Both occur, because anyone can post an event. Uses `EventData._data`.
    """
    return event._data if isinstance(event._data, dict) else {}


def current_request() -> gr.Request | None:
    """The request that the current handler, generator step or server function answers; None outside of one.

    Gradio documents only the parameter of type `gr.Request`, which server functions and the stores below the handlers
    do not get. Uses `LocalContext.request`, a context variable: a thread started by a handler does not inherit it.
    """
    return LocalContext.request.get(None)


def event_abandoned() -> bool:
    """Whether the event that the current thread computes was cancelled or its tab closed; False outside of an event.

    Gradio stops a generator at its next step but never tells a function. Uses `LocalContext.event_id` and the queue's
    table of live events.
    """
    event_id, blocks = LocalContext.event_id.get(None), LocalContext.blocks.get(None)
    if event_id is None or blocks is None:
        return False
    event = blocks._queue.event_ids_to_events.get(event_id)
    return event is None or not event.alive


def queued_requests(demo: gr.Blocks) -> list[Any]:
    """The requests (with `headers` and `scope`) of all events that wait or run in a page's queue.

    Gradio limits the queue as a whole, not per visitor. Uses the queue's `event_queue_per_concurrency_id` and
    `active_jobs`.
    """
    queue = demo._queue
    events = [event for waiting in queue.event_queue_per_concurrency_id.values() for event in waiting.queue]
    events += [event for job in queue.active_jobs if job for event in job]
    return [event.request for event in events]


def install(app: Any, middleware: Callable[[ASGIApp], ASGIApp]) -> None:
    """Put `middleware` in front of everything that a launched page answers, and replace its store of sessions.

    Call it from the lifespan of `launch(app_kwargs=)`: Gradio adds its own middleware during launch, so that anything
    added earlier would run behind it. Replaces `app.middleware_stack` and `app.state_holder`.
    """
    app.state_holder = CompactSessions(app.get_blocks())
    app.middleware_stack = middleware(app.middleware_stack)


class CompactSessions(StateHolder):
    """Gradio's store of the most recent `capacity` sessions, without a copy of the page in each of them.

    For deep links, which this page does not offer, Gradio keeps in each session the configuration of every component
    with its last value: every text that was pasted or generated. Here a session consists of its `gr.State` values and
    the components that its handlers changed.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__()
        self.set_blocks(blocks)

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            # SessionState copies the components of the page it is given, so it gets a page without any.
            page: Any = SimpleNamespace(default_config=self.blocks.default_config, blocks={})
            session = SessionState(page)
            session.config_values = _NoConfigurations()
            self.session_data[session_id] = session
        return super().__getitem__(session_id)


class _NoConfigurations(dict[int, Any]):
    """Has an empty configuration for every key, and ignores assignments."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: int) -> dict[str, Any]:
        return {}

    def __setitem__(self, key: int, value: Any) -> None:
        pass
