"""Visitors are identified by their token in every kind of handler that Gradio runs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client

from playground.public import visitor
from playground.public.visitor import ANONYMOUS, from_headers

TOKEN = "T" * 43
OWNER = hashlib.sha256(f"nano-llm visitor {TOKEN}".encode()).hexdigest()


def test_only_a_valid_token_identifies_an_owner() -> None:
    assert from_headers({"x-nano-visitor": TOKEN}).owner == OWNER
    for invalid in ("", "T" * 42, "T" * 44, "T" * 42 + "=", "T" * 42 + "\n", TOKEN + " ", "é" * 43):
        assert from_headers({"x-nano-visitor": invalid}).owner == ""


def test_view_keys_are_validated_and_limited() -> None:
    key = "0123456789abcdef" * 2
    assert from_headers({"x-nano-looks": f"run-1.{key} run.2.{key}"}).view_keys == {"run-1": key, "run.2": key}
    assert from_headers({"x-nano-looks": f"run-1.{key}x  nothing .{key} {'a' * 5000}"}).view_keys == {}
    assert (
        len(from_headers({"x-nano-looks": " ".join(f"r{n}.{key}" for n in range(99))}).view_keys)
        == visitor.MAX_VIEW_KEYS
    )


def test_the_address_comes_from_the_proxy_on_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert from_headers({"x-forwarded-for": "1.1.1.1, 2.2.2.2"}, "10.0.0.1").address == "10.0.0.1"
    monkeypatch.setenv("SPACE_ID", "a/b")
    assert from_headers({"x-forwarded-for": "1.1.1.1, 2.2.2.2"}, "10.0.0.1").address == "2.2.2.2"
    assert from_headers({}, "10.0.0.1").address == "10.0.0.1"


def test_the_visitor_is_anonymous_outside_of_a_request() -> None:
    assert visitor.current() == ANONYMOUS


@pytest.fixture(scope="module")
def handlers() -> Iterator[tuple[str, dict[str, list[str]]]]:
    """A page with a handler of each kind, and the owner that each of them found."""
    found: dict[str, list[str]] = {}

    def note(name: str) -> str:
        found.setdefault(name, []).append(visitor.current().owner)
        return "done"

    def stream() -> Iterator[str]:
        for _ in range(3):
            yield note("generator")

    async def served(data: Any) -> str:
        return note("server function")

    def elsewhere() -> str:
        thread = threading.Thread(target=note, args=["another thread"])
        thread.start()
        thread.join()
        return "done"

    with gr.Blocks() as demo:
        html = gr.HTML("", server_functions=[served])
        button, box = gr.Button(), gr.Textbox()
        button.click(lambda: note("queued"), None, box, api_name="queued")
        button.click(lambda: note("quiet"), None, box, api_name="quiet", queue=False)
        button.click(stream, None, box, api_name="stream")
        gr.api(lambda: note("api"), api_name="plain")
        gr.api(elsewhere, api_name="elsewhere")
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield address, found, html._id
    demo.close(verbose=False)


def test_every_kind_of_handler_knows_its_visitor(handlers) -> None:
    address, found, component = handlers
    client = Client(address, headers={"x-nano-visitor": TOKEN}, verbose=False)
    for name in ("queued", "quiet", "stream", "plain", "elsewhere"):
        client.predict(api_name=f"/{name}")
    body = {"data": None, "component_id": component, "fn_name": "served", "session_hash": "s"}
    answer = httpx.post(f"{address}gradio_api/component_server", json=body, headers={"x-nano-visitor": TOKEN})
    assert answer.status_code == 200
    assert found.pop("another thread") == [""]  # threads do not inherit the request
    assert set(found) == {"queued", "quiet", "generator", "server function", "api"}
    assert {owner for owners in found.values() for owner in owners} == {OWNER} and len(found["generator"]) == 3
