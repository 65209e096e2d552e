"""The whole way in one visit: bring a text, train on it, reload, sample, look inside, compare. Nothing is faked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chart import drawn, zoom_in
from tests.browser.conftest import Come
from tests.browser.visit import PATIENCE, wait_for_script
from tests.conftest import ROOT
from tests.serving import Page, end_all, serve

TEXT = "the cat sat on the mat, and the rat ran from the cat.\n" * 400
FINISHED = """async () =>
  (await nanollm.load("components/text_view/texts.js")).texts["sample-text"].read().finished"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serve(tmp_path_factory.mktemp("home")) as page:
        yield page


@pytest.fixture(autouse=True)
def idle(page: Page) -> Iterator[None]:
    """No test leaves a run in training to the next."""
    yield
    end_all(page.home)


def test_from_a_text_to_a_model_to_look_into(come: Come, page: Page, tmp_path: Path) -> None:
    path = tmp_path / "cats & <mark>rats.txt"
    path.write_text(TEXT)
    visit = come(page.address)
    tab = visit.tab

    # Corpus: a real file, its facts, its preview.
    visit.open("Corpus")
    tab.locator("#corpus-upload input[type=file]").set_input_files(path)
    expect(tab.locator("#corpus-card .facts")).to_contain_text(f"{len(TEXT):,} characters, {len(set(TEXT))} distinct")
    expect(tab.locator("#corpus-card .preview")).to_contain_text("the cat sat on the mat")
    assert tab.locator("mark").count() == 0  # markup in a name is a name
    tab.locator("#corpus-train").click()

    # Train: the nano model, the loss falls live.
    expect(tab.locator("#train-start")).to_be_visible()
    tab.locator("#train-preset label", has_text="nano").click()
    tab.locator("#train-start").click()
    first_step = 5 * PATIENCE  # on a busy machine, starting the worker and calibration take minutes
    expect(tab.locator("#train-progress")).to_contain_text(re.compile(r"step [1-9]"), timeout=first_step)
    expect(tab.locator("#train-chart .js-plotly-plot")).to_be_visible()
    run = page.store.list()[0]
    assert run.status().state == "running" and run.corpus["characters"] == len(TEXT)

    # A person zooms in; new points arrive; the zoom stays.
    zoomed = zoom_in(tab)
    visit.wait_until(lambda: drawn(tab).last > zoomed.last)
    assert drawn(tab)[:2] == zoomed[:2]

    # Reload in the middle of training: still there, and still moving.
    visit.reload()
    before = page.store.get(run.id).status().step
    expect(tab.locator("#train-chart .js-plotly-plot")).to_be_visible()
    expect(tab.locator("#train-stop")).to_be_visible()
    moved = lambda: page.store.get(run.id).status().step > before  # noqa: E731
    visit.wait_until(moved)

    # Close the browser's tab: training goes on without anybody looking.
    address = tab.url
    assert f"run={run.id}" in address and "step=" not in address  # the newest snapshot, whichever it is by then
    visit.leave()
    visit.wait_until(lambda: page.store.get(run.id).status().state == "completed")

    # The address brings the view back: the run, finished, with its curve.
    visit.goto(address)
    expect(tab.locator("#train-state")).to_contain_text(re.compile("finished", re.I))

    # Sample: the last snapshot writes English of a sort; the first one writes noise; both from the same prompt.
    visit.open("Sample")
    expect(tab.locator("#sample-problem")).to_contain_text("T")  # the usual prompt begins with what it never saw
    tab.locator("#sample-prompt textarea, #sample-prompt input").first.fill("the ")
    tab.locator("#sample-write").click()
    written = tab.locator("#sample-text .letters")
    wait_for_script(tab, FINISHED)
    expect(written).to_contain_text("cat")
    learned = written.inner_text()
    assert len(learned) > 100
    visit.slider().focus()
    tab.keyboard.press("Home")
    expect(tab.locator("#time-bar output")).to_contain_text("step 0")
    expect(written).not_to_contain_text(learned[:40])
    wait_for_script(tab, FINISHED)
    assert written.inner_text() != learned
    tab.keyboard.press("End")
    expect(written).to_contain_text(learned[:40])  # the same snapshot, prompt and seed: the same text

    # An unknown character is named, and dropped with one click.
    tab.locator("#sample-prompt textarea, #sample-prompt input").first.fill("thé ")
    tab.locator("#sample-write").click()
    expect(tab.locator("#sample-problem")).to_contain_text("é")
    tab.locator("#sample-drop").click()
    expect(tab.locator("#sample-problem")).not_to_contain_text("é")

    # Attention: the grid, and one head large.
    visit.open("Attention")
    tab.locator("#attention-text textarea, #attention-text input").first.fill("the cat sat")
    expect(tab.locator("#attention-heatmap .js-plotly-plot")).to_be_visible()
    expect(tab.locator("#attention-heatmap")).to_contain_text("␣")
    expect(tab.locator("#attention-grid canvas.grid-canvas")).to_be_visible()

    # Compare: two moments of training from one prompt, side by side.
    visit.open("Compare")
    tab.locator("#compare-prompt textarea, #compare-prompt input").first.fill("the ")
    tab.locator("#compare-write").click()
    for column in (1, 2):
        expect(tab.locator(f"#compare-{column}-text .text")).to_contain_text(re.compile(r"\w"))
        expect(tab.locator(f"#compare-{column}-facts")).to_contain_text("characters per second")
    expect(tab.locator("#compare-stop")).to_be_disabled()

    assert "Traceback" not in "".join(page.output)


