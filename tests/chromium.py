"""The Chromium browser of the browser tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, expect, sync_playwright

# Milliseconds until an expectation fails; long, because the machine may be busy.
expect.set_options(timeout=60_000)

MISSING = (
    "No Chromium was found: install one (apt-get install chromium, or brew install --cask chromium), or run "
    "`python -m playwright install chromium`; NANOLLM_REQUIRE_BROWSER=1 turns this skip into a failure."
)
# Allow running as root, and disable requests to other hosts.
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
    """Chromium from the PATH or from Playwright; without either, the test is skipped, or fails if required."""
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
