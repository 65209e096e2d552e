"""The Attention tab in a browser: grid, views, ablation, ranking and time bar, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Route, TimeoutError, expect
from playwright.sync_api import Page as Tab

from nanollm.config import ModelConfig
from nanollm.data.corpus import CorpusStore
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import save_checkpoint
from nanollm.train.checkpoint_file import snapshot_name
from tests import run_folders
from tests.browser.conftest import OpenVisit
from tests.browser.visit import wait_for_script
from tests.conftest import random_model
from tests.planted import Planted
from tests.serving import Page, serve
from tests.speed import until

TYPED = "<img src=x onerror=executed=1> ${executed=1}"
TEXT = f"the cat sat on the mat, and the rat ran {TYPED} the cat.\n" * 40
STEPS = (0, 10, 20)

INSPECTION = """(await nanollm.load("attention/inspection_store.js"))"""
STEP = f"{INSPECTION}.inspection.state.frame.step"

# Show the current frame again without its ranking, like a late response of a busy server.
LATE_FRAME = """async () => {
  const { inspection, showFrame } = await nanollm.load("attention/inspection_store.js");
  const held = inspection.state;
  const weights = btoa(String.fromCharCode(...held.frame.roots));
  const effects = { of: {}, total: 0, said: "not ranked", stamp: held.frame.stamp };
  showFrame({ ...held.frame, weights, names: held.names, effects });
}"""


@pytest.fixture(scope="module", params=[1280, pytest.param(390, marks=pytest.mark.slow)])
def width(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def page(width: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page with a run of three snapshots; one page per width, because it caches rankings.

    The models are random, except for the planted head L1·H2 at step 0.
    """
    home = tmp_path_factory.mktemp("home")
    corpus = CorpusStore(home / "data" / "corpora").add_text(TEXT, "cats")
    run = RunStore(home / "checkpoints").create(settings={}, corpus=corpus, preset="nano", queued=False)
    tokenizer = CharTokenizer.from_text(TEXT)
    planted = Planted(tokenizer.vocab_size, 64, num_layers=2).back(0, 1, 1)
    config = ModelConfig(tokenizer.vocab_size, 16, 2, 16, num_heads=2, context_length=64)
    for step in STEPS:
        model = random_model(config, step) if step else planted.model
        save_checkpoint(run.folder / snapshot_name(step), model, step=step, tokenizer=tokenizer)
    run_folders.write(run, *(run_folders.step(step) for step in STEPS[1:]))
    with serve(home) as page:
        yield page


@pytest.fixture
def tab(open_visit: OpenVisit, page: Page, width: int) -> Iterator[Tab]:
    """The Attention tab after loading; fails if markup was executed or the server logged a traceback."""
    tab = open_visit(page.address, "?tab=attention&layer=2&head=1", width=width).tab
    expect(tab.locator("#attention-grid [aria-checked=true]")).to_have_text("L2·H1")
    yield tab
    assert tab.evaluate("window.executed") is None  # typed markup is displayed as text everywhere
    assert "Traceback" not in "".join(page.output)


def head(tab: Tab, label: str) -> Locator:
    return tab.locator("#attention-grid button", has_text=label)


def point(tab: Tab, label: str, caption: str) -> None:
    """Point at a head until its preview and the caption are shown.

    A frame that arrives while the pointer does not move hides the preview, and on a busy machine a frame may arrive
    after the text is shown. Moving the pointer shows the preview again.
    """
    shown = """(caption) => !document.querySelector("#attention-grid .grid-preview").hidden
        && document.querySelector("#attention-reading .text-caption").textContent.includes(caption)"""
    for _ in range(30):
        tab.mouse.move(0, 0)
        head(tab, label).hover()
        with suppress(TimeoutError):
            tab.wait_for_function(shown, arg=caption, timeout=2000)
            return
    raise AssertionError(f"pointing at {label} shows no preview, or not {caption!r}")


