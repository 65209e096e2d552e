"""The Sample tab in a browser: generating, the time bar, candidates, choices, sampling settings and scoring."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, expect
from playwright.sync_api import Page as Tab

from nanollm.data.corpus import CorpusStore
from nanollm.explain.surprisal import surprisal
from nanollm.inference.generate import generate_text, stream_samples
from nanollm.inference.sampling import SamplingOptions
from nanollm.runs.process.worker import work
from nanollm.runs.store import Run, RunStore
from nanollm.train.checkpoint import load_model
from tests.browser.conftest import OpenVisit
from tests.browser.visit import PATIENCE, Visit, wait_for_script
from tests.serving import Page, serve
from tests.speed import until

HOSTILE = '<img src=x onerror="window.executed=1">${window.executed=2}\n'
TEXT = "the cat sat on the mat, and the rat ran from the cat.\n"
QUICK = {"num_steps": 60, "batch_size": 8, "context_length": 32, "eval_interval": 20}
SETTINGS = {"max_length": 400, "temperature": 0.8, "top_k": 40, "seed": 42}
MAX_BYTES = 100_000  # sent for 400 characters with their scores and candidates


SAMPLE = """(await nanollm.load("components/text_view/texts.js")).texts["sample-text"]"""
SHAPED = """async ([entry, temperature, topK]) =>
  (await nanollm.load("components/text_view/probabilities.js")).shaped(entry, temperature, topK).all"""

# Press Generate again as soon as a text has started, and Stop when 500 characters of the second one are shown. This
# runs inside the page, because a driver outside of it is too slow. Returns whether Stop was enabled.
AGAIN_AND_STOP = """() => nanollm.load("components/text_view/texts.js").then(({ texts }) => new Promise((done) => {
  const [write, stop] = ["sample-write", "sample-stop"].map((id) => document.getElementById(id));
  let first = null;
  const timer = setInterval(() => {
    const { stamp, text, finished } = texts["sample-text"].read();
    if (first === null && !finished && !stop.disabled) {
      first = stamp;
      write.click();
    }
    if (first === null || stamp === first || text.length < 500 || (stop.disabled && !finished)) return;
    clearInterval(timer);
    const enabled = !stop.disabled;
    stop.click();
    done(enabled);
  }, 10);
  write.click();
  setTimeout(() => done(false), 60000);
}))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page with one trained model, whose text contains markup that would be executed if it were not escaped."""
    home: Path = tmp_path_factory.mktemp("home")
    corpora, store = CorpusStore(home / "data" / "corpora"), RunStore(home / "checkpoints")
    corpus = corpora.add_text((TEXT * 20 + HOSTILE) * 20, "cats")
    work(store.create(settings=QUICK, corpus=corpus, preset="nano", queued=False), corpora.root)
    with serve(home) as page:
        yield page


@pytest.fixture
def run(page: Page) -> Run:
    return page.store.list()[0]


@pytest.fixture
def visit(open_visit: OpenVisit, page: Page) -> Iterator[Visit]:
    """The Sample tab with its first text complete; fails if markup was executed."""
    visit = open_visit(page.address, "?tab=sample&prompt=the%20cat%20")
    wait_for_length(visit.tab, len("the cat ") + 400)
    yield visit
    assert visit.tab.evaluate("window.executed") is None


@pytest.fixture
def tab(visit: Visit) -> Tab:
    return visit.tab


def letters(tab: Tab, place: str = "sample-text") -> Locator:
    return tab.locator(f"#{place} .letters span")


def text(tab: Tab, place: str = "sample-text") -> str:
    return tab.locator(f"#{place} .letters").evaluate("(letters) => letters.textContent")


def wait_for_length(tab: Tab, length: int, place: str = "sample-text") -> None:
    expect(letters(tab, place)).to_have_count(length, timeout=PATIENCE)


def wait_for_other_text(tab: Tab, before: str, length: int) -> None:
    """Wait until the text differs from `before` and has this length."""
    tab.wait_for_function(
        """([before, length]) => {
          const letters = document.querySelector("#sample-text .letters");
          return letters.childElementCount === length && letters.textContent !== before;
        }""",
        arg=[before, length],
        timeout=PATIENCE,
    )


def expected_text(run: Run, prompt: str = "the cat ", step: int | None = None, **settings: float) -> str:
    """Return the text that the core generates."""
    loaded = load_model(run.snapshot(step).path)
    return generate_text(loaded.model, loaded.tokenizer, prompt, **{**SETTINGS, **settings})


def generate(tab: Tab, prompt: str) -> None:
    tab.locator("#sample-prompt textarea").fill(prompt)
    tab.locator("#sample-write").click()


def set_number(tab: Tab, name: str, value: float) -> None:
    number = tab.locator(f"#sample-{name} input[type=number]")
    number.fill(str(value))
    number.press("Tab")


def bars(tab: Tab, which: str) -> list[str]:
    return tab.locator(f"#sample-choices .alternatives .{which}").evaluate_all("all => all.map(i => i.style.width)")


def wait_for_frames(tab: Tab, run: Run) -> None:
    """Wait until the browser has received the text of every snapshot."""
    request = {"run": run.id, "prompt": "the cat ", "prefix": "", **SETTINGS}
    steps = [snapshot.step for snapshot in run.snapshots()]
    held = """async ([request, steps]) => {
      const { textFrame } = await nanollm.load("browser/frames.js");
      return steps.every((step) => textFrame({ ...request, step }));
    }"""
    wait_for_script(tab, held, arg=[request, steps])


def test_a_text_equals_that_of_the_core_and_is_sent_once(tab: Tab, run: Run) -> None:
    streams: set[str] = set()
    sizes: list[int] = []

    def responded(event: dict) -> None:
        if "/queue/data" in event["response"]["url"]:  # the frames of the new prompt are separate requests
            streams.add(event["requestId"])

    session = tab.context.new_cdp_session(tab)
    session.send("Network.enable")
    session.on("Network.responseReceived", responded)
    session.on("Network.dataReceived", lambda e: sizes.append(e["dataLength"]) if e["requestId"] in streams else None)
    generate(tab, "the rat ")
    tab.wait_for_function("document.querySelector('#sample-text .letters').textContent.startsWith('the rat ')")
    wait_for_length(tab, 408)
    expect(tab.locator("#sample-stop")).to_be_disabled()
    until(lambda: (tab.wait_for_timeout(500), sum(sizes) > 5_000)[1])  # the browser reports the sizes with a delay
    assert text(tab) == expected_text(run, "the rat ")
    assert sum(sizes) < MAX_BYTES


@pytest.mark.slow
def test_the_time_bar_shows_prefetched_texts_without_requests(tab: Tab, run: Run) -> None:
    wait_for_frames(tab, run)
    requested: list[str] = []
    tab.on("request", lambda request: requested.append(request.url))
    slider, steps = tab.locator("#time-bar input[type=range]"), [snapshot.step for snapshot in run.snapshots()]
    slider.focus()
    tab.keyboard.press("Home")
    expect(tab.locator("#time-bar output")).to_contain_text("step 0")
    assert text(tab) == expected_text(run, step=0)  # immediately, while the slider is still moving
    tab.wait_for_timeout(600)
    tab.locator("#time-bar .play").click()
    expect(tab.locator("#time-bar output")).to_contain_text(f"step {steps[-1]}", timeout=PATIENCE)
    assert text(tab) == expected_text(run)
    box = slider.bounding_box()
    tab.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2, steps=10)
    assert text(tab) == expected_text(run, step=0)
    tab.mouse.up()
    expect(tab.locator("#time-bar output")).to_contain_text("step 0")
    assert not [url for url in requested if "component_server" in url or "queue/join" in url]


def test_candidates_can_be_inspected_and_chosen_by_mouse_and_keyboard(tab: Tab, run: Run) -> None:
    loaded = load_model(run.snapshot().path)
    options = SamplingOptions(**SETTINGS, candidates=6)
    samples = list(stream_samples(loaded.model, loaded.tokenizer, "the cat ", options))
    panel = tab.locator("#sample-choices")
    letters(tab).nth(8 + 20).click()
    expect(panel).to_contain_text("choice")
    shown = panel.locator(".alternatives b").all_inner_texts()[:6]
    glyphs = {" ": "␣", "\n": "⏎"}
    expected = [loaded.tokenizer.characters[candidate.id] for candidate in samples[20].candidates[:6]]
    assert shown == [glyphs.get(character, character) for character in expected]

    tab.locator("#sample-text .writing").focus()
    tab.keyboard.press("ArrowRight")
    expect(letters(tab).nth(8 + 21)).to_have_class(re.compile("inspected"))
    ordinal = {1: "1st", 2: "2nd", 3: "3rd"}.get(samples[21].rank, f"{samples[21].rank}th")
    expect(panel.locator(".said")).to_contain_text(f"{ordinal} choice")
    tab.keyboard.press("ArrowLeft")
    before = text(tab)
    tab.keyboard.press("Enter")  # moves the focus to the candidates
    assert tab.evaluate("document.activeElement.closest('.alternatives') !== null")
    tab.keyboard.press("Escape")
    expect(panel.locator(".hint")).to_be_visible()
    assert tab.evaluate("document.activeElement.classList.contains('writing')")

    expect(panel.locator(".back")).to_be_hidden()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Enter")  # chooses a candidate
    expect(panel.locator(".back")).to_be_visible()
    tab.wait_for_function("(text) => document.querySelector('#sample-text .letters').textContent !== text", arg=before)
    wait_for_length(tab, 408)
    assert text(tab)[:8] == before[:8] and text(tab)[8] != before[8]
    assert tab.evaluate("document.activeElement.classList.contains('writing')")


def test_sampling_settings_change_the_colored_bars_only(tab: Tab, run: Run) -> None:
    letters(tab).nth(8 + 3).click()
    gray, colored = bars(tab, "model"), bars(tab, "dialled")
    requested: list[str] = []
    tab.on("request", lambda request: requested.append(request.url))
    set_number(tab, "temperature", 2)
    expect(tab.locator("#sample-choices .alternatives .dialled").nth(1)).not_to_have_attribute(
        "style", f"width: {colored[1]};"
    )
    assert bars(tab, "model") == gray and bars(tab, "dialled") != colored
    set_number(tab, "top-k", 1)
    tab.wait_for_function("document.querySelectorAll('.alternatives .dialled')[1].style.width === '0%'")
    assert bars(tab, "model") == gray and bars(tab, "dialled")[0] == "100%"
    # The selection may be sent again seconds later on a busy machine; new settings only apply after Generate.
    tab.evaluate("""async () => (await nanollm.load("components/text_view/texts.js")).follow({
      place: "sample-text", prompt: "the cat ", temperature: 2, top_k: 1, max_length: 400, seed: 42,
    })""")
    assert tab.evaluate(f"async () => {SAMPLE}.request().temperature") == SETTINGS["temperature"]
    assert not [url for url in requested if "queue/join" in url]


@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "top_k"), [(0.8, 40), (2.0, 100), (0.1, 5), (1.0, 1), (0.0, 40)])
def test_the_browser_computes_the_sampling_distribution_of_the_core(tab: Tab, temperature: float, top_k: int) -> None:
    """The distribution has a long tail, of which the browser knows only the largest probabilities."""
    probabilities = np.sort(np.random.default_rng(1).dirichlet(np.full(60, 0.2)))[::-1]
    before = probabilities.cumsum() - probabilities
    listed = int(((before < 1 - 1e-3) & (np.arange(60) < 40)).sum())
    powers = probabilities[:top_k] ** (1 / temperature) if temperature else np.array([1.0])
    expected = np.zeros(60)
    expected[: len(powers)] = powers / powers.sum()
    entry = {
        "candidates": [{"bits": float(-np.log2(p))} for p in probabilities[:listed]],
        "vocabulary": ["x"] * 60,
    }
    shaped = tab.evaluate(SHAPED, [entry, temperature, top_k])
    assert np.abs(np.array(shaped) - expected[:listed]).max() < 0.02


def test_choosing_a_candidate_regenerates_the_rest_and_back_undoes_it(tab: Tab) -> None:
    first = text(tab)
    for place in (8 + 12, 8 + 30):
        letters(tab).nth(place).click()
        before = text(tab)
        other = tab.locator("#sample-choices .alternatives button:enabled").first
        chosen = other.locator("b").inner_text().replace("␣", " ").replace("⏎", "\n")
        other.click()
        wait_for_other_text(tab, before, 408)
        assert text(tab)[: place + 1] == before[:place] + chosen
        expect(tab.locator("#sample-stop")).to_be_disabled()
    assert text(tab) != first
    back = tab.locator("#sample-choices .back")
    back.click()
    assert text(tab) == before
    back.click()
    assert text(tab) == first
    expect(back).to_be_hidden()


def test_dragging_the_slider_away_and_back_restores_the_chosen_text(tab: Tab, run: Run) -> None:
    wait_for_frames(tab, run)
    before = text(tab)
    letters(tab).nth(8 + 12).click()
    tab.locator("#sample-choices .alternatives button:enabled").first.click()
    wait_for_other_text(tab, before, 408)
    expect(tab.locator("#sample-stop")).to_be_disabled()
    chosen = text(tab)
    dragged = tab.evaluate("""() => {
      const slider = document.querySelector("#time-bar input[type=range]");
      const at = slider.value;
      return ["0", at].map((value) => {
        slider.value = value;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        return document.querySelector("#sample-text .letters").textContent;
      });
    }""")
    assert dragged == [expected_text(run, step=0), chosen]
    expect(tab.locator("#sample-choices .back")).to_be_visible()


def test_back_after_a_choice_in_an_unfinished_text_completes_the_original(tab: Tab, run: Run) -> None:
    tab.get_by_role("button", name="Seed and length").click()
    set_number(tab, "length", 3000)
    tab.locator("#sample-prompt textarea").fill("the rat ")
    # Choose as soon as enough characters are shown; a driver outside of the page is too slow for that.
    tab.evaluate("""async () => {
      const { texts } = await nanollm.load("components/text_view/texts.js");
      const letters = document.querySelector("#sample-text .letters");
      const observer = new MutationObserver(() => {
        if (!letters.textContent.startsWith("the rat ") || letters.childElementCount < 12) return;
        observer.disconnect();
        window.chosenAt = letters.childElementCount;
        texts["sample-text"].choose(10, "m");
      });
      observer.observe(letters, { childList: true });
      document.getElementById("sample-write").click();
    }""")
    wait_for_length(tab, 3008)
    assert tab.evaluate("window.chosenAt") < 3008
    assert text(tab)[10] == "m"
    tab.evaluate(f"async () => {SAMPLE}.back()")
    tab.wait_for_function(
        "(text) => document.querySelector('#sample-text .letters').textContent === text",
        arg=expected_text(run, "the rat ", max_length=3000),
    )


def test_copy_download_another_sample_and_random_seed(tab: Tab, run: Run) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown, copy = text(tab), tab.locator("#sample-text .copy")
    copy.click()
    expect(copy).to_have_text("Copied")
    assert tab.evaluate("navigator.clipboard.readText()") == shown
    with tab.expect_download() as saved:
        tab.locator("#sample-text .download").click()
    assert Path(saved.value.path()).read_text(encoding="utf-8") == shown

    tab.get_by_role("button", name="Seed and length").click()
    seed = tab.locator("#sample-seed input")
    tab.locator("#sample-another").click()
    expect(seed).to_have_value("43")
    tab.wait_for_function(
        "(text) => document.querySelector('#sample-text .letters').textContent === text",
        arg=expected_text(run, seed=43),
    )
    tab.evaluate("Math.random = () => 0.5")
    tab.locator("#sample-dice").click()
    expect(seed).to_have_value("50000")

    # Without TLS, pages from other machines have no clipboard API.
    tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    copy.click()
    expect(copy).to_have_text("Copied")
    box = tab.locator("#score-text textarea")
    tab.get_by_role("button", name="Score my text").click()
    box.focus()
    tab.keyboard.press("Control+V")
    expect(box).to_have_value(expected_text(run, seed=43))


def test_a_scored_text_follows_the_time_bar(tab: Tab, run: Run) -> None:
    tab.get_by_role("button", name="Score my text").click()
    tab.locator("#score-text textarea").fill("the cat ran")
    tab.locator("#score-button").click()
    about = tab.locator("#score-about")
    for step in (None, 0):
        if step == 0:
            tab.locator("#time-bar input[type=range]").press("Home")
        loaded = load_model(run.snapshot(step).path)
        bits = surprisal(loaded.model, loaded.tokenizer, "the cat ran").bits_per_character
        expect(about).to_contain_text(f"Loss: {bits * math.log(2):.2f} nats")


@pytest.mark.slow
def test_the_guide_advances_with_the_users_actions(visit: Visit) -> None:
    tab = visit.tab
    guide = tab.locator("#guide .guide")
    expect(guide).to_contain_text("Press ▶")
    tab.locator("#time-bar .play").click()
    expect(guide).to_contain_text("Click any character")
    wait_for_length(tab, 408)
    tab.locator("#sample-text .writing").focus()
    tab.keyboard.press("ArrowRight")
    expect(guide).to_contain_text("Train your own model")
    visit.open_tab("Attention")
    expect(guide).to_contain_text("Switch it off")
    tab.locator("#attention-lens label", has_text="Ablation").click()
    tab.locator("#attention-board .part").first.click()
    expect(guide).to_be_hidden()
    visit.open_tab("Compare")
    expect(guide).to_contain_text("press Generate all")
    guide.locator("button").click()
    expect(guide).to_be_hidden()


def test_a_second_generation_cancels_the_first_and_can_be_stopped(tab: Tab) -> None:
    tab.get_by_role("button", name="Seed and length").click()
    set_number(tab, "length", 5000)
    assert tab.evaluate(AGAIN_AND_STOP), "the last update of the first text disabled Stop for the second"
    expect(tab.locator("#sample-stop")).to_be_disabled()
    lengths = [-1]

    def unchanged() -> bool:
        """Whether no character arrives for a second, so that updates sent before Stop have been received."""
        lengths.append(letters(tab).count())
        tab.wait_for_timeout(1000)
        return letters(tab).count() == lengths[-1]

    until(unchanged)
    assert lengths[-1] < 5008


@pytest.mark.slow
def test_prompt_and_settings_are_restored_with_the_run(visit: Visit, run: Run) -> None:
    tab = visit.tab
    tab.locator("#sample-mood").get_by_text("careful").click()
    generate(tab, "the mat ")
    tab.wait_for_function("document.querySelector('#sample-text .letters').textContent.startsWith('the mat ')")
    wait_for_length(tab, 408)
    expect(tab.locator("#sample-stop")).to_be_disabled()
    shown = text(tab)
    visit.goto(f"?tab=sample&run={run.id}")
    wait_for_length(tab, 408)
    assert text(tab) == shown == expected_text(run, "the mat ", temperature=0.5, top_k=20)
    expect(tab.locator("#sample-prompt textarea")).to_have_value("the mat ")
    expect(tab.locator("#sample-temperature input[type=number]")).to_have_value("0.5")
    expect(tab.locator("#sample-mood label.selected")).to_have_text("careful")
    set_number(tab, "top-k", 21)
    expect(tab.locator("#sample-mood label.selected")).to_have_count(0)
    set_number(tab, "top-k", 20)
    expect(tab.locator("#sample-mood label.selected")).to_have_text("careful")


def test_markup_is_displayed_as_text(tab: Tab) -> None:
    generate(tab, HOSTILE)
    wait_for_length(tab, len(HOSTILE) + 400)
    assert text(tab).startswith(HOSTILE)
    letters(tab).nth(HOSTILE.index("<")).click()
    expect(tab.locator("#sample-choices .glyph")).to_have_text("<")
    tab.get_by_role("button", name="Score my text").click()
    tab.locator("#score-text textarea").fill(HOSTILE)
    tab.locator("#score-button").click()
    wait_for_length(tab, len(HOSTILE), "score-shown")
    assert text(tab, "score-shown") == HOSTILE
    expect(tab.locator("#score-about")).to_contain_text("choosing among")
    tab.get_by_role("button", name="Is it copying?").click()
    expect(tab.locator("#sample-copies .said")).to_contain_text("word for word")
    tab.get_by_role("button", name="The same in Python").click()
    expect(tab.locator("#sample-call textarea")).to_have_value(re.compile("onerror"))
    assert tab.locator("#sample-main img").count() == 0


@pytest.mark.slow
def test_markup_is_displayed_as_text_in_the_other_tabs(visit: Visit) -> None:
    tab = visit.tab
    visit.open_tab("Corpus")
    tab.locator("#tabs").get_by_text("cats", exact=True).locator("visible=true").first.click()
    expect(tab.locator("#tabs").get_by_text(re.compile("the cat sat on")).locator("visible=true").first).to_be_visible()
    visit.open_tab("Train")
    expect(tab.locator("#train-chart .js-plotly-plot")).to_be_visible()
    visit.open_tab("Attention")
    tab.locator("#attention-text").locator("textarea, input").first.fill(HOSTILE.strip())
    expect(tab.locator("#attention-reading .text-view span")).to_have_count(QUICK["context_length"])
    for lens in ("Attention", "Ablation", "Head type", "Logit lens"):
        tab.locator("#attention-lens label", has_text=lens).click()
        tab.wait_for_timeout(500)
    tab.get_by_role("button", name="Whole model").click()
    expect(tab.locator("#attention-map .js-plotly-plot")).to_be_visible()
    expect(tab.locator("#attention-meter .js-plotly-plot")).to_be_visible()
    assert tab.evaluate("window.executed") is None
    assert tab.locator("#tabs img").count() == 0


@pytest.mark.slow
def test_copied_training_text_is_marked(tab: Tab) -> None:
    tab.get_by_role("button", name="Is it copying?").click()
    summary = tab.locator("#sample-copies .said")
    expect(summary).to_contain_text("word for word")
    copied = "letters => Array.from(letters).filter(l => l.classList.contains('copied')).length"
    longest = int(re.search(r"training text: (\d+)", summary.inner_text())[1])
    found = letters(tab).evaluate_all(copied)
    assert found >= longest if longest >= 20 else found == 0
    expect(tab.locator("#sample-copies tbody tr")).to_have_count(5)


@pytest.mark.slow
def test_on_a_phone_the_candidates_open_as_a_bottom_sheet(open_visit: OpenVisit, page: Page) -> None:
    tab = open_visit(page.address, "?tab=sample&prompt=the%20cat%20", width=390, height=800).tab
    wait_for_length(tab, 408)
    letters(tab).nth(20).click()
    sheet = tab.locator("#sample-choices")
    box = sheet.bounding_box()
    assert box["y"] + box["height"] == pytest.approx(800, abs=1) and box["width"] == pytest.approx(390, abs=1)
    sheet.locator(".close").click()
    expect(sheet).not_to_have_class(re.compile("open"))
