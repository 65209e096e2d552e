"""Serves the page's scripts as ES modules under one content hash, and static files on separate routes."""

from __future__ import annotations

import functools
import gzip
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.responses import Response

PLAYGROUND = Path(__file__).resolve().parent.parent
Routes = Mapping[str, Callable[[], Response]]  # a path of the page → its response, built on the first request

IMMUTABLE = "public, max-age=31536000, immutable"


@functools.cache
def asset(name: str) -> str:
    """Return the text of a script or style sheet, given its path inside playground/."""
    return (PLAYGROUND / name).read_text(encoding="utf-8")


@functools.cache
def module_names() -> tuple[str, ...]:
    """Return the paths of all scripts inside playground/, sorted."""
    return tuple(sorted(path.relative_to(PLAYGROUND).as_posix() for path in PLAYGROUND.rglob("*.js")))


@functools.cache
def module_root() -> str:
    """Return the URL path of the scripts relative to the page: modules/<hash>/.

    The hash covers all scripts, so that relative imports between modules stay inside one version, and a changed script
    never meets a cached one.
    """
    digest = hashlib.sha256()
    for name in module_names():
        digest.update(f"{name}\0{asset(name)}\0".encode())
    return f"modules/{digest.hexdigest()[:16]}/"


def module_routes() -> Routes:
    """Return one route for each script. A path with an old hash has no route and is not found."""
    return {
        f"/{module_root()}{name}": functools.partial(packed, name, "text/javascript", IMMUTABLE)
        for name in module_names()
    }


@functools.cache
def packed(name: str, media_type: str, cache_control: str) -> Response:
    """Return a gzip-compressed response for a file, given its path inside playground/ or an absolute path."""
    body = gzip.compress((PLAYGROUND / name).read_bytes(), 6)
    headers = {"Content-Encoding": "gzip", "Cache-Control": cache_control}
    return Response(body, headers=headers, media_type=media_type)
