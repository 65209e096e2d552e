"""Train in a real browser: every button of a run, the live chart, the doctor's advice, the sidebar."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from nanollm.charts.loss import MAX_OVERLAYS
from nanollm.data.corpus import CorpusStore
from nanollm.runs.process.liveness import Heartbeat
from nanollm.runs.record import write_status
from nanollm.runs.store import Run, RunStore
from nanollm.runs.transfer.archive import export, import_
from tests import run_folders
from tests.browser.chart import drawn, zoom_in
from tests.browser.conftest import Come
from tests.browser.visit import Visit
from tests.conftest import ROOT
from tests.serving import Page, end_all, serve

# A model so small that starting its process takes longer than anything it does.
TINY = dict(
    embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=16, batch_size=4, eval_interval=200,
    checkpoint_interval=500, precision="float32", threads=1,
)  # fmt: skip
# Longer than any test; and over by itself in minutes, should the tests be killed before they can stop it.
LONG = {**TINY, "num_steps": 200_000, "log_interval": 20}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with serve(tmp_path_factory.mktemp("home")) as page:
        yield page


@pytest.fixture(autouse=True)
def idle(page: Page) -> Iterator[None]:
    """No test, passed or failed, leaves a run in training to the next."""
    yield
    end_all(page.home)


def queue(page: Page, settings: dict, title: str) -> Run:
    """A run on the bundled text; the page's server starts it when its turn comes."""
    corpus = CorpusStore(page.home / "data" / "corpora").list()[0]
    return page.store.create(settings=settings, corpus=corpus, preset="nano", title=title)


def ready(page: Page, settings: dict, title: str) -> Run:
    """A run that waits at step 0 for somebody to resume it."""
    corpus = CorpusStore(page.home / "data" / "corpora").list()[0]
    return page.store.create(settings=settings, corpus=corpus, preset="nano", title=title, queued=False)


def training(run: Run) -> str:
    """The query of a page that shows a run in Train."""
    return f"?tab=train&run={run.id}"


def step(page: Page, run: Run) -> int:
    return page.store.get(run.id).status().step


def stop(visit: Visit) -> None:
    visit.tab.locator("#train-stop").click()
    expect(visit.tab.locator("#train-state")).to_contain_text("Stopped at step")


@pytest.mark.slow
def test_every_button_of_a_run(come: Come, page: Page) -> None:
    first = queue(page, LONG, "the first")
    second = queue(page, LONG, "the second")
    visit = come(page.address, training(first))
    tab, state = visit.tab, visit.tab.locator("#train-state")
    visit.wait_until(lambda: step(page, first) > 0)
    expect(state).to_contain_text("Training")
    expect(tab.locator(".train-setup")).to_be_hidden()  # the cards make room

    tab.locator("#train-pause").click()
    expect(state).to_contain_text("Paused at step")
    paused = step(page, first)
    tab.locator("#train-resume").click()
    expect(state).to_contain_text("in line")  # the second had its turn meanwhile
    expect(state).to_contain_text(re.compile(r"about \d+ (s|min)|about [\d.]+ h"))
    page_launcher_stop(page, second)
    visit.wait_until(lambda: step(page, first) > paused)
    stop(visit)
    expect(tab.locator(".train-setup")).to_be_visible()

    tab.locator("#train-continue").click()
    expect(state).to_contain_text(f"Continues “{first.title}” from step {step(page, first):,}")
    child = page.store.list()[0]
    assert child.parent and child.parent.run == first.id and child.title.endswith(", continued")
    visit.wait_until(lambda: step(page, child) > 0)
    visit.wait_until(lambda: drawn(tab).lines >= 7)  # parent and child
    stop(visit)

    tab.locator("#time-bar select").select_option(first.id)
    visit.slider().focus()
    tab.keyboard.press("Home")
    expect(tab.locator("#time-bar output")).to_contain_text("step 0")
    tab.wait_for_url(re.compile(r"[?&]step=0\b"))  # the slider selects a step only after it stops moving
    tab.locator("#train-fork").click()
    expect(state).to_contain_text(f"Continues “{first.title}” from step 0")
    visit.wait_until(lambda: page.store.list()[0].status().step > 0)
    stop(visit)


