"""The Compare tab in a browser: texts of three models, the time bar, curves, table, scored text, guess the size."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect
from playwright.sync_api import Page as Tab

from nanollm.data.corpus import CorpusStore
from nanollm.experiments.scaling import Experiment, Member, Plan
from nanollm.explain.surprisal import surprisal
from nanollm.inference.generate import generate_text
from nanollm.runs.process.worker import work
from nanollm.runs.store import CorpusRef, Run, RunStore
from nanollm.train.checkpoint import load_model
from tests.browser.conftest import OpenVisit
from tests.conftest import ROOT
from tests.serving import Page, serve
from tests.speed import until

HOSTILE = '<img src=x onerror="window.executed=1">${window.executed=2}\n'
TEXT = "the cat sat on the mat, and the rat ran from the cat.\n"
# Three sizes with similar speeds, so that they generate at the same time. The first trained twice as many steps, so
# that the same fraction of its training is another step.
SHAPES: list[dict[str, Any]] = [
    {"embedding_dim": 32, "num_layers": 3, "num_steps": 80, "eval_interval": 40},
    {"embedding_dim": 48, "num_layers": 3},
    {"embedding_dim": 64, "num_layers": 3},
]
QUICK = {"num_steps": 40, "batch_size": 8, "context_length": 32, "ffn_hidden_dim": 64, "eval_interval": 20}
NAMES = {"texts": "Texts", "curves": "Curves", "table": "Table", "scored": "Score a text", "blind": "Guess the size"}
# Record the lengths of the three texts whenever one of them grows.
RECORD_LENGTHS = """() => {
  const texts = [1, 2, 3].map((i) => document.querySelector(`#compare-${i}-text .text`));
  window.lengths = [];
  const observer = new MutationObserver(() => window.lengths.push(texts.map((text) => text.textContent.length)));
  texts.forEach((text) => observer.observe(text, { characterData: true, childList: true, subtree: true }));
}"""

# Press Generate all, and Stop as soon as all three have started; a driver outside of the page may be too slow.
GENERATE_AND_STOP = """() => new Promise((done) => {
  const begun = (i) => document.querySelector(`#compare-${i}-text .text`).textContent;
  const stop = document.getElementById("compare-stop");
  const timer = setInterval(() => {
    if (stop.disabled || ![1, 2, 3].every(begun)) return;
    clearInterval(timer);
    stop.click();
    done(true);
  }, 10);
  document.getElementById("compare-write").click();
  setTimeout(() => done(false), 60000);
})"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page with three models of different sizes; their text and one title contain markup."""
    home: Path = tmp_path_factory.mktemp("home")
    corpora, store = CorpusStore(home / "data" / "corpora"), RunStore(home / "checkpoints")
    corpus = corpora.add_text((TEXT * 20 + HOSTILE) * 20, "cats")
    made = []
    for shape in SHAPES:
        made.append(store.create(settings={**QUICK, **shape}, corpus=corpus, queued=False))
        work(made[-1], corpora.root)
    store.rename(made[0].id, HOSTILE.strip())
    reference = CorpusRef(corpus.name, corpus.sha256, corpus.characters, corpus.vocab_size)
    two = [Member("nano", seed, run.id) for seed, run in enumerate(made[:2], 42)]
    Experiment(store.root / "scaling-x", 0.0, reference, Plan(("nano",), 1.0, (42, 43)), two, store).save()
    with serve(home) as page:
        yield page


@pytest.fixture
def runs(page: Page) -> list[Run]:
    """The runs from the smallest to the largest."""
    return sorted(page.store.list(), key=lambda run: run.model_config.num_parameters)


@pytest.fixture
def tab(open_visit: OpenVisit, page: Page) -> Iterator[Tab]:
    """The Compare tab with three columns; fails if markup was executed."""
    tab = open_visit(page.address, "?tab=compare&prompt=the%20cat%20").tab
    expect(tab.locator("#compare-3-facts")).to_contain_text("parameters")
    yield tab
    assert tab.evaluate("window.executed") is None
    assert tab.locator("#compare-main img").count() == 0


def turn_to(tab: Tab, view: str) -> None:
    tab.locator("#compare-view").get_by_text(NAMES[view], exact=True).click()
    tab.locator(f"body[data-compare={view}]").wait_for()


def expected_text(run: Run, prompt: str, step: int | None = None, length: int = 300) -> str:
    loaded = load_model(run.snapshot(step).path)
    settings = {"max_length": length, "temperature": 0.8, "top_k": 40, "seed": 42}
    return generate_text(loaded.model, loaded.tokenizer, prompt, **settings)


