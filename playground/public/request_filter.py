"""What every request passes before Gradio sees it: few doors, small bodies, quiet answers; on a public page, no rush.

Gradio serves much that this page never asks for: an open proxy, a dump of a session's state, recordings, a login. Here
stands what is let through; all else is not found. Bodies are counted as they come, and every answer says what a browser
may do with it.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playground.handlers import INTERNAL_ERROR
from playground.public.index_page import Front
from playground.public.visitor import Visitor, of
from playground.services.gradio_internals import install, queued_requests
from playground.services.static_files import Routes
from playground.settings import Settings

log = logging.getLogger("nanollm.page")

_API = "/gradio_api"
# What the page, gradio_client and curl ask for. Files of the server are those that Gradio itself offers for download;
# it would fetch an address from anywhere, too: a path begins with a slash.
_READ = re.compile(
    r"/|/config|/(assets|static)/.+|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt"
    rf"|{_API}/(info|openapi\.json|app_id|theme\.css|upload_progress|startup-events|queue/data|queue/status)"
    rf"|{_API}/(heartbeat/\w+|call/(v2/)?\w+/\w+|file=/.+)"
)
_WRITE = re.compile(rf"{_API}/(queue/join|(run|api|call|call/v2)/\w+|cancel|reset|component_server|upload)")
_JOINS = re.compile(rf"{_API}/(queue/join|call/(v2/)?\w+)")  # not to listen to what was asked for
_FREE = re.compile(r"/(assets|static)/.+|.+\.(js|css|ico|json|txt)")  # small, and asked for once
_UPLOAD = f"{_API}/upload"

_SMALL = 64 * 1024  # bytes: of a request that has nothing to say, or of the frame around an uploaded file
MOST_PENDING = 8  # what one visitor may have waiting or at work in the queue
MOST_OPEN = 64  # requests of one visitor that are being answered at once
VISITOR = (10, 120)  # requests a second of one visitor, and at once
NETWORK = (250, 1000)  # of one address: a class may share it
KNOWN = 4096  # visitors whose rates are remembered

# Gradio's page is written with inline scripts and compiled templates. What keeps a stolen word from leaving is
# connect-src and img-src: nothing is sent anywhere but here.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
_FRAMED_BY = "; frame-ancestors 'self' https://huggingface.co https://*.huggingface.co https://*.hf.space"

NOT_FOUND = "There is nothing here."
TOO_LARGE = "This is more than the page takes at once. A text of some size is better uploaded as a file."
TOO_FAST = "Too many requests at once: wait a moment, then try again."
TOO_MANY = "Several things of yours are under way already: wait until one is done, or stop it."
FULL = "Many are at it at this moment: try again in a while."
NO_REQUEST = "This is no request that the page understands."
FOREIGN = "Another site's page cannot act here."


class Bucket:
    """Up to `burst` at once, and `rate` a second in the long run."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._at = burst, clock()

    def take(self) -> bool:
        """Whether there is one left, which is then gone."""
        now = self._clock()
        self._left = min(self._burst, self._left + self._rate * (now - self._at))
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Rates:
    """A bucket for each of the keys that asked last."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = lambda: Bucket(rate, burst, clock)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str) -> bool:
        """Whether this key may, now."""
        bucket = self._buckets.setdefault(key, self._make())
        self._buckets.move_to_end(key)
        while len(self._buckets) > KNOWN:
            self._buckets.popitem(last=False)
        return bucket.take()


class Gate:
    """An ASGI application around Gradio's.

    `routes` are files that features of the page serve themselves; `pending` counts what a visitor has in the queue.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        pending: Callable[[Visitor], int] = lambda visitor: 0,
        routes: Routes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._front = app, Front(app)
        self._routes = routes or {}
        self._public = settings.public
        self._text_bytes = settings.limits.text_bytes + _SMALL
        self._json_bytes = (4 if settings.public else 16) * 2**20
        self._policy = _POLICY + (_FRAMED_BY if settings.public else "")
        self._pending = pending
        self._asking, self._network = Rates(*VISITOR, clock), Rates(*NETWORK, clock)
        self._uploading = Rates(2 / 60, 10, clock)
        self._open: Counter[str] = Counter()  # requests being answered, by visitor
        self._joining: Counter[str] = Counter()  # those among them that are on their way into the queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":  # no websockets: the page uses none
                await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send, self._policy)
        headers = Headers(scope=scope)
        path = scope["path"].rstrip("/") or "/"
        refused = self._refused(scope["method"], path, headers, scope)
        if refused:
            await answer.refuse(*refused)
        elif path in self._routes:
            await (await run_sync(self._routes[path]))(scope, receive, answer.send)
        else:
            await self._let_through(_trimmed(scope), receive, answer, path)

    def _refused(self, method: str, path: str, headers: Headers, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence for what is not let through, else None."""
        doors = {"GET": _READ, "HEAD": _READ, "POST": _WRITE}.get(method)
        if path in self._routes and doors is _READ:
            return None
        if doors is None or not doors.fullmatch(path):
            return 404, NOT_FOUND
        if method == "POST" and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return 403, FOREIGN
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 15 or int(declared) > self._most(path):
            return 413, TOO_LARGE
        return self._too_fast(path, _visitor(headers, scope)) if self._public else None

    def _too_fast(self, path: str, visitor: Visitor) -> tuple[int, str] | None:
        if _FREE.fullmatch(path):
            return None
        key = _key(visitor)
        if not self._network.take(visitor.address) or not self._asking.take(key):
            return 429, TOO_FAST
        if self._open[key] >= MOST_OPEN:
            return 429, TOO_MANY
        if path == _UPLOAD and not self._uploading.take(key):
            return 429, TOO_FAST
        if _JOINS.fullmatch(path) and self._pending(visitor) + self._joining[key] >= MOST_PENDING:
            return 429, TOO_MANY
        return None

    def _most(self, path: str) -> int:
        """Bytes that the body of such a request may have."""
        if path == _UPLOAD:
            return self._text_bytes
        return self._json_bytes if _WRITE.fullmatch(path) else _SMALL

    async def _let_through(self, scope: Scope, receive: Receive, answer: _Answer, path: str) -> None:
        key = _key(_visitor(Headers(scope=scope), scope))
        counts = [self._open, self._joining] if _JOINS.fullmatch(path) else [self._open]
        for count in counts:
            count[key] += 1
        try:
            if path == _UPLOAD:
                receive = _counted(receive, self._most(path), answer)  # it goes to disk as it comes
            else:
                receive = await _whole(receive, self._most(path))
            await (self._front if path == "/" else self._app)(scope, receive, answer.send)
        except _TooLarge:
            answer.withhold(413, TOO_LARGE)
        except ClientDisconnect:
            pass  # who has gone needs no answer; of whom that is only said, it is withheld
        except Exception:
            if not answer.withheld:
                log.exception("a request failed")
                answer.withhold(500, INTERNAL_ERROR)
        finally:
            for count in counts:
                count[key] -= 1
                if not count[key]:
                    del count[key]
        await answer.finish()


class _TooLarge(Exception):
    """A body went on beyond its limit."""


async def _whole(receive: Receive, most: int) -> Receive:
    """A body read before anybody hears of the request, and handed on at once. Raises _TooLarge."""
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        most -= len(parts[-1])
        if most < 0:
            raise _TooLarge
        if not message.get("more_body"):
            message = {"type": "http.request", "body": b"".join(parts), "more_body": False}
            break
    handed: list[Message] = [message]

    async def again() -> Message:
        return handed.pop() if handed else await receive()

    return again


def _counted(receive: Receive, most: int, answer: _Answer) -> Receive:
    """A body counted as it comes: beyond its limit the application is told that nobody is there any more."""
    left = most

    async def counting() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left >= 0:
            return message
        answer.withhold(413, TOO_LARGE)
        return {"type": "http.disconnect"}

    return counting


class _Answer:
    """What is sent back: with our headers, and with a sentence of ours where Gradio's is a riddle or too frank."""

    def __init__(self, scope: Scope, send: Send, policy: str) -> None:
        self._scope, self._send = scope, send
        self._policy = policy
        self._started = False
        self.withheld: tuple[int, str] | None = None

    async def send(self, message: Message) -> None:
        """What the application says, unless it is withheld."""
        if message["type"] == "http.response.start" and not self.withheld:
            self._judge(message)
        if self.withheld and not self._started:
            return
        if message["type"] == "http.response.start":
            self._started = True
            self._mark(message)
        await self._send(message)

    def withhold(self, status: int, sentence: str) -> None:
        """Say this instead of whatever the application would say."""
        self.withheld = self.withheld or (status, sentence)

    async def finish(self) -> None:
        """Say what is said instead, if the application's own answer was withheld."""
        if self.withheld and not self._started:
            await self.refuse(*self.withheld)

    async def refuse(self, status: int, sentence: str) -> None:
        """Answer with a sentence."""
        self.withheld, self._started = None, False

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(message)
            await self._send(message)

        self._started = True
        await JSONResponse({"detail": sentence}, status)(self._scope, _nothing, send)

    def _judge(self, message: Message) -> None:
        status = message["status"]
        ours = Headers(raw=message["headers"]).get("content-type", "").startswith("application/json")
        if status >= 500 and status != 503 and not ours:
            self.withhold(500, INTERNAL_ERROR)
        elif status == 503:
            self.withhold(503, FULL)
        elif status == 413:
            self.withhold(413, TOO_LARGE)
        elif status in (400, 404, 405, 422):
            self.withhold(status, NOT_FOUND if status in (404, 405) else NO_REQUEST)

    def _mark(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["Content-Security-Policy"] = self._policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"  # the address may hold a key that lets others look
        headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=(), payment=(), usb=()"


def guarded(settings: Settings, pending: Callable[[Visitor], int], routes: Routes) -> Any:
    """A lifespan for Gradio's application that puts the gate before everything, its own middleware included."""

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        install(app, lambda inner: Gate(inner, settings, pending, routes))
        yield

    return lifespan


def queued_by(demo: Any) -> Callable[[Visitor], int]:
    """Counts the events of a visitor that wait or run in the queue of a page."""

    def count(visitor: Visitor) -> int:
        requests = queued_requests(demo)
        return sum(_key(_visitor(request.headers, request.scope)) == _key(visitor) for request in requests)

    return count


def _key(visitor: Visitor) -> str:
    return visitor.owner or visitor.address


def _visitor(headers: Mapping[str, str], scope: Scope) -> Visitor:
    return of(headers, (scope.get("client") or ("",))[0])


def _trimmed(scope: Scope) -> Scope:
    """The request without what would make Gradio answer other sites, or read a session's state from disk."""
    trimmed = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"origin"]}
    if b"deep_link" in scope["query_string"]:
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        trimmed["query_string"] = urlencode([pair for pair in pairs if pair[0] != "deep_link"]).encode()
    return trimmed


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
