"""The complete workflow in one visit: upload a text, train, reload, sample, inspect and compare, without fakes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chart import drawn, zoom_in
from tests.browser.conftest import OpenVisit
from tests.browser.visit import PATIENCE, wait_for_script
from tests.conftest import ROOT
from tests.serving import Page

pytestmark = pytest.mark.usefixtures("end_runs")

TEXT = "the cat sat on the mat, and the rat ran from the cat.\n" * 400
FINISHED = """async () =>
  (await nanollm.load("components/text_view/texts.js")).texts["sample-text"].read().finished"""


def test_the_workflow_from_upload_to_comparison(open_visit: OpenVisit, page: Page, tmp_path: Path) -> None:
    path = tmp_path / "cats & <mark>rats.txt"
    path.write_text(TEXT)
    visit = open_visit(page.address)
    tab = visit.tab

    # Corpus: upload a file; its facts and preview appear.
    visit.open_tab("Corpus")
    tab.locator("#corpus-upload input[type=file]").set_input_files(path)
    expect(tab.locator("#corpus-card .facts")).to_contain_text(f"{len(TEXT):,} characters, {len(set(TEXT))} distinct")
    expect(tab.locator("#corpus-card .preview")).to_contain_text("the cat sat on the mat")
    assert tab.locator("mark").count() == 0  # markup in a name is displayed as text
    tab.locator("#corpus-train").click()

    # Train: start the nano model; the loss curve is updated.
    expect(tab.locator("#train-start")).to_be_visible()
    tab.locator("#train-preset label", has_text="nano").click()
    tab.locator("#train-start").click()
    first_step = 5 * PATIENCE  # on a busy machine, starting the worker and calibration take minutes
    expect(tab.locator("#train-progress")).to_contain_text(re.compile(r"step [1-9]"), timeout=first_step)
    expect(tab.locator("#train-chart .js-plotly-plot")).to_be_visible()
    run = page.store.list()[0]
    assert run.status().state == "running" and run.corpus["characters"] == len(TEXT)

    # The zoom is kept when new points arrive.
    zoomed = zoom_in(tab)
    visit.wait_until(lambda: drawn(tab).last > zoomed.last)
    assert drawn(tab)[:2] == zoomed[:2]

    # After a reload during training, the run is shown and still trains.
    visit.reload()
    before = page.store.get(run.id).status().step
    expect(tab.locator("#train-chart .js-plotly-plot")).to_be_visible()
    expect(tab.locator("#train-stop")).to_be_visible()
    moved = lambda: page.store.get(run.id).status().step > before  # noqa: E731
    visit.wait_until(moved)

    # Training continues after the page is left.
    address = tab.url
    assert f"run={run.id}" in address and "step=" not in address  # without a step, the link opens the newest snapshot
    visit.leave()
    visit.wait_until(lambda: page.store.get(run.id).status().state == "completed")

    # The address restores the view: the completed run with its curve.
    visit.goto(address)
    expect(tab.locator("#train-state")).to_contain_text(re.compile("finished", re.I))

    # Sample: with the same prompt, the last snapshot writes words and the first one noise.
    visit.open_tab("Sample")
    expect(tab.locator("#sample-problem")).to_contain_text("T")  # the default prompt starts with an unknown character
    tab.locator("#sample-prompt textarea, #sample-prompt input").first.fill("the ")
    tab.locator("#sample-write").click()
    generated = tab.locator("#sample-text .letters")
    wait_for_script(tab, FINISHED)
    expect(generated).to_contain_text("cat")
    learned = generated.inner_text()
    assert len(learned) > 100
    visit.slider().focus()
    tab.keyboard.press("Home")
    expect(tab.locator("#time-bar output")).to_contain_text("step 0")
    expect(generated).not_to_contain_text(learned[:40])
    wait_for_script(tab, FINISHED)
    assert generated.inner_text() != learned
    tab.keyboard.press("End")
    expect(generated).to_contain_text(learned[:40])  # same snapshot, prompt and seed, so the same text

    # An unknown character is reported and can be dropped.
    tab.locator("#sample-prompt textarea, #sample-prompt input").first.fill("thé ")
    tab.locator("#sample-write").click()
    expect(tab.locator("#sample-problem")).to_contain_text("é")
    tab.locator("#sample-drop").click()
    expect(tab.locator("#sample-problem")).not_to_contain_text("é")

    # Attention: the grid and the heatmap of one head.
    visit.open_tab("Attention")
    tab.locator("#attention-text textarea, #attention-text input").first.fill("the cat sat")
    expect(tab.locator("#attention-heatmap .js-plotly-plot")).to_be_visible()
    expect(tab.locator("#attention-heatmap")).to_contain_text("␣")
    expect(tab.locator("#attention-grid canvas.grid-canvas")).to_be_visible()

    # Compare: two snapshots with one prompt, side by side.
    visit.open_tab("Compare")
    tab.locator("#compare-prompt textarea, #compare-prompt input").first.fill("the ")
    tab.locator("#compare-write").click()
    for column in (1, 2):
        expect(tab.locator(f"#compare-{column}-text .text")).to_contain_text(re.compile(r"\w"))
        expect(tab.locator(f"#compare-{column}-facts")).to_contain_text("characters per second")
    expect(tab.locator("#compare-stop")).to_be_disabled()

    assert "Traceback" not in "".join(page.output)


def test_a_refused_start_shows_the_reason_and_can_be_repeated(open_visit: OpenVisit, page: Page) -> None:
    visit = open_visit(page.address)
    tab, runs = visit.tab, len(page.store.list())
    visit.open_tab("Train")
    tab.locator("#train-settings button").first.click()
    tab.locator("#train-command-fold button").first.click()
    expect(tab.locator("#train-command textarea")).to_have_value(
        re.compile("--preset sprint")
    )  # the form has its initial values
    heads = tab.locator("#train-num_heads input, #train-num_heads textarea")
    heads.press_sequentially("3")  # typed, because setting the value fires no input event
    expect(tab.locator("#train-problem")).to_contain_text("must be divisible by num_heads (3)")
    tab.locator("#train-start").click()
    expect(tab.locator("[data-testid=toast-body]")).to_contain_text("must be divisible by num_heads (3)")
    expect(tab.locator("#train-start")).to_be_enabled()
    expect(tab.locator("#train-start")).to_have_text("Start training")
    assert len(page.store.list()) == runs


@pytest.mark.long
def test_an_idle_page_sends_few_requests(open_visit: OpenVisit, page: Page) -> None:
    """At most one update of the run list and one of the selected run per second, on every tab."""
    visit = open_visit(page.address)
    for name in ("Train", "Sample", "Attention", "Compare", "Corpus"):
        visit.open_tab(name)
    requests: list[str] = []
    visit.tab.on("request", lambda request: requests.append(request.url))

    def is_quiet() -> bool:
        requests.clear()
        visit.tab.wait_for_timeout(4000)
        return len(requests) <= 12

    for name in ("Train", "Sample", "Corpus"):
        visit.open_tab(name)
        visit.wait_until(is_quiet)  # after the initial requests of the tab


@pytest.mark.parametrize("width", [1280, 390])
def test_no_tab_scrolls_horizontally(open_visit: OpenVisit, page: Page, width: int) -> None:
    visit = open_visit(page.address, width=width)
    for name in ("Corpus", "Train", "Sample", "Attention", "Compare"):
        visit.open_tab(name)
        visit.tab.wait_for_timeout(300)
        overflow = visit.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, name


@pytest.mark.slow
def test_the_guide_advances_with_the_users_actions(open_visit: OpenVisit, page: Page) -> None:
    """Each hint disappears when its action is done, stays done after a reload, and × hides the guide permanently."""
    shutil.copytree(ROOT / "checkpoints" / "pretrained" / "nano", page.home / "checkpoints" / "pretrained" / "nano")
    visit = open_visit(page.address)
    tab = visit.tab
    guide, words = tab.locator("#guide .guide"), tab.locator("#guide p")
    nano = tab.locator("#run-list li[data-run=pretrained-nano] .pick")
    nano.click()
    expect(words).to_contain_text("Press ▶")
    tab.locator("#time-bar .play").click()
    expect(words).to_contain_text("Click any character")
    tab.locator("#time-bar .play").click()
    expect(tab.locator("#sample-stop")).to_be_disabled()
    tab.locator("#sample-text .letters span").nth(3).click()
    expect(words).to_contain_text("Train your own model")

    visit.open_tab("Attention")
    expect(words).to_contain_text(re.compile(r"where head L\d·H\d looks"))
    tab.locator("#attention-lens label", has_text="Ablation").click()
    tab.locator(".switches .part").nth(1).click()
    expect(guide).to_be_hidden()
    visit.open_tab("Compare")
    expect(words).to_contain_text("guess the largest")
    tab.locator("#compare-write").click()
    expect(guide).to_be_hidden()
    visit.open_tab("Train")
    expect(words).to_contain_text("press Start training")
    visit.reload()
    expect(words).to_contain_text("press Start training")
    tab.locator("#train-start").click()
    expect(guide).to_be_hidden()

    other = open_visit(page.address)
    expect(other.tab.locator("#guide p")).to_contain_text("Press ▶")
    other.tab.locator("#guide button").click()
    for name in ("Sample", "Train", "Attention", "Compare"):
        other.open_tab(name)
        expect(other.tab.locator("#guide .guide")).to_be_hidden()