def shown(tab: Tab, column: int) -> str:
    return tab.locator(f"#compare-{column}-text").evaluate(
        "(text) => text.querySelector('.prompt').textContent + text.querySelector('.text').textContent"
    )


def enter_request(tab: Tab, prompt: str, length: int) -> None:
    if length != 300:
        tab.get_by_role("button", name="Seed and length").locator("visible=true").click()
        number = tab.locator("#compare-length input[type=number]")
        number.fill(str(length))
        number.press("Tab")
    tab.locator("#compare-prompt textarea").fill(prompt)


def generate(tab: Tab, prompt: str, length: int = 300) -> None:
    enter_request(tab, prompt, length)
    tab.locator("#compare-write").click()


def wait_for_end(tab: Tab, length: int = 300) -> None:
    for column in (1, 2, 3):
        tab.wait_for_function(
            "([place, length]) => document.querySelector(place).textContent.length === length",
            arg=[f"#compare-{column}-text .text", length],
        )
    expect(tab.locator("#compare-stop")).to_be_disabled()


def column_of(tab: Tab, run: Run) -> int:
    """Return the column of a run."""
    chosen = [tab.locator(f"#compare-{column}-model select").input_value() for column in (1, 2, 3)]
    return chosen.index(run.id) + 1


def head(tab: Tab, column: int) -> Locator:
    return tab.locator(f"#compare-{column}-model .time-bar")


@pytest.mark.slow
def test_three_models_generate_concurrently(tab: Tab, runs: list[Run]) -> None:
    tab.evaluate(RECORD_LENGTHS)
    generate(tab, "the cat ", 2000)
    wait_for_end(tab, 2000)
    lengths = tab.evaluate("window.lengths")
    unfinished = [row for row in lengths if all(0 < length < 2000 for length in row)]
    assert len(unfinished) > 1, "all three texts grew at the same time"
    assert all(later > earlier for earlier, later in zip(unfinished[0], unfinished[-1], strict=True))
    for run in runs:
        column = column_of(tab, run)
        assert shown(tab, column) == expected_text(run, "the cat ", length=2000)
        facts = tab.locator(f"#compare-{column}-facts")
        expect(facts).to_contain_text(f"{run.model_config.num_parameters:,}")
        expect(facts).to_contain_text(f"{run.snapshot().val_loss:.2f}")
        assert float(facts.locator("dd").nth(3).inner_text().replace(",", "")) > 0
    expect(tab.locator("#compare-caution .line")).to_be_hidden()


@pytest.mark.slow
def test_stop_ends_all_generations(tab: Tab) -> None:
    enter_request(tab, "the ", 5000)
    assert tab.evaluate(GENERATE_AND_STOP)
    expect(tab.locator("#compare-stop")).to_be_disabled()
    stopped: list[str] = []

    def unchanged() -> bool:
        """Whether no character arrives for a second, so that updates sent before Stop have been received."""
        stopped[:] = [shown(tab, column) for column in (1, 2, 3)]
        tab.wait_for_timeout(1000)
        return [shown(tab, column) for column in (1, 2, 3)] == stopped

    until(unchanged)
    assert all(len(text) < len("the ") + 5000 for text in stopped)