def page_launcher_stop(page: Page, run: Run) -> None:
    """Somebody else stops another run."""
    from nanollm.runs.process.launcher import Launcher

    launcher = Launcher(page.store, page.home / "data" / "corpora")
    launcher.stop(run.id)
    launcher.close()


@pytest.mark.slow
def test_a_live_run_is_the_same_for_everybody_and_the_zoom_stays(come: Come, page: Page) -> None:
    other = ready(page, TINY, "another")
    run_folders.write(other, run_folders.evaluated(0, 4.0), run_folders.evaluated(500, 2.0))
    run = queue(page, LONG, "live")
    visit, second = come(page.address, training(run)), come(page.address, training(run), width=390)
    tab = visit.tab
    for one in (visit, second):
        expect(one.tab.locator("#train-numbers")).to_contain_text("perplexity")
        expect(one.tab.locator("#train-chart .nsewdrag")).to_be_visible()
        expect(one.tab.locator("#train-progress .facts")).to_contain_text(re.compile(r"step [1-9]"))
    # A hand takes its time for a click; meanwhile the list has news of the run in training.
    loss = tab.locator(f"#run-list li[data-run='{run.id}'] .loss")
    tab.locator(f"#run-list li[data-run='{other.id}'] .pick").hover()
    tab.mouse.down()
    expect(loss).not_to_have_text(loss.inner_text())
    tab.mouse.up()
    expect(tab.locator("#time-bar select")).to_have_value(other.id)
    tab.locator(f"#run-list li[data-run='{run.id}'] .pick").click()
    expect(tab.locator("#time-bar select")).to_have_value(run.id)
    visit.reload()
    expect(tab.locator("#train-progress .facts")).to_contain_text(re.compile(r"step [1-9]"))
    expect(tab.locator("#train-chart .annotation-text")).to_have_count(4)  # the references

    zoomed = zoom_in(tab)

    def keeps_its_zoom(ticks: int) -> None:
        last = drawn(tab).last
        for _ in range(ticks):
            visit.wait_until(lambda last=last: drawn(tab).last > last)
            last = drawn(tab).last
            assert drawn(tab)[:2] == zoomed[:2]

    keeps_its_zoom(10)

    # Another run is laid over it, in a colour of its own.
    tab.locator("#train-overlays input").click()
    tab.locator("#train-overlays").get_by_role("option", name=other.title, exact=True).click()
    visit.wait_until(lambda: drawn(tab).lines > zoomed.lines)
    colours = tab.evaluate(
        "[...new Set(document.querySelector('#train-chart .chart-plot').data.map((t) => t.line.color))]"
    )
    assert len(colours) == 3  # this run, that one, the grey of the references
    tab.keyboard.press("Escape")
    keeps_its_zoom(2)
    tab.locator("#train-pause").click()
    tab.locator("#train-resume").click()
    keeps_its_zoom(2)
    tab.locator("#train-axis label", has_text="seconds").click()
    expect(tab.locator("#train-chart .xtitle")).to_have_text("elapsed seconds")
    stop(visit)
    expect(second.tab.locator("#train-state")).to_contain_text("Stopped at step")


@pytest.mark.slow
def test_the_doctor_says_what_is_wrong_and_mends_it_with_one_click(come: Come, page: Page) -> None:
    ill = queue(
        page, {"learning_rate": 1.0, "num_steps": 30, "warmup_steps": 2, "log_interval": 2, "threads": 1}, "ill"
    )
    visit = come(page.address, training(ill))
    tab = visit.tab
    expect(tab.locator("#train-doctor")).to_contain_text("learning rate is too high")
    visit.wait_until(lambda: not page.store.get(ill.id).status().active)
    tab.locator("#train-doctor button", has_text="Restart with learning rate 0.02").click()
    expect(tab.locator("#train-state")).to_contain_text(re.compile("Training|Preparing|in line|Finished"))
    mended = page.store.list()[0]
    assert mended.train_config.learning_rate == 0.02 and mended.train_config.num_steps == 30
    expect(tab.locator("#train-state")).to_contain_text("Finished")
    expect(tab.locator("#train-doctor")).not_to_contain_text("too high")
    expect(tab).to_have_title(re.compile(r"✓ \d\.\d\d"))  # the list of runs comes with its own clock

    # The table tells them apart by what differs, the better one first.
    tab.locator("#train-table-fold button").first.click()
    expect(tab.locator("#train-table td[data-column=learning_rate]").first).to_be_visible()
    assert tab.locator("#train-table .sheet").evaluate("(sheet) => sheet.scrollWidth - sheet.clientWidth") <= 0
    losses = [float(cell) for cell in tab.locator("#train-table td:nth-child(2)").all_inner_texts() if cell != "–"]
    assert losses == sorted(losses) and len(losses) >= 2
    with tab.expect_download() as download:
        tab.locator("#train-table button", has_text="Save as CSV").click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_bytes().decode("utf-8-sig"))))
    assert rows[0] == tab.locator("#train-table th").all_inner_texts()
    assert {"ill", mended.title} <= {row[0] for row in rows}


