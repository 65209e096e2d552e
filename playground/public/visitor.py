"""Who is asking: on a public page a token that the browser made up itself, of which only the hash is ever kept.

The browser sends it with every request (visitor.js). Gradio passes the request to each handler, each step of a
generator and each server function; outside of them there is no visitor.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from playground.services.gradio_internals import current_request

TOKEN = "x-nano-visitor"  # the header of the token: 43 characters of base64url, 256 random bits
LOOKS = "x-nano-looks"  # the header of the look keys that came with links: "<run>.<key> <run>.<key>"
MOST_LOOKS = 8


@dataclass(frozen=True)
class Visitor:
    """One browser, as far as it can be known."""

    owner: str  # the hash of its token; "": nobody, who owns nothing
    looks: Mapping[str, str] = field(default_factory=dict)  # by run id, the key with which it may be looked at
    address: str = ""  # of the network, for rates only


EVERYBODY = Visitor("")  # of a local page: whoever reaches it may do everything


def of(headers: Mapping[str, str], client: str = "") -> Visitor:
    """Who sends these headers from that address; a token of any other form counts as none."""
    token = headers.get(TOKEN) or ""
    known = re.fullmatch(r"[A-Za-z0-9_-]{43}", token) is not None
    owner = hashlib.sha256(f"nano-llm visitor {token}".encode()).hexdigest() if known else ""
    # On a Space another machine stands in front of ours. Only the last hop of the list was written by it; the others,
    # and elsewhere all of them, by whoever asks.
    hops = (headers.get("x-forwarded-for") or "").split(",") if "SPACE_ID" in os.environ else [""]
    return Visitor(owner, _looks(headers.get(LOOKS) or ""), hops[-1].strip() or client)


def current() -> Visitor:
    """Who asked for what this thread (or task) is doing; nobody outside of a handler."""
    request: Any = current_request()
    if request is None:
        return EVERYBODY
    client = getattr(request, "client", None)
    return of(request.headers, getattr(client, "host", "") or "")


def _looks(sent: str) -> dict[str, str]:
    found = re.findall(r"(\S{1,100})\.([0-9a-f]{32})(?:\s|$)", sent[:4000])
    return dict(found[:MOST_LOOKS])
