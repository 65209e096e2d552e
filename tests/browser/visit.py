"""Somebody at the page: one browser tab, and what it asked for and complained about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator
from playwright.sync_api import Page as Tab

from tests.speed import until

Scheme = Literal["light", "dark"]
PATIENCE = 60_000  # milliseconds until something counts as never coming
HERE = {"127.0.0.1", "inside"}  # inside: what the page makes up itself, as data: and blob:
# What a document says of its requests when it is left in the midst of them. It lives on until the next one is there.
BROKEN_OFF = ("AbortError", "errored out", "ERR_ABORTED", "Failed to fetch")
# Said by every document before anything else: what comes after it is not the last one's.
BEGINS = "a document begins"


class Visit:
    """A browser tab of its own, with nothing kept from others; `goto` opens the page at `address`.

    `complaints` holds errors from the console and exceptions that nobody caught, `hosts` whom the tab asked. Navigate
    by `goto`, `reload` and `leave` only: each forgives what the document that it leaves says of broken off requests.
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
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        self._leaving = False
        self.tab.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or "inside"))
        self.tab.on("console", self._hear)
        self.tab.on("pageerror", lambda error: self._complain(str(error)))

    def _hear(self, said: ConsoleMessage) -> None:
        if said.text == BEGINS:
            self._leaving = False
        elif said.type == "error":
            self._complain(said.text)

    def _complain(self, words: str) -> None:
        if not (self._leaving and any(known in words for known in BROKEN_OFF)):
            self.complaints.append(words)

    def goto(self, query: str = "") -> Tab:
        """Open the page as a link does, `?tab=…` or whole, and wait until it has come to the tab that it opens with."""
        self._leaving = True
        self.tab.goto(urljoin(self.address, query))
        self.tab.locator("body[data-tab]").wait_for()  # until then it may still move
        return self.tab

    def reload(self) -> None:
        """As by the browser's button."""
        self._leaving = True
        self.tab.reload()
        self.tab.locator("body[data-tab]").wait_for()

    def leave(self) -> None:
        """For a page that is none of ours."""
        self._leaving = True
        self.tab.goto("about:blank")

    def close(self) -> None:
        """Close the tab, in the midst of whatever it does; once is enough."""
        self._leaving = True
        self.context.close()

    def open(self, name: str) -> None:
        """Click on one of the page's five tabs."""
        self.tab.get_by_role("tab", name=name, exact=True).click()

    def slider(self) -> Locator:
        """The time bar's."""
        return self.tab.locator("#time-bar input[type=range]")

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Let the page live on until something is so, on disk or on the screen; it may take a training."""
        deadline = time.monotonic() + 5 * PATIENCE / 1000
        while not true():
            assert time.monotonic() < deadline, "it did not come true in time"
            self.tab.wait_for_timeout(100)


def wait_for_script(tab: Tab, script: str, arg: Any = None, seconds: float = 120.0) -> None:
    """Wait until an asynchronous script returns a true value. `wait_for_function` takes its promise for true."""
    until(lambda: bool(tab.evaluate(script, arg) or tab.wait_for_timeout(50)), seconds)