def test_a_copied_link_brings_back_run_snapshot_and_tab(come: Come, page: Page) -> None:
    run = ready(page, TINY, "to be shown")
    for number in (0, 10, 20):
        run_folders.write(run, run_folders.step(number), run_folders.evaluated(number, 4.0 - number / 10))
        run_folders.checkpoint(run.folder, f"{number:08}", number)
    visit = come(page.address, training(run))
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect(visit.tab.locator("#time-bar output")).to_contain_text("step 20")
    visit.slider().focus()
    visit.tab.keyboard.press("ArrowLeft")
    visit.tab.wait_for_function("location.search.includes('step=10')")
    visit.tab.locator("#copy-link").click()
    expect(visit.tab.locator("#copy-link")).to_have_text("Copied")
    link = visit.tab.evaluate("navigator.clipboard.readText()")

    # On a phone, where the form makes room for it.
    second = ready(page, {**TINY, "num_steps": 500}, "another to be shown")
    other = come(page.address, link, width=390, height=800, touch=True).tab
    expect(other.locator("#time-bar output")).to_contain_text("step 10")
    expect(other.locator("#time-bar select")).to_have_value(run.id)
    expect(other.locator("body[data-tab=train]")).to_be_visible()
    expect(other.locator("#train-numbers")).to_be_in_viewport()
    expect(other.locator("#train-start")).to_be_hidden()
    expect(other.locator("#train-new-run-hint")).to_contain_text("from the snapshot selected above")
    other.locator("#train-chart .chart-labels summary").tap()  # nothing hovers
    expect(other.locator("#train-chart .chart-labels li")).to_contain_text("the same probability")
    expect(other.locator("#train-scale").get_by_text("X scale")).to_be_visible()
    other.locator("#train-table-fold button").first.click()
    expect(other.locator("#train-table td").first).to_be_in_viewport()
    assert other.locator("#train-table .sheet").evaluate("(sheet) => sheet.scrollWidth - sheet.clientWidth") <= 0
    expect(other.locator("#train-numbers")).not_to_be_in_viewport()
    other.locator("#time-bar select").select_option(second.id)
    expect(other.locator("#train-state")).to_contain_text("Paused at step 0")
    expect(other.locator("#train-numbers")).to_be_in_viewport()  # whoever chooses another run is led to it
    other.locator("#train-again").click()
    expect(other.locator("#train-start")).to_be_visible()


@pytest.mark.long
def test_a_tick_is_small_whatever_is_looked_at(come: Come, page: Page) -> None:
    """A long run that grows, nine overlaid runs, the gradients open, and forty runs in the list."""
    others = [ready(page, TINY, f"a name that is not short, number {n}") for n in range(40)]
    long = ready(page, {**TINY, "num_steps": 100_000}, "long")
    for run in (*others[-MAX_OVERLAYS:], long):
        rows = (run_folders.step(n) if n % 500 else run_folders.evaluated(n, 2.0) for n in range(0, 50_000, 10))
        run_folders.write(run, *rows)
        write_status(run.folder, "running", step=0)
    with Heartbeat(long.folder):
        visit = come(page.address, training(long))
        tab = visit.tab
        tab.locator("#train-gradients-fold button").first.click()
        for run in others[-MAX_OVERLAYS:]:
            tab.locator("#train-overlays input").click()
            tab.locator("#train-overlays").get_by_role("option", name=run.title, exact=True).click()
        tab.keyboard.press("Escape")
        visit.wait_until(lambda: drawn(tab).lines >= 3 + MAX_OVERLAYS)
        expect(tab.locator("#train-gradients-chart .main-svg").first).to_be_visible()
        tab.wait_for_timeout(3000)
        heard: list[int] = []
        tab.on("response", lambda response: heard.append(len(response.body())))
        for n in range(20):
            run_folders.write(long, run_folders.step(50_000 + 1000 * n))
            tab.wait_for_timeout(500)
        seconds = 10
    assert len(heard) >= seconds and max(heard) <= 10_000 and sum(heard) <= 10_000 * (seconds + 1)