def select_view(tab: Tab, name: str) -> None:
    tab.locator("#attention-lens label", has_text=name).click()


def select_view_by_keyboard(tab: Tab, index: int) -> None:
    """Select a view by keyboard; each of Gradio's radio buttons is a tab stop."""
    tab.locator("#attention-lens input").nth(index).focus()
    tab.keyboard.press("Space")


def enter_text(tab: Tab, text: str) -> None:
    box = tab.locator("#attention-text textarea, #attention-text input").first
    box.fill("")
    box.press_sequentially(text)
    expect(tab.locator("#attention-reading .text-view span")).to_have_count(len(text))


def click_time_bar(tab: Tab, share: float) -> None:
    """Click the time bar at this share of its width."""
    slider = tab.locator("#time-bar input[type=range]")
    box = slider.bounding_box()
    assert box is not None
    slider.click(position={"x": 4 + share * (box["width"] - 8), "y": box["height"] / 2})


def assert_no_horizontal_scrolling(tab: Tab) -> None:
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_all_views_work_by_mouse(tab: Tab, page: Page) -> None:
    enter_text(tab, TYPED)
    # Grid: hovering previews a head, a click selects it, and the address contains it.
    point(tab, "L1·H2", "L1·H2, from “}”")
    head(tab, "L1·H2").click()
    tab.wait_for_url(re.compile("layer=1&head=2"))

    # Attention: the heatmap, the colored text, and the saved page.
    expect(tab.locator("#attention-heatmap .js-plotly-plot")).to_be_visible()
    expect(tab.locator("#attention-heatmap")).to_contain_text("␣")
    cells = "() => document.querySelector('#attention-heatmap .chart-plot').data[0].z.at(-1).length"
    tab.wait_for_function(f"({cells})() === {len(TYPED)}")
    tab.locator("#attention-reading .text-view span").nth(0).hover()
    expect(tab.locator("#attention-reading .text-caption")).to_contain_text("L1·H2, from “<”")
    with tab.expect_download() as saved:
        tab.locator("#attention-save").click()
    content = Path(saved.value.path()).read_text(encoding="utf-8")
    assert saved.value.suggested_filename == "attention-L1-H2.html"
    assert not re.search(
        r"<(script|img|link)[^>]* (src|href)=", re.sub(r"<script.*?</script>", "", content, flags=re.S)
    )
    assert not re.search(r"<script[^>]* src=", content)

    # Ablation: one part, then two; the texts differ from a marked character on.
    select_view(tab, "Ablation")
    expect(tab.locator("#attention-cost")).to_contain_text("Nothing is switched off")
    tab.locator("[data-part='L1·H2']").click()
    expect(tab.locator("#attention-cost")).to_contain_text("Without L1·H2, the loss on this text is")
    tab.locator("[data-part='L2']").click()
    expect(tab.locator("#attention-effects li")).to_have_count(3)
    expect(tab.locator("#attention-effects li.strong")).to_contain_text(re.compile(r"together.*±"))
    expect(tab.locator("#attention-writing .one")).to_have_count(2)
    expect(tab.locator("#attention-writing mark")).to_have_count(2)
    tab.locator("#attention-kind label", has_text="Zero").click()
    expect(tab.locator("#attention-why")).to_contain_text("Replaced by zero")

    # Time bar: at step 0, the same parts are switched off in another model.
    before = tab.locator("#attention-cost").inner_text()
    click_time_bar(tab, 0.0)
    expect(tab.locator("#attention-cost")).not_to_have_text(before)
    expect(tab.locator("#attention-cost")).to_contain_text("Without L1·H2 and L2")

    # Ranking: bars and a summary, for this snapshot only.
    tab.locator("#attention-rank").click()
    expect(tab.locator("#attention-ranking .said")).to_contain_text("Largest effect: L")
    tab.evaluate(LATE_FRAME)
    expect(tab.locator("#attention-ranking .said")).to_contain_text("Largest effect: L")
    wait_for_script(tab, f"async () => Object.keys({INSPECTION}.knownOf('effects')).length === 4")
    expect(tab.locator("#attention-rank")).to_be_disabled()
    expect(head(tab, "L1·H2")).to_have_attribute("title", re.compile(r"without it .*±"))

    # Head type: the name belongs to one snapshot and is shown on its thumbnails only.
    select_view(tab, "Head type")
    expect(tab.locator("#attention-name")).to_have_text("L1·H2: previous character")
    expect(head(tab, "L1·H2")).to_have_attribute("title", re.compile("previous character"))
    select_view(tab, "Attention")
    cells = "JSON.stringify(document.querySelector('#attention-heatmap .chart-plot').data[0].z)"
    previous = "document.querySelector('#attention-heatmap .chart-plot').data[0].z.at(-1).at(-2) > 0.9"
    tab.wait_for_function(previous)
    early = tab.evaluate(cells)
    click_time_bar(tab, 1.0)
    expect(tab.locator("#attention-ranking .said")).to_contain_text("not ranked yet")
    expect(tab.locator("#attention-rank")).to_be_enabled()
    expect(head(tab, "L1·H2")).to_have_attribute("title", "")
    assert "previous" not in head(tab, "L1·H2").get_attribute("aria-label")
    tab.wait_for_function(f"(early) => {cells} !== early", arg=early)

    # Neighboring snapshots are prefetched, so they are shown while the time bar is dragged.
    late = tab.evaluate(cells)
    drag = f"""async (run) => {{
      const {{ selection }} = await nanollm.load("browser/selection.js");
      selection.set({{ run, step: 10, motion: "drag" }});
      return {STEP} === 10;
    }}"""
    wait_for_script(tab, drag, arg=page.store.list()[0].id)
    tab.wait_for_function(f"(late) => {cells} !== late", arg=late)
    # Read right after the click: on a slow machine, playback advances while a module is being loaded.
    playing = """async () => {
      const { inspection } = await nanollm.load("attention/inspection_store.js");
      document.querySelector("#time-bar .play").click();
      return inspection.state.frame.step;
    }"""
    # Pause as soon as the step has advanced. On a slow machine playback may have ended, and paused itself, before that.
    rests = f"""async () => {{
        if ({STEP} === 0) return false;
        const play = document.querySelector("#time-bar .play");
        if (play.classList.contains("on")) play.click();
        return true;
    }}"""
    with tab.expect_request(lambda request: "onerror" in (request.post_data or "")) as first:
        assert tab.evaluate(playing) == 0, "▶ starts again at the first snapshot immediately"
        wait_for_script(tab, rests)
    assert '"step":0' not in (first.value.post_data or ""), "only the snapshot at which playback pauses is requested"
    assert_no_horizontal_scrolling(tab)


