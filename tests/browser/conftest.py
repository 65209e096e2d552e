"""Visits to the page, which end with the test; nothing may have been complained about by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.visit import HERE, Visit

Come = Callable[..., Visit]


@pytest.fixture
def come(browser: Browser) -> Iterator[Come]:
    """Opens the page at an address, in a window as Visit's options say; `query` None: it has yet to be opened."""
    visits: list[Visit] = []

    def come(address: str, query: str | None = "", **window: Any) -> Visit:
        visits.append(Visit(browser, address, **window))
        if query is not None:
            visits[-1].goto(query)
        return visits[-1]

    yield come
    for visit in visits:
        visit.close()
    for visit in visits:
        assert visit.complaints == [] and visit.hosts <= HERE