def test_a_run_is_renamed_and_deleted_after_a_question(come: Come, page: Page) -> None:
    run = ready(page, TINY, "to be deleted")
    visit = come(page.address, training(run))
    row = visit.tab.locator(f"#run-list li[data-run='{run.id}']")
    row.locator(".more").click()
    row.get_by_role("button", name="Rename", exact=True).click()
    row.locator("input").fill("<b>odd</b>")
    row.get_by_role("button", name="Rename", exact=True).click()
    expect(row.locator(".title")).to_have_text("<b>odd</b>")
    row.locator(".more").click()
    row.get_by_role("button", name="Delete", exact=True).click()
    expect(row).to_contain_text("Delete this run and all its snapshots?")
    assert run.folder.exists()
    row.get_by_role("button", name="Delete", exact=True).click()
    expect(row).to_have_count(0)
    assert not run.folder.exists()


def test_what_cannot_be_trained_is_said_beside_its_field(come: Come, page: Page) -> None:
    visit = come(page.address, "?tab=train")
    tab = visit.tab
    tab.locator("#train-settings button").first.click()
    tab.locator("#train-command-fold button").first.click()
    command = tab.locator("#train-command textarea")
    expect(command).to_have_value(re.compile("--preset sprint"))
    tab.locator("#train-num_heads input, #train-num_heads textarea").press_sequentially("3")
    expect(tab.locator("#train-num_heads[data-problem*='must be divisible by num_heads (3)']")).to_be_visible()
    tab.locator("#train-num_heads input, #train-num_heads textarea").press("Backspace")
    expect(tab.locator("[data-problem]")).to_have_count(0)
    expect(command).to_have_value(re.compile("--preset sprint"))


def test_who_clicks_a_tab_before_the_first_answer_stays_there(come: Come, page: Page) -> None:
    tab = come(page.address, None).tab
    tab.goto(f"{page.address}?tab=corpus", wait_until="commit")
    tab.get_by_role("tab", name="Compare", exact=True).click()
    tab.locator("body[data-runs]").wait_for()  # by now the server has answered
    tab.wait_for_timeout(1000)
    assert tab.evaluate("document.body.dataset.tab") == "compare"
    expect(tab.get_by_role("tab", name="Compare", exact=True)).to_have_attribute("aria-selected", "true")


@pytest.mark.slow
def test_a_run_is_downloaded_and_brought_in_again(come: Come, page: Page) -> None:
    shipped = RunStore(ROOT / "checkpoints").get("pretrained-nano")
    first = import_(page.store, export(shipped, page.home / "first.zip"))
    visit = come(page.address, training(first))
    tab = visit.tab
    tab.locator("#train-carry-fold > button").click()
    with tab.expect_download(timeout=60_000) as download:
        tab.locator("#train-download").click()
    assert download.value.suggested_filename == f"{first.id}.zip"
    with tab.expect_file_chooser() as chooser:
        tab.locator("#train-import").click()
    chooser.value.set_files(download.value.path().rename(page.home / "run.zip"))
    visit.wait_until(lambda: any(run.id in tab.url for run in page.store.list() if run.id != first.id))
    run = next(run for run in page.store.list() if run.id in tab.url)
    assert not run.read_only and run.events() == shipped.events()
    expect(tab.locator("#train-state")).to_contain_text("Finished: 1,000 steps")
    with tab.expect_file_chooser() as chooser:
        tab.locator("#train-import").click()
    (page.home / "odd.zip").write_bytes(b"no zip")
    chooser.value.set_files(page.home / "odd.zip")
    expect(tab.get_by_text("not a valid nano-llm run archive")).to_be_visible()
