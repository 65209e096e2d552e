"""Browser tabs on the page, which are closed after the test; it fails if a tab logged errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.visit import LOCAL_HOSTS, Visit
from tests.serving import Page, end_all
from tests.serving import page as page  # a fixture

OpenVisit = Callable[..., Visit]


@pytest.fixture
def open_visit(browser: Browser) -> Iterator[OpenVisit]:
    """A function that opens the page in a new tab with Visit's options; `query=None` does not load it yet."""
    visits: list[Visit] = []

    def open_visit(address: str, query: str | None = "", **window: Any) -> Visit:
        visits.append(Visit(browser, address, **window))
        if query is not None:
            visits[-1].goto(query)
        return visits[-1]

    yield open_visit
    for visit in visits:
        visit.close()
    for visit in visits:
        assert visit.errors == [] and visit.hosts <= LOCAL_HOSTS


@pytest.fixture
def end_runs(page: Page) -> Iterator[None]:
    """End all runs of the page after the test, so that none trains during the next one."""
    yield
    end_all(page.home)