@pytest.mark.slow
def test_the_time_bar_moves_all_columns_and_generates_again(tab: Tab, runs: list[Run]) -> None:
    generate(tab, "the cat ")
    wait_for_end(tab)
    slider = tab.locator("#time-bar input[type=range]")
    slider.focus()
    slider.press("Home")
    for column in (1, 2, 3):
        expect(head(tab, column).locator("output")).to_have_text(re.compile("^step 0"))
    for run in runs:
        column, expected = column_of(tab, run), expected_text(run, "the cat ", 0)
        tab.wait_for_function(
            "([column, expected]) => document.querySelector(`#compare-${column}-text`).textContent.includes(expected)",
            arg=[column, expected],
        )
    # Each column shows the same fraction of its training.
    leader = next(run for run in runs if run.id == tab.locator("#time-bar select").input_value())
    steps = [snapshot.step for snapshot in leader.snapshots()]
    half = next(i for i, step in enumerate(steps) if step >= steps[-1] // 2)
    slider.fill(str(half))
    shares = []
    for run in runs:
        own = [snapshot.step for snapshot in run.snapshots()]
        nearest = min(own, key=lambda step: abs(step - own[-1] * steps[half] / steps[-1]))
        shares.append(nearest / own[-1])
        expect(head(tab, column_of(tab, run)).locator("output")).to_have_text(
            re.compile(f"^step {nearest}( \\(best\\))?$")
        )
    assert shares == pytest.approx([0.5] * 3, abs=0.1)


@pytest.mark.slow
def test_unknown_characters_in_the_prompt_can_be_dropped(tab: Tab) -> None:
    generate(tab, "Ωthe ")
    expect(tab.locator("#compare-problem")).to_contain_text("Not all of these models know every character")
    expect(tab.locator("#compare-2-text .note")).to_contain_text("Ω")
    tab.locator("#compare-drop").click()
    wait_for_end(tab)
    expect(tab.locator("#compare-problem .line")).to_be_hidden()
    expect(tab.locator("#compare-prompt textarea")).to_have_value("the ")


def test_markup_in_texts_and_titles_is_displayed_as_text(tab: Tab, runs: list[Run]) -> None:
    expect(tab.locator("#compare-prompt textarea")).to_have_value("the cat ")  # from the address
    generate(tab, HOSTILE.strip())
    wait_for_end(tab)
    assert shown(tab, 1).startswith(HOSTILE.strip())
    turn_to(tab, "curves")
    expect(tab.locator("#compare-runs .chips")).to_contain_text(HOSTILE.strip())
    expect(tab.locator("#compare-curves .js-plotly-plot")).to_be_visible()
    turn_to(tab, "table")
    expect(tab.locator("#compare-table tbody")).to_contain_text(HOSTILE.strip())
    turn_to(tab, "scored")
    tab.locator("#compare-score-text textarea").fill(HOSTILE)
    tab.locator("#compare-score").click()
    expect(tab.locator("#compare-difference .losses tbody")).to_contain_text(HOSTILE.strip())
    assert tab.locator("#compare-difference .letters").evaluate("(letters) => letters.textContent") == HOSTILE
    turn_to(tab, "blind")
    tab.locator("#compare-blind .begin").click()
    tab.locator("#compare-blind .guess:enabled").first.click()
    expect(tab.locator("#compare-blind .cards")).to_contain_text(HOSTILE.strip())
    # The address contains the prompt of the open tab.
    tab.wait_for_url(re.compile("prompt=%3Cimg"))
    tab.get_by_role("tab", name="Sample", exact=True).click()
    tab.wait_for_url(re.compile("prompt=the.cat"))


@pytest.mark.slow
def test_curves_and_table_show_the_selected_runs(tab: Tab) -> None:
    turn_to(tab, "curves")
    chart = "document.querySelector('#compare-curves .js-plotly-plot')"
    lines = f"() => {chart}?.data?.filter((trace) => trace.line.width === 2).length"
    tab.wait_for_function(f"({lines})() === 3")
    tab.locator("#compare-axis").get_by_text("seconds").click()
    expect(tab.locator("#compare-curves")).to_contain_text("elapsed seconds")
    tab.locator("#compare-runs input").first.uncheck()
    tab.wait_for_function(f"({lines})() === 2")
    turn_to(tab, "table")
    expect(tab.locator("#compare-table tbody tr")).to_have_count(2)
    expect(tab.locator("#compare-table thead")).to_contain_text("embedding_dim")
    tab.locator("#compare-runs .all").click()
    expect(tab.locator("#compare-runs input:checked")).to_have_count(3)
    expect(tab.locator("#compare-table tbody tr")).to_have_count(3)


@pytest.mark.slow
def test_one_text_is_scored_by_all_models(tab: Tab, runs: list[Run]) -> None:
    turn_to(tab, "scored")
    text = "the cat ran."
    tab.locator("#compare-score-text textarea").fill(text)
    tab.locator("#compare-score").click()
    rows = tab.locator("#compare-difference .losses tbody tr")
    expect(rows).to_have_count(3)
    scores = {}
    for run in runs:
        loaded = load_model(run.snapshot().path)
        bits = surprisal(loaded.model, loaded.tokenizer, text).bits
        scores[run.id] = bits
        row = rows.filter(has_text=run.title)
        assert float(row.locator("td").first.inner_text()) == pytest.approx(bits.mean() * math.log(2), abs=1e-3)
    # Smallest compared with largest: blue where the largest assigns a higher probability.
    second = tab.locator("#compare-difference .letters span").evaluate_all(
        "(letters) => letters.map((letter) => letter.classList.contains('for-second'))"
    )
    gain = scores[runs[0].id] - scores[runs[-1].id]
    assert all(blue == (each > 0) for blue, each in zip(second, gain, strict=True) if abs(each) > 0.01)
    difference = tab.locator("#compare-difference .where tr").last.locator("td").last.inner_text()
    assert float(difference.replace("−", "-")) == pytest.approx(-gain.mean() * math.log(2), abs=2e-3)
    tab.locator("#compare-difference .writing").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("#compare-difference .said")).to_contain_text(re.compile(r"^h: .*%"))
    # At another snapshot, the text is scored again.
    before = rows.first.inner_text()
    tab.locator("#time-bar input[type=range]").press("Home")
    expect(rows.first).to_contain_text("step 0")
    assert rows.first.inner_text() != before


