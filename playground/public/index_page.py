"""Cache the start page: Gradio renders it once per address, and it is sent compressed.

Rendering takes Gradio 30 ms and yields 700 KB, the same for every visitor. A class that opens the page at the same
moment would have to wait.
"""

from __future__ import annotations

import asyncio
import gzip

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playground.services.lru_cache import LRUCache

# The headers from which Gradio derives the URLs in the page. It depends on nothing else in a request.
_ADDRESS_HEADERS = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
_CAPACITY = 8  # addresses; limited, because a client can send any host
# Without it, browsers ask for /favicon.ico, which is outside of a root path. Gradio's `head` is added too late for it.
_ICON = b'<link rel="icon" href="favicon.ico" />'

Address = tuple[str | None, ...]


class IndexPage:
    """ASGI application that answers `GET /` from a cache in front of Gradio's application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pages: LRUCache[tuple[bytes, bytes]] = LRUCache(_CAPACITY)  # by address: plain and gzip
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = Headers(scope=scope)
        address = (scope.get("scheme"), *map(sent.get, _ADDRESS_HEADERS))
        async with self._lock:
            page = self._pages.peek(address) or await self._render(address, scope, receive, send)
        if page is None:
            return
        plain, compressed = page
        accepts_gzip = "gzip" in sent.get("accept-encoding", "")
        encoding = {"Content-Encoding": "gzip"} if accepts_gzip else {}
        headers = {**encoding, "Vary": "Accept-Encoding", "Content-Type": "text/html; charset=utf-8"}
        await Response(compressed if accepts_gzip else plain, headers=headers)(scope, receive, send)

    async def _render(self, address: Address, scope: Scope, receive: Receive, send: Send) -> tuple[bytes, bytes] | None:
        """Let Gradio render the page and store it. If Gradio answers with an error, forward that and return None."""
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        await self._app({**scope, "method": "GET", "query_string": b""}, receive, collect)
        if messages[0]["status"] != 200:
            for message in messages:
                await send(message)
            return None
        plain = b"".join(message.get("body", b"") for message in messages).replace(b"<head>", b"<head>" + _ICON, 1)
        return self._pages.put(address, (plain, await asyncio.to_thread(gzip.compress, plain, 6)))
