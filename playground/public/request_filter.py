"""ASGI middleware in front of Gradio: an allowlist of routes, size and rate limits, security headers, plain errors.

Gradio serves much that this page never uses: an open proxy, a dump of a session's state, recordings, a login. Only
the routes listed here reach it; everything else is answered with 404. Rate limits apply in public mode only.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playground.browser.static_files import Routes
from playground.handlers import INTERNAL_ERROR
from playground.public import sentences
from playground.public.index_page import IndexPage
from playground.public.visitor import Visitor, from_headers
from playground.services.gradio_internals import install, queued_requests
from playground.services.lru_cache import LRUCache
from playground.settings import Settings

log = logging.getLogger("nanollm.page")

_API = "/gradio_api"
# The routes that the page, gradio_client and curl use. `file=` serves only files that Gradio offers for download; the
# slash after it excludes URLs, which Gradio would fetch.
_GET_ROUTES = re.compile(
    r"/|/config|/(assets|static)/.+|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt"
    rf"|{_API}/(info|openapi\.json|app_id|theme\.css|upload_progress|startup-events|queue/data|queue/status)"
    rf"|{_API}/(heartbeat/\w+|call/(v2/)?\w+/\w+|file=/.+)"
)
_POST_ROUTES = re.compile(rf"{_API}/(queue/join|(run|api|call|call/v2)/\w+|cancel|reset|component_server|upload)")
_QUEUE_ROUTES = re.compile(rf"{_API}/(queue/join|call/(v2/)?\w+)")  # they add an event to the queue
_UNLIMITED_ROUTES = re.compile(r"/(assets|static)/.+|.+\.(js|css|ico|json|txt)")  # small, and requested once
_UPLOAD_ROUTE = f"{_API}/upload"

_SMALL = 64 * 1024  # bytes: of a request without a payload, and of the multipart framing of an upload
MAX_QUEUED = 8  # events of one visitor that wait or run in the queue
MAX_OPEN = 64  # concurrent requests of one visitor
VISITOR_RATE = (10, 120)  # requests per second of one visitor, and burst
ADDRESS_RATE = (250, 1000)  # the same for one network address, which a class may share
UPLOAD_RATE = (2 / 60, 10)  # uploads per second of one visitor, and burst
MAX_BUCKETS = 4096  # visitors whose rates are remembered

# Gradio's page needs inline scripts and compiled templates. connect-src and img-src prevent injected code from sending
# data to other sites.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
_FRAME_ANCESTORS = "; frame-ancestors 'self' https://huggingface.co https://*.huggingface.co https://*.hf.space"


class TokenBucket:
    """Allows `rate` actions per second in the long run, and up to `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._updated = burst, clock()

    def take(self) -> bool:
        """Take a token. Returns False if there is none."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + self._rate * (now - self._updated))
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class RateLimiter:
    """A TokenBucket for each key; the least recently used keys are forgotten."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = lambda: TokenBucket(rate, burst, clock)
        self._buckets: LRUCache[TokenBucket] = LRUCache(MAX_BUCKETS)

    def take(self, key: str) -> bool:
        """Take a token from the key's bucket. Returns False if it is empty."""
        return self._buckets.get(key, self._make).take()


class RequestFilter:
    """ASGI application around Gradio's.

    `routes` are files that features of the page serve themselves; `queued` counts a visitor's events in the queue.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        queued: Callable[[Visitor], int] = lambda visitor: 0,
        routes: Routes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._index_page = app, IndexPage(app)
        self._routes = routes or {}
        self._public = settings.public
        self._max_upload = settings.limits.text_bytes + _SMALL
        self._max_json = (4 if settings.public else 16) * 2**20
        self._policy = _POLICY + (_FRAME_ANCESTORS if settings.public else "")
        self._queued = queued
        self._visitor_rate, self._address_rate = RateLimiter(*VISITOR_RATE, clock), RateLimiter(*ADDRESS_RATE, clock)
        self._upload_rate = RateLimiter(*UPLOAD_RATE, clock)
        self._open: Counter[str] = Counter()  # requests in progress, by visitor
        self._joining: Counter[str] = Counter()  # those of them that are about to join the queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":  # no websockets: the page uses none
                await self._app(scope, receive, send)
            return
        response = _FilteredResponse(scope, send, self._policy)
        headers = Headers(scope=scope)
        path = scope["path"].rstrip("/") or "/"
        error = self._check(scope["method"], path, headers, scope)
        if error:
            await response.send_error(*error)
        elif path in self._routes:
            await (await run_sync(self._routes[path]))(scope, receive, response.send)
        else:
            await self._forward(_sanitized(scope), receive, response, path)

    def _check(self, method: str, path: str, headers: Headers, scope: Scope) -> tuple[int, str] | None:
        """Return status and message for a request that is rejected, else None."""
        allowed = {"GET": _GET_ROUTES, "HEAD": _GET_ROUTES, "POST": _POST_ROUTES}.get(method)
        if path in self._routes and allowed is _GET_ROUTES:
            return None
        if allowed is None or not allowed.fullmatch(path):
            return 404, sentences.NOT_FOUND
        if method == "POST" and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return 403, sentences.CROSS_SITE
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 15 or int(length) > self._max_bytes(path):
            return 413, sentences.TOO_LARGE
        return self._check_rate(path, _visitor(headers, scope)) if self._public else None

    def _check_rate(self, path: str, visitor: Visitor) -> tuple[int, str] | None:
        if _UNLIMITED_ROUTES.fullmatch(path):
            return None
        if not self._address_rate.take(visitor.address) or not self._visitor_rate.take(visitor.key):
            return 429, sentences.TOO_FAST
        if self._open[visitor.key] >= MAX_OPEN:
            return 429, sentences.TOO_MANY_REQUESTS
        if path == _UPLOAD_ROUTE and not self._upload_rate.take(visitor.key):
            return 429, sentences.TOO_FAST
        if _QUEUE_ROUTES.fullmatch(path) and self._queued(visitor) + self._joining[visitor.key] >= MAX_QUEUED:
            return 429, sentences.TOO_MANY_REQUESTS
        return None

    def _max_bytes(self, path: str) -> int:
        """The size limit for the body of a request."""
        if path == _UPLOAD_ROUTE:
            return self._max_upload
        return self._max_json if _POST_ROUTES.fullmatch(path) else _SMALL

    async def _forward(self, scope: Scope, receive: Receive, response: _FilteredResponse, path: str) -> None:
        """Let Gradio answer a request, and replace its answer if the body is too large or an exception is raised."""
        key = _visitor(Headers(scope=scope), scope).key
        counters = [self._open, self._joining] if _QUEUE_ROUTES.fullmatch(path) else [self._open]
        for counter in counters:
            counter[key] += 1
        try:
            if path == _UPLOAD_ROUTE:
                receive = _limit_stream(receive, self._max_bytes(path), response)  # Gradio streams it to disk
            else:
                receive = await _read_body(receive, self._max_bytes(path))
            await (self._index_page if path == "/" else self._app)(scope, receive, response.send)
        except _TooLarge:
            response.replace(413, sentences.TOO_LARGE)
        except ClientDisconnect:
            pass  # either the client has disconnected, or _limit_stream() has replaced the answer
        except Exception:
            if not response.replaced:
                log.exception("a request failed")
                response.replace(500, INTERNAL_ERROR)
        finally:
            for counter in counters:
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]
        await response.finish()


class _TooLarge(Exception):
    """The body of a request exceeds its limit."""


async def _read_body(receive: Receive, max_bytes: int) -> Receive:
    """Read a whole body and return a `receive` that replays it. Raises _TooLarge."""
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        max_bytes -= len(parts[-1])
        if max_bytes < 0:
            raise _TooLarge
        if not message.get("more_body"):
            message = {"type": "http.request", "body": b"".join(parts), "more_body": False}
            break
    messages: list[Message] = [message]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _limit_stream(receive: Receive, max_bytes: int, response: _FilteredResponse) -> Receive:
    """Return a `receive` that reports a disconnected client once the body exceeds its limit."""
    remaining = max_bytes

    async def limited() -> Message:
        nonlocal remaining
        message = await receive()
        remaining -= len(message.get("body", b""))
        if remaining >= 0:
            return message
        response.replace(413, sentences.TOO_LARGE)
        return {"type": "http.disconnect"}

    return limited


class _FilteredResponse:
    """The response to a request: adds security headers and replaces Gradio's errors, which may expose internals."""

    def __init__(self, scope: Scope, send: Send, policy: str) -> None:
        self._scope, self._send = scope, send
        self._policy = policy
        self._started = False
        self.replaced: tuple[int, str] | None = None

    async def send(self, message: Message) -> None:
        """Send a message of the application, unless the response is replaced."""
        if message["type"] == "http.response.start" and not self.replaced:
            self._replace_error(message)
        if self.replaced and not self._started:
            return
        if message["type"] == "http.response.start":
            self._started = True
            self._add_headers(message)
        await self._send(message)

    def replace(self, status: int, message: str) -> None:
        """Send this error instead of the application's response."""
        self.replaced = self.replaced or (status, message)

    async def finish(self) -> None:
        """Send the error that replaces the application's response, if any."""
        if self.replaced and not self._started:
            await self.send_error(*self.replaced)

    async def send_error(self, status: int, detail: str) -> None:
        """Send an error as JSON."""
        self.replaced, self._started = None, True

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(message)
            await self._send(message)

        await JSONResponse({"detail": detail}, status)(self._scope, _disconnected, send)

    def _replace_error(self, message: Message) -> None:
        status = message["status"]
        is_json = Headers(raw=message["headers"]).get("content-type", "").startswith("application/json")
        if status >= 500 and status != 503 and not is_json:
            self.replace(500, INTERNAL_ERROR)
        elif status == 503:
            self.replace(503, sentences.BUSY)
        elif status == 413:
            self.replace(413, sentences.TOO_LARGE)
        elif status in (400, 404, 405, 422):
            self.replace(status, sentences.NOT_FOUND if status in (404, 405) else sentences.BAD_REQUEST)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["Content-Security-Policy"] = self._policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"  # the URL may contain the key of a shared link
        headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=(), payment=(), usb=()"


def filter_lifespan(settings: Settings, queued: Callable[[Visitor], int], routes: Routes) -> Any:
    """Return a lifespan for Gradio's application that installs the filter in front of it and its middleware."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        install(app, lambda inner: RequestFilter(inner, settings, queued, routes))
        yield

    return lifespan


def count_queued(demo: Any) -> Callable[[Visitor], int]:
    """Return a function that counts a visitor's events in the queue of a page."""

    def count(visitor: Visitor) -> int:
        return sum(_visitor(request.headers, request.scope).key == visitor.key for request in queued_requests(demo))

    return count


def _visitor(headers: Mapping[str, str], scope: Scope) -> Visitor:
    return from_headers(headers, (scope.get("client") or ("",))[0])


def _sanitized(scope: Scope) -> Scope:
    """Remove the Origin header, so that Gradio allows no other site, and `deep_link`, which reads a session's state."""
    sanitized = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"origin"]}
    if b"deep_link" in scope["query_string"]:
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        sanitized["query_string"] = urlencode([pair for pair in pairs if pair[0] != "deep_link"]).encode()
    return sanitized


async def _disconnected() -> Message:
    return {"type": "http.disconnect"}
