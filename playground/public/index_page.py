"""The page itself, as a browser first loads it: put together once for each address it is reached by, and packed.

Gradio puts it together anew for everybody: 30 ms and 700 KB, the same each time. A class that opens a page at once
would wait for it.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What Gradio writes addresses into the page by. The rest of a request does not matter to it.
_ADDRESS = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
_KEPT = 8  # anybody can make up addresses


class Front:
    """An ASGI application for GET / in front of Gradio's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pages: OrderedDict[tuple[str | None, ...], tuple[bytes, bytes]] = OrderedDict()  # plain, and packed
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        address = (scope.get("scheme"), *map(headers.get, _ADDRESS))
        async with self._making:
            if address not in self._pages and not await self._made(address, scope, receive, send):
                return
            self._pages.move_to_end(address)
            plain, packed = self._pages[address]
        takes_packed = "gzip" in headers.get("accept-encoding", "")
        said = {"Content-Encoding": "gzip"} if takes_packed else {}
        page = Response(packed if takes_packed else plain, headers={**said, "Vary": "Accept-Encoding"})
        page.headers["Content-Type"] = "text/html; charset=utf-8"
        await page(scope, receive, send)

    async def _made(self, address: tuple[str | None, ...], scope: Scope, receive: Receive, send: Send) -> bool:
        """Have the page put together and keep it; False where Gradio had something else to say, which is sent."""
        said: list[Message] = []

        async def listen(message: Message) -> None:
            said.append(message)

        await self._app({**scope, "method": "GET", "query_string": b""}, receive, listen)
        if said[0]["status"] != 200:
            for message in said:
                await send(message)
            return False
        plain = b"".join(message.get("body", b"") for message in said)
        self._pages[address] = plain, await asyncio.to_thread(gzip.compress, plain, 6)
        while len(self._pages) > _KEPT:
            self._pages.popitem(last=False)
        return True
