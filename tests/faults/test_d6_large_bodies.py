"""Guarantee D6: a 30 MB request body is refused, with or without a declared length, and is not kept in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.benchmarks.visitors import resources
from tests.serving import Page, serve
from tests.speed import until

MB = 2**20


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serve(tmp_path_factory.mktemp("home"), public=True) as page:
        yield page


def post(page: Page, path: str, size: int, declared: bool) -> int | None:
    """Send a body of `size` bytes and return the status code, or None if the connection was closed first."""
    chunks = (b" " * 65536 for _ in range(size // 65536))
    content = b" " * size if declared else chunks
    try:
        return httpx.post(f"{page.address}{path}", content=content, timeout=30).status_code
    except httpx.TransportError:
        return None


def memory_after_start(page: Page) -> float:
    """Wait until the page has imported torch, which it does in the background, and return its memory in bytes."""
    maps = Path(f"/proc/{page.process.pid}/maps")
    until(lambda: "libtorch_python" in maps.read_text())
    sizes = [0.0]

    def settled() -> bool:
        time.sleep(1)
        sizes.append(resources(page)[0])
        return abs(sizes[-1] - sizes[-2]) < MB / 10

    until(settled)
    return sizes[-1]


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "streamed"])
def test_a_body_of_30_mb_is_refused(page: Page, declared: bool) -> None:
    path = "gradio_api/queue/join"
    post(page, path, 8 * MB, declared)  # warm-up
    before = memory_after_start(page)
    answers = [post(page, path, 30 * MB, declared) for _ in range(4)]
    assert 413 in answers and set(answers) <= {413, None}, answers
    until(lambda: resources(page)[0] - before < 5 * MB)  # after the last request is closed
    assert httpx.get(f"{page.address}config").status_code == 200
