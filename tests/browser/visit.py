"""A browser tab on the page that records its console errors and the hosts that it contacted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator
from playwright.sync_api import Page as Tab

from tests.speed import until

Scheme = Literal["light", "dark"]
PATIENCE = 60_000  # milliseconds until waiting fails
LOCAL_HOSTS = {"127.0.0.1", "inside"}  # "inside" stands for data: and blob: URLs, which have no host
# Errors that a document logs about aborted requests when it is left. It keeps running until the next one has loaded.
ABORTED = ("AbortError", "errored out", "ERR_ABORTED", "Failed to fetch")
# Logged first by every document: errors after this message do not belong to the previous document.
BEGINS = "a new document begins"


class Visit:
    """A browser tab with its own storage; `goto` opens the page at `address`.

    `errors` contains console errors and uncaught exceptions, `hosts` the contacted hosts. Navigate with `goto`,
    `reload` and `leave` only: they ignore errors about requests that are aborted because the document is left.
    """

    def __init__(
        self,
        browser: Browser,
        address: str,
        *,
        width: int = 1280,
        height: int = 900,
        scheme: Scheme = "light",
        touch: bool = False,
    ) -> None:
        self.address = address
        size = {"width": width, "height": height}
        self.context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=touch)
        self.context.add_init_script(f"if (window === top) console.debug('{BEGINS}')")
        self.tab: Tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.tab.set_default_navigation_timeout(5 * PATIENCE)  # the page consists of more than a hundred files
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        self._leaving = False
        self.tab.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or "inside"))
        self.tab.on("console", self._on_console)
        self.tab.on("pageerror", lambda error: self._add_error(str(error)))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.text == BEGINS:
            self._leaving = False
        elif message.type == "error":
            self._add_error(message.text)

    def _add_error(self, words: str) -> None:
        if not (self._leaving and any(known in words for known in ABORTED)):
            self.errors.append(words)

    def goto(self, query: str = "") -> Tab:
        """Open the page at a query such as `?tab=train` or a full address, and wait until its first tab is selected."""
        self._leaving = True
        self.tab.goto(urljoin(self.address, query))
        self.tab.locator("body[data-tab]").wait_for()  # before that, the page may still switch tabs
        return self.tab

    def reload(self) -> None:
        """Reload the page like the browser's button."""
        self._leaving = True
        self.tab.reload()
        self.tab.locator("body[data-tab]").wait_for()

    def leave(self) -> None:
        """Leave the page for an empty one."""
        self._leaving = True
        self.tab.goto("about:blank")

    def close(self) -> None:
        """Close the tab; calling it again has no effect."""
        self._leaving = True
        self.context.close()

    def open_tab(self, name: str) -> None:
        """Click one of the page's five tabs."""
        self.tab.get_by_role("tab", name=name, exact=True).click()

    def slider(self) -> Locator:
        """Return the slider of the time bar."""
        return self.tab.locator("#time-bar input[type=range]")

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait until a condition holds while the page keeps running; long enough for a short training."""
        deadline = time.monotonic() + 5 * PATIENCE / 1000
        while not true():
            assert time.monotonic() < deadline, "the condition was not reached in time"
            self.tab.wait_for_timeout(100)


def wait_for_script(tab: Tab, script: str, arg: Any = None, seconds: float = 120.0) -> None:
    """Wait until an asynchronous script returns a true value; `wait_for_function` would accept its promise."""
    until(lambda: bool(tab.evaluate(script, arg) or tab.wait_for_timeout(50)), seconds)
