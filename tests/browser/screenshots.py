"""Screenshots of the page: `python -m tests.browser.screenshots [FOLDER [NAME …]]`.

Without arguments, writes docs/page.png for the README. With a folder, writes every tab with the pretrained models and
every state of states.py into it, at 1280, 853 (1280 at 150% zoom) and 390 pixels, light and dark; with names, only
screenshots whose names start with one of them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.states import BEGINNINGS, SCENES, Scene, runs_in_every_state
from tests.browser.visit import Scheme, Visit
from tests.chromium import ARGUMENTS
from tests.conftest import ROOT
from tests.serving import serve

TABS = ("corpus", "train", "sample", "attention", "compare")
WINDOWS = ((1280, 853), (390,))  # widths of one visit, which resizes its window; 390 is a touch screen
THEMES: tuple[Scheme, ...] = ("light", "dark")
HEIGHT = 860


def main() -> None:
    folder, prefixes = Path(sys.argv[1]) if len(sys.argv) > 1 else None, tuple(sys.argv[2:]) or ("",)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        if folder is None:
            with _home(shipped=True) as home, serve(Path(home)) as page:
                (ROOT / "docs").mkdir(exist_ok=True)
                visit = _open(browser, page.address, ("sample", "", None), 1280)
                _save(visit.tab, ROOT / "docs" / "page.png", 1280, "light")
                visit.close()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            _tabs(browser, folder, [tab for tab in TABS if tab.startswith(prefixes)])
            for scenes in (SCENES, BEGINNINGS):
                _scenes(browser, folder, {name: scene for name, scene in scenes.items() if name.startswith(prefixes)})
        browser.close()


def _home(shipped: bool) -> tempfile.TemporaryDirectory[str]:
    home = tempfile.TemporaryDirectory()
    if shipped:
        shutil.copytree(ROOT / "checkpoints" / "pretrained", Path(home.name) / "checkpoints" / "pretrained")
    return home


def _tabs(browser: Browser, folder: Path, tabs: list[str]) -> None:
    """Every tab as on the first visit."""
    if not tabs:
        return
    with _home(shipped=True) as home:
        scenes: dict[str, Scene] = {tab: (tab, "", None) for tab in tabs}
        with serve(Path(home)) as page:
            _all(browser, page.address, folder, scenes, {})


def _scenes(browser: Browser, folder: Path, scenes: dict[str, Scene]) -> None:
    """Each scene with runs in every state, or, for BEGINNINGS, with a home folder without runs."""
    if not scenes:
        return
    with _home(shipped=scenes.keys().isdisjoint(BEGINNINGS)) as home:
        if not scenes.keys().isdisjoint(BEGINNINGS):
            with serve(Path(home)) as page:
                return _all(browser, page.address, folder, scenes, {})
        with serve(Path(home)) as page, runs_in_every_state(Path(home)) as runs:
            _all(browser, page.address, folder, scenes, {state: run.id for state, run in runs.items()})


def _all(browser: Browser, address: str, folder: Path, scenes: dict[str, Scene], runs: dict[str, str]) -> None:
    for name, (tab, state, act) in scenes.items():
        for widths in WINDOWS:
            visit = _open(browser, address, (tab, runs.get(state, state), act), widths[0])
            for width, theme in product(widths, THEMES):
                whole = width < 1000 or act is not None
                _save(visit.tab, folder / f"{name}-{width}-{theme}.png", width, theme, whole)
            visit.close()


def _open(browser: Browser, address: str, scene: Scene, width: int) -> Visit:
    """Open a scene, whose run is given by its id, and wait until it is complete."""
    tab, run, act = scene
    visit = Visit(browser, address, width=width, height=HEIGHT, touch=width < 768)
    page = visit.goto(f"?tab={tab}&prompt=ROMEO:&run={run}")
    page.locator(f"body[data-tab={tab}][data-runs]").wait_for()
    page.wait_for_timeout(2500)
    some = page.locator("body[data-runs=some]").count()
    if tab == "compare" and some:
        page.locator("#compare-write").click()
    writing = {"sample": "#sample-text .letters", "compare": "#compare-1-text .text"}
    if tab in writing and some:
        page.wait_for_function("(text) => document.querySelector(text)?.textContent.length >= 300", arg=writing[tab])
    if act:
        act(page)
    page.wait_for_timeout(1500)
    return visit


def _save(page: Page, path: Path, width: int, theme: Scheme, whole: bool = False) -> None:
    """Save a picture of the window with this width, or of the `whole` page."""
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.emulate_media(color_scheme=theme)
    page.wait_for_timeout(1000)  # until charts have been drawn again
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=path, full_page=whole)


if __name__ == "__main__":
    main()
