"""Guarantee C10: markup in texts, names, titles, prompts and generated text is displayed, never executed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, expect

from nanollm.data.corpus import CorpusStore
from tests.browser.visit import Visit
from tests.serving import Page
from tests.serving import page as page  # a fixture
from tests.speed import until
from tests.tiny_runs import TINY

MARKUP = (
    "<img src=x onerror=window.hit=1> <script>window.hit=2</script> ${window.hit=3} {{window.hit=4}} "
    "<svg onload=window.hit=5> <a href='javascript:window.hit=6'>a</a> \"' onfocus=window.hit=7 autofocus x='"
)
EXECUTED_MARKUP = (
    """() => [window.hit ?? 0, document.querySelectorAll("img[src=x], svg[onload], a[href^=javascript]").length]"""
)


def test_markup_is_inert_in_all_tabs(browser: Browser, page: Page, tmp_path: Path) -> None:
    corpus = CorpusStore(page.home / "data" / "corpora").add_text((MARKUP + "\n") * 60, MARKUP)
    run = page.store.create(settings={**TINY, "num_steps": 20}, corpus=corpus, title=MARKUP)
    until(lambda: run.status().state == "completed")
    visit = Visit(browser, page.address)
    tab = visit.tab
    dialogs: list[str] = []
    tab.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for name in ("corpus", "train", "sample", "attention", "compare"):
        query = {"run": run.id, "tab": name, "prompt": MARKUP, "text": MARKUP}
        visit.goto(f"?{urlencode(query)}")
        expect(tab.locator("#sidebar")).to_contain_text("onerror")
        if name == "sample":
            expect(tab.locator("#sample-text")).to_contain_text("window.hit=3")
        assert tab.evaluate(EXECUTED_MARKUP) == [0, 0], name
    visit.close()
    assert dialogs == visit.errors == []