def test_a_refused_start_says_why_and_can_be_tried_again(come: Come, page: Page) -> None:
    visit = come(page.address)
    tab, runs = visit.tab, len(page.store.list())
    visit.open("Train")
    tab.locator("#train-settings button").first.click()
    tab.locator("#train-command-fold button").first.click()
    expect(tab.locator("#train-command textarea")).to_have_value(re.compile("--preset sprint"))  # it is filled in
    heads = tab.locator("#train-num_heads input, #train-num_heads textarea")
    heads.press_sequentially("3")  # keys, as a person: a value that is merely set fires no input event
    expect(tab.locator("#train-problem")).to_contain_text("must be divisible by num_heads (3)")
    tab.locator("#train-start").click()
    expect(tab.locator("[data-testid=toast-body]")).to_contain_text("must be divisible by num_heads (3)")
    expect(tab.locator("#train-start")).to_be_enabled()
    expect(tab.locator("#train-start")).to_have_text("Start training")
    assert len(page.store.list()) == runs


@pytest.mark.long
def test_a_page_that_nobody_touches_is_quiet(come: Come, page: Page) -> None:
    """Wherever it was left: one look at the runs a second, and one at the chosen run where that is drawn."""
    visit = come(page.address)
    for name in ("Train", "Sample", "Attention", "Compare", "Corpus"):
        visit.open(name)
    asked: list[str] = []
    visit.tab.on("request", lambda request: asked.append(request.url))

    def is_quiet() -> bool:
        asked.clear()
        visit.tab.wait_for_timeout(4000)
        return len(asked) <= 12

    for name in ("Train", "Sample", "Corpus"):
        visit.open(name)
        visit.wait_until(is_quiet)  # once it has come to rest


@pytest.mark.parametrize("width", [1280, 390])
def test_five_tabs_and_no_sideways_scrolling(come: Come, page: Page, width: int) -> None:
    visit = come(page.address, width=width)
    for name in ("Corpus", "Train", "Sample", "Attention", "Compare"):
        visit.open(name)
        visit.tab.wait_for_timeout(300)
        overflow = visit.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, name


@pytest.mark.slow
def test_a_first_visitor_is_led_by_doing(come: Come, page: Page) -> None:
    """One line at a time; each is done by doing what it says, remembered, and silenced for good by ×."""
    shutil.copytree(ROOT / "checkpoints" / "pretrained" / "nano", page.home / "checkpoints" / "pretrained" / "nano")
    visit = come(page.address)
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

    visit.open("Attention")
    expect(words).to_contain_text(re.compile(r"where head L\d·H\d looks"))
    tab.locator("#attention-lens label", has_text="Ablation").click()
    tab.locator(".switches .part").nth(1).click()
    expect(guide).to_be_hidden()
    visit.open("Compare")
    expect(words).to_contain_text("guess the largest")
    tab.locator("#compare-write").click()
    expect(guide).to_be_hidden()
    visit.open("Train")
    expect(words).to_contain_text("press Start training")
    visit.reload()
    expect(words).to_contain_text("press Start training")
    tab.locator("#train-start").click()
    expect(guide).to_be_hidden()

    other = come(page.address)
    expect(other.tab.locator("#guide p")).to_contain_text("Press ▶")
    other.tab.locator("#guide button").click()
    for name in ("Sample", "Train", "Attention", "Compare"):
        other.open(name)
        expect(other.tab.locator("#guide .guide")).to_be_hidden()
