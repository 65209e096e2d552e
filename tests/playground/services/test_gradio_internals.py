"""The undocumented parts of Gradio that the page uses still behave as the page expects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.state_holder import SessionState
from gradio_client import Client

from playground.services import gradio_internals
from playground.services.gradio_internals import (
    CompactSessions,
    current_request,
    event_abandoned,
    event_data,
    queued_requests,
)
from tests.conftest import ROOT, run_coroutine
from tests.speed import until

PRIVATE = re.compile(
    r"\b(event|demo|blocks?|app|component|queue)\._[a-z]|\._data\b|\._queue\b|LocalContext"
    r"|state_holder|middleware_stack|(from|import) gradio\."
)


@dataclass
class Page:
    """A launched page whose handler `wait` runs until `go`."""

    demo: gr.Blocks
    address: str
    go: Event = field(default_factory=Event)
    abandoned: list[bool] = field(default_factory=list)
    app: Any = None

    def client(self, name: str = "") -> Client:
        return Client(self.address, headers={"x-name": name}, verbose=False)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    page = Page(None, "")  # type: ignore[arg-type]

    def payload(event: gr.EventData) -> Any:
        return event_data(event)

    def caller() -> str:
        request = current_request()
        return request.headers["x-name"] if request else ""

    def wait() -> str:
        page.abandoned.append(event_abandoned())
        until(lambda: page.go.is_set() or event_abandoned(), 20)
        page.abandoned.append(event_abandoned())
        return "done"

    with gr.Blocks() as page.demo:
        html, box = gr.HTML(""), gr.JSON()
        html.click(payload, None, box, api_name="payload", queue=False)
        gr.api(caller, api_name="caller")
        gr.api(wait, api_name="wait", concurrency_limit=1)

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        page.app = app
        gradio_internals.install(app, marked)
        yield

    _, page.address, _ = page.demo.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", app_kwargs={"lifespan": lifespan}
    )
    yield page
    page.go.set()
    page.demo.close(verbose=False)


def marked(app: Any) -> Any:
    """Middleware that adds a header to every answer."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-marked", b"yes")]
            await send(message)

        await app(scope, receive, sending)

    return middleware


def test_no_other_module_of_the_page_uses_undocumented_parts_of_gradio() -> None:
    for path in (ROOT / "playground").rglob("*.py"):
        if path.name != "gradio_internals.py":
            found = [line for line in path.read_text(encoding="utf-8").splitlines() if PRIVATE.search(line)]
            assert not found, f"{path}: {found}"


@pytest.mark.parametrize(("sent", "received"), [({"choice": 1}, {"choice": 1}), ([1], {}), ("text", {}), (None, {})])
def test_a_handler_reads_the_payload_of_an_event(page: Page, sent: Any, received: Any) -> None:
    body = {"data": [], "event_data": sent, "session_hash": "a"}
    answer = httpx.post(f"{page.address}gradio_api/run/payload", json=body)
    assert answer.json()["data"] == [received]


def test_a_handler_finds_its_request(page: Page) -> None:
    assert current_request() is None
    assert page.client("ann").predict(api_name="/caller") == "ann"


def test_the_queue_lists_the_requests_that_run_and_wait(page: Page) -> None:
    page.go.clear()
    jobs = [page.client(name).submit(api_name="/wait") for name in ("ann", "bob")]
    until(lambda: len(queued_requests(page.demo)) == 2, 10)
    assert sorted(request.headers["x-name"] for request in queued_requests(page.demo)) == ["ann", "bob"]
    page.go.set()
    assert [job.result(20) for job in jobs] == ["done", "done"]
    until(lambda: not queued_requests(page.demo), 10)


def test_a_function_learns_that_its_event_was_cancelled(page: Page) -> None:
    assert not event_abandoned()
    page.go.clear()
    page.abandoned.clear()
    client = page.client()
    job = client.submit(api_name="/wait")
    until(lambda: page.abandoned == [False], 10)

    def ended() -> bool:
        job.cancel()  # has no effect before the client has received the event's id
        return len(page.abandoned) == 2

    until(ended, 15)
    assert page.abandoned == [False, True]


def test_middleware_runs_in_front_of_everything(page: Page) -> None:
    for path in ("", "config", "gradio_api/info", "assets/missing.js"):
        assert httpx.get(page.address + path).headers["x-marked"] == "yes", path
    assert isinstance(page.app.state_holder, CompactSessions)


@pytest.fixture
def demo() -> gr.Blocks:
    with gr.Blocks() as demo:
        lengths, typed, button = gr.State([]), gr.Textbox(), gr.Button()
        button.click(
            lambda lengths, typed: ([*lengths, len(typed)], gr.Button(value=typed)), [lengths, typed], [lengths, button]
        )
    return demo


def click(demo: gr.Blocks, session: SessionState, text: str) -> list:
    return run_coroutine(demo.process_api(0, [None, text], state=session))["data"]


def test_each_session_has_its_own_state_and_components(demo: gr.Blocks) -> None:
    sessions = CompactSessions(demo)
    state, button = demo.fns[0].outputs
    click(demo, sessions["ann"], "abc")
    _, update = click(demo, sessions["ann"], "abcd")
    assert update["value"] == "abcd"
    click(demo, sessions["bob"], "a")
    assert sessions["ann"][state._id] == [3, 4] and sessions["bob"][state._id] == [1]
    assert sessions["ann"][button._id] is not sessions["bob"][button._id]


def test_a_session_keeps_no_values_that_passed_through_it(demo: gr.Blocks) -> None:
    session = CompactSessions(demo)["ann"]
    click(demo, session, "a long text")
    configurations = [vars(block) for block in session.blocks_config.blocks.values()]
    assert list(session.components) == [] and "a long text" not in str(configurations)


def test_the_least_recently_used_session_is_dropped(demo: gr.Blocks) -> None:
    sessions = CompactSessions(demo)
    sessions.capacity = 2
    for name in ("ann", "bob", "ann", "eve", "eve"):
        assert sessions[name]
    assert list(sessions.session_data) == ["ann", "eve"]