@pytest.mark.slow
def test_a_round_of_guess_the_size(tab: Tab, runs: list[Run]) -> None:
    turn_to(tab, "blind")
    blind = tab.locator("#compare-blind")
    tab.locator("#compare-prompt textarea").fill("the ")
    blind.locator(".begin").click()
    expect(blind.locator(".question")).to_have_text("Which model is the largest?")
    blind.locator(".guess:enabled").first.wait_for()
    expect(blind.locator(".guess:enabled")).to_have_count(3)
    before_the_guess = blind.inner_text()
    assert not any(run.title in before_the_guess for run in runs)
    texts = blind.locator(".card .text").evaluate_all("(texts) => texts.map((text) => text.textContent)")
    assert [len(text) for text in texts] == [300] * 3
    blind.locator(".guess").nth(1).click()
    expect(blind.locator(".verdict")).to_contain_text(re.compile(r"(Right|Wrong): it is [ABC], .*\. [01] of 1 right\."))
    right = blind.locator(".card.right")
    expect(right).to_have_count(1)
    expect(right).to_contain_text(runs[-1].title)
    guessed = "Right" in blind.locator(".verdict").inner_text()
    assert guessed == (right.locator("h3").inner_text() == "B")
    expect(blind.locator(".guess:visible")).to_have_count(0)


@pytest.mark.slow
def test_the_pretrained_models_are_compared_by_default(open_visit: OpenVisit, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "checkpoints" / "pretrained", tmp_path / "checkpoints" / "pretrained")
    with serve(tmp_path) as page:
        visit = open_visit(page.address, "?tab=compare")
        tab = visit.tab
        expect(tab.locator("body")).to_have_attribute("data-columns", "3")
        expect(tab.locator("#compare-3-facts")).to_contain_text("parameters")
        chosen = [tab.locator(f"#compare-{column}-model select").input_value() for column in (1, 2, 3)]
        assert chosen == ["pretrained-nano", "pretrained-small", "pretrained-medium"]
        for column, id in enumerate(chosen, 1):  # each at its last snapshot, which is its best
            end = page.store.get(id).snapshots()[-1]
            assert end.best
            expect(head(tab, column).locator("output")).to_have_text(f"step {end.step:,} (best)")
            expect(head(tab, column).locator(".star")).to_be_visible()
        expect(tab.locator("#time-bar .star")).to_be_visible()
        expect(tab.locator("#compare-caution .line")).to_be_hidden()
        visit.close()


@pytest.mark.slow
def test_selecting_an_experiment_fills_the_columns(tab: Tab, runs: list[Run]) -> None:
    tab.locator("#compare-experiment input").click()
    tab.locator("ul[role=listbox] [role=option]").first.click()
    expect(tab.locator("body")).to_have_attribute("data-columns", "2")
    chosen = [tab.locator(f"#compare-{column}-model select").input_value() for column in (1, 2)]
    assert chosen == [run.id for run in runs[:2]]
    tab.locator("#compare-count .add").click()
    expect(tab.locator("body")).to_have_attribute("data-columns", "3")
    expect(tab.locator("#compare-3")).to_be_visible()
    tab.locator("#compare-count .remove").click()
    expect(tab.locator("#compare-3")).to_be_hidden()
    turn_to(tab, "curves")
    expect(tab.locator("#compare-runs input:checked")).to_have_count(2)


@pytest.mark.slow
@pytest.mark.parametrize("view", NAMES)
def test_no_view_scrolls_horizontally_on_a_phone(open_visit: OpenVisit, page: Page, view: str) -> None:
    tab = open_visit(page.address, f"?tab=compare&view={view}", width=390, height=800).tab
    tab.locator("body[data-tab=compare]" if view == "texts" else f"body[data-compare={view}]").wait_for()
    tab.wait_for_timeout(500)
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    if view == "texts":
        boxes = [tab.locator(f"#compare-{column}-text .writing").bounding_box() for column in (1, 2, 3)]
        assert len({box["height"] for box in boxes if box}) == 1
        # The model name stays visible under the time bar while its text is scrolled.
        tab.locator("#compare-2-text").evaluate("(text) => scrollBy(0, text.getBoundingClientRect().top - 160)")

        def under_the_bar() -> bool:
            tab.wait_for_timeout(100)
            name, bar = (tab.locator(place).bounding_box() for place in ("#compare-2-model", "#time-bar"))
            return bool(name and bar and name["y"] == pytest.approx(bar["y"] + bar["height"], abs=2))

        until(under_the_bar)
