"""RequestFilter: allowed routes, size and rate limits, security headers and error messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from playground.browser.static_files import PLAYGROUND, module_names, module_root, module_routes
from playground.components.plotly_chart import plotly_route
from playground.handlers import INTERNAL_ERROR
from playground.public import request_filter, sentences
from playground.public.request_filter import RateLimiter, RequestFilter
from playground.settings import Settings
from tests.conftest import run_coroutine

ME, YOU = ({"x-nano-visitor": letter * 43} for letter in "my")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def _anything(request: Request) -> Any:
    """A stand-in for Gradio: reads the body and answers as the query says."""
    read = len(await request.body())
    if "wait" in request.query_params:
        await asyncio.sleep(0.1)
    if status := request.query_params.get("raise"):
        raise HTTPException(int(status), "a path: /home/user")
    if "break" in request.query_params:
        raise RuntimeError("/home/user/secret.py")
    if "plain" in request.query_params:
        return PlainTextResponse("Traceback: /home/user", 500)
    return JSONResponse(
        {"read": read, "path": request.url.path, "query": request.url.query, "origin": request.headers.get("origin")}
    )


INNER = Starlette(routes=[Route("/{path:path}", _anything, methods=["GET", "POST", "PUT", "OPTIONS"])])


def client(tmp_path: Path, public: bool, **how: Any) -> TestClient:
    routes = {**module_routes(), **plotly_route()}
    app = RequestFilter(INNER, Settings(home=tmp_path, public=public), routes=routes, **how)
    return TestClient(app, raise_server_exceptions=False, base_url="http://page.example")


@pytest.fixture(params=[False, True], ids=["local", "public"])
def page(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    yield client(tmp_path, request.param)


GET_ROUTES = (
    "/", "/config", "/assets/index.js", "/static/img/logo.svg", "/theme.css", "/gradio_api/info",
    "/gradio_api/queue/data", "/gradio_api/heartbeat/abc123", "/gradio_api/call/sample/abc123",
    "/gradio_api/file=/tmp/gradio/1/table.csv",
)  # fmt: skip
POST_ROUTES = (
    "queue/join",
    "queue/join/",
    "run/predict",
    "api/runs",
    "call/sample",
    "call/v2/sample",
    "upload",
    "reset",
)
OTHER_ROUTES = (
    "/gradio_api/file=https://elsewhere.example/", "/gradio_api/file=file:///etc/passwd", "/gradio_api/deep_link",
    "/gradio_api/proxy=https://elsewhere.example", "/gradio_api/runs", "/gradio_api/vibe-code", "/monitoring",
    "/monitoring/summary", "/gradio_api/token", "/gradio_api/dev/reload", "/gradio_api/stream/a/b/c/playlist.m3u8",
    "/docs", "/redoc", "/openapi.json", "/pwa_icon", "/logout",
)  # fmt: skip


def test_the_routes_of_the_page_are_allowed(page: TestClient) -> None:
    for path in GET_ROUTES:
        assert page.get(path).status_code == 200, path
    for path in POST_ROUTES:
        assert page.post(f"/gradio_api/{path}", json={}).status_code == 200, path


def test_other_routes_are_not_found(page: TestClient) -> None:
    for path in OTHER_ROUTES:
        answer = page.get(path)
        assert (answer.status_code, answer.json()) == (404, {"detail": sentences.NOT_FOUND}), path
    for path in ("process_recording", "login", "vibe-edit", "stream/1", "run-history/connect", "info"):
        assert page.post(f"/gradio_api/{path}", json={}).status_code == 404, path
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert page.request(method, "/gradio_api/queue/join").status_code == 404


def test_every_response_has_security_headers(page: TestClient) -> None:
    """Pages, errors and files alike; whether the page may be embedded is left to the policy."""
    answers = [page.get("/"), page.get("/docs"), page.get("/plotly.js"), page.get("/config?break")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "connect-src 'self';" in policy and "object-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "x-frame-options" not in answer.headers


def test_a_public_page_can_be_embedded_on_spaces_only(tmp_path: Path) -> None:
    policy = client(tmp_path, public=True).get("/").headers["content-security-policy"]
    assert policy.endswith("frame-ancestors 'self' https://huggingface.co https://*.huggingface.co https://*.hf.space")
    assert "frame-ancestors" not in client(tmp_path, public=False).get("/").headers["content-security-policy"]


def test_plotly_js_is_served_compressed(page: TestClient) -> None:
    answer = page.get("/plotly.js")
    assert answer.status_code == 200 and "plotly.js" in answer.text[:500]
    assert answer.headers["content-encoding"] == "gzip" and int(answer.headers["content-length"]) < 2 * 2**20


def test_modules_are_cached_forever_under_their_content_hash(page: TestClient) -> None:
    for name in module_names():
        answer = page.get(f"/{module_root()}{name}")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.text == (PLAYGROUND / name).read_text(encoding="utf-8")


def test_only_known_modules_are_served_and_only_under_the_current_hash(page: TestClient) -> None:
    name = module_names()[0]
    other = ("modules/0123456789abcdef/", module_root() + "../", module_root() + "%2e%2e/", "modules/", "")
    for path in (*(prefix + name for prefix in other), module_root() + "page.py", module_root()):
        assert page.get(f"/{path}").status_code == 404, path
    assert page.post(f"/{module_root()}{name}", json={}).status_code == 404


@pytest.mark.parametrize("declared", [True, False])
def test_too_large_bodies_are_rejected(page: TestClient, declared: bool) -> None:
    """With the size in the header, or without."""
    body = b" " * (30 * 2**20)
    chunks = (body[start : start + 2**20] for start in range(0, len(body), 2**20))
    answer = page.post("/gradio_api/queue/join", content=body if declared else chunks)
    assert (answer.status_code, answer.json()) == (413, {"detail": sentences.TOO_LARGE})
    assert page.request("GET", "/config", content=b"x" * 100_000).status_code == 413
    assert page.post("/gradio_api/queue/join", content=b"x" * 2**20).json()["read"] == 2**20


@pytest.mark.parametrize("length", ["-1", "1e3", "ten", "9" * 30])
def test_an_invalid_content_length_is_rejected(page: TestClient, length: str) -> None:
    assert page.post("/gradio_api/reset", content=b"", headers={"Content-Length": length}).status_code == 413


def test_an_upload_may_be_as_large_as_a_text(tmp_path: Path) -> None:
    public, local = (client(tmp_path, public) for public in (True, False))
    body = b"x" * (5 * 2**20 + 1000)
    assert public.post("/gradio_api/upload", content=body).json()["read"] == len(body)
    assert public.post("/gradio_api/upload", content=body + b"x" * 100_000).status_code == 413
    assert local.post("/gradio_api/upload", content=body + b"x" * 100_000).status_code == 200


def test_requests_from_other_sites_are_rejected(page: TestClient) -> None:
    """Gradio never sees their Origin, which it would allow. Cross-site POST requests are rejected."""
    assert page.get("/config", headers={"Origin": "https://evil.example"}).json()["origin"] is None
    for site in ("cross-site", "same-site"):
        assert page.post("/gradio_api/run/x", json={}, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert page.post("/gradio_api/run/x", json={}, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert page.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link from anywhere


def test_deep_links_are_removed(page: TestClient) -> None:
    assert page.get("/config?run=a%20b&deep_link=abc&tab=train").json()["query"] == "run=a+b&tab=train"
    assert page.get("/config?run=a%20b&x=").json()["query"] == "run=a%20b&x="
    assert page.get("/?run=a%20b&deep_link=abc").json()["query"] == ""


def test_errors_expose_no_internals(page: TestClient) -> None:
    for query, status in {"raise=404": 404, "raise=422": 422, "raise=400": 400, "raise=503": 503}.items():
        answer = page.get(f"/config?{query}")
        assert answer.status_code == status and "/home" not in answer.text and answer.json()["detail"]
    for query in ("break", "plain"):
        answer = page.get(f"/config?{query}")
        assert (answer.status_code, answer.json()) == (500, {"detail": INTERNAL_ERROR})


def test_a_rate_limit_affects_one_visitor(tmp_path: Path) -> None:
    clock = Clock()
    page = client(tmp_path, public=True, clock=clock)
    codes = [page.post("/gradio_api/run/x", json={}, headers=ME).status_code for _ in range(200)]
    assert codes[:100] == [200] * 100 and codes[-1] == 429
    assert page.post("/gradio_api/run/x", json={}, headers=ME).json() == {"detail": sentences.TOO_FAST}
    assert page.post("/gradio_api/run/x", json={}, headers=YOU).status_code == 200
    assert page.get("/assets/a.js", headers=ME).status_code == 200  # assets are not counted
    clock.now += 1
    assert page.post("/gradio_api/run/x", json={}, headers=ME).status_code == 200


def test_addresses_are_rate_limited_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "user/nano-llm")  # only there is X-Forwarded-For trusted
    page = client(tmp_path, public=True, clock=Clock())
    tokens = (f"{number:043d}" for number in range(2000))
    assert any(page.get("/config", headers={"x-nano-visitor": t}).status_code == 429 for t in tokens)
    elsewhere = {**ME, "x-forwarded-for": "10.0.0.1, 10.0.0.2"}
    assert page.get("/config", headers=elsewhere).status_code == 200


def test_a_local_page_has_no_rate_limits(tmp_path: Path) -> None:
    page = client(tmp_path, public=False, clock=Clock(), queued=lambda visitor: 100)
    assert {page.post("/gradio_api/queue/join", json={}).status_code for _ in range(300)} == {200}


def test_a_visitor_has_limited_queued_events(tmp_path: Path) -> None:
    queued = {"count": request_filter.MAX_QUEUED}
    page = client(tmp_path, public=True, queued=lambda visitor: queued["count"])
    answer = page.post("/gradio_api/queue/join", json={}, headers=ME)
    assert (answer.status_code, answer.json()) == (429, {"detail": sentences.TOO_MANY_REQUESTS})
    assert (
        page.post("/gradio_api/cancel", json={}, headers=ME).status_code == 200
    )  # so that the visitor can free a place
    assert page.get("/gradio_api/call/sample/abc", headers=ME).status_code == 200
    assert page.get("/gradio_api/queue/data", headers=ME).status_code == 200
    queued["count"] -= 1
    assert page.post("/gradio_api/queue/join", json={}, headers=ME).status_code == 200


def test_concurrent_joins_are_counted(tmp_path: Path) -> None:
    """Of fifty simultaneous requests, none is in the queue yet when the last one is checked."""

    async def at_once() -> list[int]:
        app = RequestFilter(INNER, Settings(home=tmp_path, public=True))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page.example", headers=ME) as web:
            joins = [web.post("/gradio_api/queue/join?wait", json={}) for _ in range(50)]
            return [answer.status_code for answer in await asyncio.gather(*joins)]

    assert sorted(run_coroutine(at_once())) == [200] * request_filter.MAX_QUEUED + [429] * (
        50 - request_filter.MAX_QUEUED
    )


def test_uploads_have_their_own_rate_limit(tmp_path: Path) -> None:
    clock = Clock()
    page = client(tmp_path, public=True, clock=clock)
    codes = [page.post("/gradio_api/upload", content=b"x", headers=ME).status_code for _ in range(12)]
    assert codes == [200] * 10 + [429] * 2
    clock.now += 30
    assert page.post("/gradio_api/upload", content=b"x", headers=ME).status_code == 200


def test_old_buckets_are_dropped() -> None:
    limiter = RateLimiter(1, 1, Clock())
    for number in range(2 * request_filter.MAX_BUCKETS):
        limiter.take(str(number))
    assert len(limiter._buckets._entries) == request_filter.MAX_BUCKETS
