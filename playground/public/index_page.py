"""Cache the start page: Gradio renders it once per address, and it is sent compressed.

Rendering takes Gradio 30 ms and yields 700 KB, the same for every visitor. A class that opens the page at the same
moment would have to wait.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The headers from which Gradio derives the URLs in the page. It depends on nothing else in a request.
_ADDRESS_HEADERS = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
_CAPACITY = 8  # addresses; limited, because a client can send any host

Address = tuple[str | None, ...]


class IndexPage:
    """ASGI application that answers `GET /` from a cache in front of Gradio's application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pages: OrderedDict[Address, tuple[bytes, bytes]] = OrderedDict()  # plain and gzip
        self._lock = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        address = (scope.get("scheme"), *map(headers.get, _ADDRESS_HEADERS))
        async with self._lock:
            if address not in self._pages and not await self._render(address, scope, receive, send):
                return
            self._pages.move_to_end(address)
            plain, compressed = self._pages[address]
        accepts_gzip = "gzip" in headers.get("accept-encoding", "")
        encoding = {"Content-Encoding": "gzip"} if accepts_gzip else {}
        page = Response(compressed if accepts_gzip else plain, headers={**encoding, "Vary": "Accept-Encoding"})
        page.headers["Content-Type"] = "text/html; charset=utf-8"
        await page(scope, receive, send)

    async def _render(self, address: Address, scope: Scope, receive: Receive, send: Send) -> bool:
        """Let Gradio render the page and store it. If Gradio answers with an error, forward that and return False."""
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        await self._app({**scope, "method": "GET", "query_string": b""}, receive, collect)
        if messages[0]["status"] != 200:
            for message in messages:
                await send(message)
            return False
        plain = b"".join(message.get("body", b"") for message in messages)
        self._pages[address] = plain, await asyncio.to_thread(gzip.compress, plain, 6)
        while len(self._pages) > _CAPACITY:
            self._pages.popitem(last=False)
        return True
