"""IndexPage: rendered once per address, compressed if the client accepts it."""

from __future__ import annotations

import gzip

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from playground.public import index_page
from playground.public.index_page import IndexPage

rendered: list[str] = []


async def _page(request: Request) -> HTMLResponse:
    rendered.append(str(request.url))
    return HTMLResponse(
        f"<p>{request.headers['host']} " + "ä" * 9000, 503 if request.headers["host"] == "full" else 200
    )


@pytest.fixture
def page() -> TestClient:
    rendered.clear()
    return TestClient(IndexPage(Starlette(routes=[Route("/", _page)])), base_url="http://here")


def test_the_page_is_rendered_once_for_any_query(page: TestClient) -> None:
    answers = [page.get("/"), page.get("/?run=a"), page.get("/", headers={"accept-encoding": "br"}), page.head("/")]
    assert rendered == ["http://here/"] and {answer.status_code for answer in answers} == {200}
    assert {answer.text for answer in answers[:3]} == {"<p>here " + "ä" * 9000} and answers[3].text == ""
    assert [answer.headers.get("content-encoding") for answer in answers] == ["gzip", "gzip", None, "gzip"]
    assert {answer.headers["content-type"] for answer in answers} == {"text/html; charset=utf-8"}
    assert int(answers[0].headers["content-length"]) < 500 and len(gzip.compress(answers[0].content)) < 500


@pytest.fixture
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_page, "_CAPACITY", 2)


@pytest.mark.usefixtures("small_cache")
def test_each_address_has_its_own_page_up_to_the_capacity(request: pytest.FixtureRequest) -> None:
    page: TestClient = request.getfixturevalue("page")
    for host in ("one", "two", "three", "three", "two", "one"):
        assert page.get("/", headers={"host": host}).text.startswith(f"<p>{host} ")
    assert [url.split("/")[2] for url in rendered] == ["one", "two", "three", "one"]
    for name in ("x-forwarded-host", "x-forwarded-proto"):
        page.get("/", headers={"host": "one", name: "elsewhere"})
    assert len(rendered) == 6


def test_an_error_is_forwarded_and_not_cached(page: TestClient) -> None:
    assert [page.get("/", headers={"host": "full"}).status_code for _ in range(2)] == [503, 503]
    assert len(rendered) == 2


def test_the_page_names_its_icon_relative_to_its_own_address() -> None:
    async def start_page(request: Request) -> HTMLResponse:
        return HTMLResponse("<html><head><title>nano</title></head></html>")

    page = TestClient(IndexPage(Starlette(routes=[Route("/", start_page)])))
    assert '<head><link rel="icon" href="favicon.ico" />' in page.get("/").text