@pytest.mark.slow
def test_all_views_work_by_keyboard(tab: Tab) -> None:
    # The tab order follows the layout: tabs, time bar, guide, open tab.
    parts = ["[role=tab]", "#time-bar", "#guide", "#attention-text"]
    here = "(parts) => parts.find((part) => document.activeElement.closest(part))"
    tab.locator(parts[0]).first.focus()
    visited = [tab.evaluate(here, parts)]
    while visited[-1] != parts[-1] and len(visited) < 20:
        tab.keyboard.press("Tab")
        visited.append(tab.evaluate(here, parts))
    assert list(dict.fromkeys(visited)) == parts

    enter_text(tab, TYPED)
    head(tab, "L2·H1").focus()
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("ArrowRight")
    tab.wait_for_url(re.compile("layer=1&head=2"))
    expect(head(tab, "L1·H2")).to_be_focused()

    tab.locator("#attention-reading .text-view").focus()
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")
    expect(tab.locator("#attention-reading .text-caption")).to_contain_text("from “i”")

    select_view_by_keyboard(tab, 1)
    expect(tab.locator("body[data-lens=matters]")).to_be_attached()
    tab.locator("#attention-board [tabindex='0']").focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("End")
    tab.keyboard.press("Enter")
    expect(tab.locator("[data-part='L2·FF']")).to_have_attribute("aria-pressed", "true")
    expect(tab.locator("#attention-cost")).to_contain_text("Without L2·FF")
    expect(tab.locator("#attention-writing mark")).to_have_count(2)
    before = tab.locator("#attention-cost").inner_text()
    tab.locator("#time-bar input[type=range]").focus()
    tab.keyboard.press("ArrowLeft")
    expect(tab.locator("#attention-cost")).not_to_have_text(before)
    tab.keyboard.press("End")
    expect(tab.locator("#attention-cost")).to_have_text(before)

    # Late responses about snapshots that the time bar has left are not shown.
    held: dict[str, list[Route]] = {"10": [], "0": []}

    def hold(route: Route) -> None:
        about = re.search(r'"step":(\d+)', route.request.post_data or "")
        held[about[1]].append(route) if about and about[1] in held else route.continue_()

    tab.route("**/run/**", hold)
    for step in held:
        tab.keyboard.press("ArrowLeft")
        wait_for_script(tab, f"async (step) => {STEP} === Number(step)", arg=step)
        until(lambda step=step: (tab.wait_for_timeout(50), bool(held[step]))[1])
    late = [*held["0"], *held["10"]]
    held.clear()
    for route in late:
        with tab.expect_response(lambda answer, expected=route.request: answer.request == expected):
            route.continue_()
    tab.wait_for_timeout(200)
    assert tab.evaluate(f"async () => {STEP}") == 0
    tab.keyboard.press("End")
    expect(tab.locator("#attention-cost")).to_have_text(before)

    select_view_by_keyboard(tab, 2)
    expect(tab.locator("#attention-name")).to_contain_text("L1·H2: No known pattern. That is common.")
    expect(tab.locator("#attention-history-about")).to_contain_text("No induction head")
    expect(tab.locator("#attention-history .js-plotly-plot")).to_be_visible()

    select_view_by_keyboard(tab, 3)
    expect(tab.locator("#attention-layers tr")).to_have_count(3)
    tab.locator("#attention-place .text-view").focus()
    tab.keyboard.press("Home")
    expect(tab.locator("#attention-shares")).to_contain_text("“<” itself")
    tab.locator("#attention-layers [tabindex='0']").focus()  # one tab stop; arrow keys reach all cells
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        tab.keyboard.press(key)
    character = tab.evaluate("document.activeElement.dataset.character")
    tab.keyboard.press("Enter")
    picked = tab.locator("#attention-layers tr").last.locator("[aria-pressed=true]")
    expect(picked).to_have_attribute("data-character", character)
    assert "lens=layers" in tab.url
    assert_no_horizontal_scrolling(tab)


@pytest.mark.slow
def test_the_model_overview_and_unknown_characters(tab: Tab) -> None:
    tab.locator("#attention-whole > button").click()
    expect(tab.locator("#attention-map .js-plotly-plot")).to_be_visible()
    expect(tab.locator("#attention-map-about")).to_contain_text("The map shows")
    expect(tab.locator("#attention-meter-about")).to_contain_text("held-out text")
    shown = tab.locator("#attention-map-about").inner_text()
    tab.locator("#time-bar input[type=range]").focus()
    tab.keyboard.press("Home")
    expect(tab.locator("#attention-map-about")).not_to_have_text(shown)

    box = tab.locator("#attention-text textarea, #attention-text input").first
    box.fill("")
    box.press_sequentially("thé cat")
    expect(tab.locator("#attention-problem")).to_contain_text("é")
    tab.locator("#attention-drop").click()
    expect(tab.locator("#attention-reading .text-view span")).to_have_count(len("th cat"))
    expect(tab.locator("#attention-problem")).not_to_contain_text("é")
    assert_no_horizontal_scrolling(tab)
