"""Identify visitors of a public page by a random token of which the server keeps only a hash.

The browser creates the token and sends it with every request (visitor.js). `current` works in handlers, steps of
generators and server functions, which run with Gradio's request at hand; elsewhere there is no visitor.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from playground.services.gradio_internals import current_request

TOKEN_HEADER = "x-nano-visitor"  # 43 characters of base64url: 256 random bits
VIEW_KEYS_HEADER = "x-nano-looks"  # the keys of shared links that were opened: "<run>.<key> <run>.<key>"
MAX_VIEW_KEYS = 8


@dataclass(frozen=True)
class Visitor:
    """One browser, identified by its token."""

    owner: str  # hash of the token; "" without a valid token: such a visitor owns nothing
    view_keys: Mapping[str, str] = field(default_factory=dict)  # run id → the key of its shared link
    address: str = ""  # network address, used only for rate limits

    @property
    def key(self) -> str:
        """What limits are counted by: the owner, or the address of a visitor without a token."""
        return self.owner or self.address


ANONYMOUS = Visitor("")  # also the visitor of a local page, where ownership is not checked


def from_headers(headers: Mapping[str, str], client: str = "") -> Visitor:
    """Return the visitor who sent these headers from the address `client`. An invalid token counts as none."""
    token = headers.get(TOKEN_HEADER) or ""
    valid = re.fullmatch(r"[A-Za-z0-9_-]{43}", token) is not None
    owner = hashlib.sha256(f"nano-llm visitor {token}".encode()).hexdigest() if valid else ""
    # A Space runs behind a proxy, which appends the client's address to X-Forwarded-For. Clients can forge the other
    # entries, and elsewhere all of them.
    hops = (headers.get("x-forwarded-for") or "").split(",") if "SPACE_ID" in os.environ else [""]
    return Visitor(owner, _view_keys(headers.get(VIEW_KEYS_HEADER) or ""), hops[-1].strip() or client)


def current() -> Visitor:
    """Return the visitor whose request this thread or task handles; ANONYMOUS outside of a request."""
    request: Any = current_request()
    if request is None:
        return ANONYMOUS
    client = getattr(request, "client", None)
    return from_headers(request.headers, getattr(client, "host", "") or "")


def _view_keys(header: str) -> dict[str, str]:
    pairs = re.findall(r"(\S{1,100})\.([0-9a-f]{32})(?:\s|$)", header[:4000])
    return dict(pairs[:MAX_VIEW_KEYS])
