"""Pictures of the page at work: `python -m tests.browser.screenshots [FOLDER]`.

With the models that come along: docs/page.png for the README, and, given a folder, every tab at 1280 and 390 pixels,
light and dark.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import ARGUMENTS
from tests.conftest import ROOT
from tests.serving import serve

TABS = ("corpus", "train", "sample", "attention", "compare")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        shutil.copytree(ROOT / "checkpoints" / "pretrained", Path(home) / "checkpoints" / "pretrained")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        with serve(Path(home)) as page:
            (ROOT / "docs").mkdir(exist_ok=True)
            _shoot(browser, page.address, "sample", 1280, "light", ROOT / "docs" / "page.png")
            for tab in TABS if folder else ():
                for width in (1280, 390):
                    for theme in ("light", "dark"):
                        _shoot(browser, page.address, tab, width, theme, folder / f"{tab}-{width}-{theme}.png")
        browser.close()


def _shoot(browser: Browser, address: str, tab: str, width: int, theme: str, path: Path) -> None:
    context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=theme)  # type: ignore[arg-type]
    page: Page = context.new_page()
    page.goto(f"{address}?tab={tab}&prompt=ROMEO:")
    page.locator(f"body[data-tab={tab}]").wait_for()
    page.wait_for_timeout(2500)
    if tab == "compare":
        page.locator("#compare-write").click()
    if tab in ("sample", "compare"):
        written = "document.querySelector('#sample-text .letters, #compare-1-text .text')?.textContent.length > 300"
        page.wait_for_function(written)
    page.wait_for_timeout(1500)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=width < 1000)
    context.close()


if __name__ == "__main__":
    main()
