"""A public page with two visitors: each has their own runs and texts, and a shared link permits viewing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gradio_client import Client
from playwright.sync_api import expect

from tests.browser.conftest import OpenVisit
from tests.serving import Page, serve

pytestmark = pytest.mark.slow
TEXT = "the cat sat on the mat, and the rat ran from the cat.\n" * 400
QUICK = {"num_steps": 20, "batch_size": 4, "context_length": 16, "eval_interval": 10}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serve(tmp_path_factory.mktemp("home"), public=True) as page:
        yield page


def test_visitors_are_isolated_and_a_link_permits_viewing(open_visit: OpenVisit, page: Page) -> None:
    anna, bert = open_visit(page.address), open_visit(page.address)
    tokens = [visit.tab.evaluate("localStorage.getItem('nano-visitor')") for visit in (anna, bert)]
    assert len(set(tokens)) == 2 and all(len(token) == 43 for token in tokens)

    # Anna's text belongs to her, the API identifies her by the same token, and Bert does not see it.
    anna.open_tab("Corpus")
    anna.tab.locator("#corpus-paste textarea").fill(TEXT)
    anna.tab.locator("#corpus-use").click()
    expect(anna.tab.locator("#corpus-texts")).to_contain_text("the cat sat")
    client = Client(page.address, headers={"x-nano-visitor": tokens[0]}, verbose=False)
    (sha256,) = (text["sha256"] for text in client.predict(api_name="/texts") if text["name"] != "sample.txt")
    run = client.predict(sha256, "nano", QUICK, api_name="/start_run")["run"]
    row = anna.tab.locator(f'#run-list li[data-run="{run}"]')
    expect(row).to_be_visible()
    anna.wait_until(lambda: page.store.get(run).status().state == "completed")
    expect(row).to_contain_text("finished")
    row.locator(".pick").click()
    anna.tab.wait_for_function("run => new URL(location.href).searchParams.get('run') === run", arg=run)
    link = anna.tab.evaluate("async () => (await nanollm.load('shell/url.js')).link()")
    assert f"run={run}" in link and f"look={page.store.get(run).view_key}" in link
    bert.open_tab("Corpus")
    expect(bert.tab.locator("#corpus-texts")).not_to_contain_text("the cat sat")
    expect(bert.tab.locator("#run-list li")).to_have_count(0)

    # Without its key the run is not found; with it, the run can be viewed but not changed.
    bert.goto(f"?run={run}")
    expect(bert.tab.get_by_text("This run no longer exists").first).to_be_visible()
    bert.goto(link)
    shared = bert.tab.locator(f'#run-list li[data-run="{run}"]')
    expect(shared).to_contain_text("shared by link")
    expect(shared.locator("button.more")).to_have_count(0)
    bert.open_tab("Train")
    expect(bert.tab.locator("#train-state")).to_contain_text("Finished")
    for button in ("#train-continue", "#train-fork"):
        expect(bert.tab.locator(button)).to_be_hidden()
    anna.open_tab("Train")
    expect(anna.tab.locator("#train-fork")).to_be_visible()
