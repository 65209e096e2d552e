"""A real Chromium for the tests that use the page as a person does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, expect, sync_playwright

# Milliseconds until something counts as never coming: two cores may have other work to do.
expect.set_options(timeout=60_000)

MISSING = (
    "No Chromium was found: install one (apt-get install chromium, or brew install --cask chromium), or run "
    "`python -m playwright install chromium`; NANOLLM_REQUIRE_BROWSER=1 turns this skip into a failure."
)
# As root, and without a word to anyone outside.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium from the PATH, else Playwright's own; without either the test is skipped, or fails if it is required."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        except Error:
            if os.environ.get("NANOLLM_REQUIRE_BROWSER") == "1":
                pytest.fail(MISSING)
            pytest.skip(MISSING)
        yield browser
        browser.close()
