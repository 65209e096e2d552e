"""The Train tab in a browser: the buttons of a run, the live chart, the doctor's advice and the run list."""

from __future__ import annotations

import csv
import io
import re

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
from tests.browser.conftest import OpenVisit
from tests.browser.visit import Visit
from tests.conftest import ROOT
from tests.serving import Page

pytestmark = pytest.mark.usefixtures("end_runs")

# So small that starting the worker process takes longer than training.
TINY = dict(
    embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=16, batch_size=4, eval_interval=200,
    checkpoint_interval=500, precision="float32", threads=1,
)  # fmt: skip
# Longer than any test, but it ends within minutes if the tests are killed before they can stop it.
LONG = {**TINY, "num_steps": 200_000, "log_interval": 20}


def create_queued(page: Page, settings: dict, title: str) -> Run:
    """Create a queued run on the bundled text; the page's server starts it."""
    corpus = CorpusStore(page.home / "data" / "corpora").list()[0]
    return page.store.create(settings=settings, corpus=corpus, preset="nano", title=title)


def create_paused(page: Page, settings: dict, title: str) -> Run:
    """Create a run on the bundled text that is paused at step 0."""
    corpus = CorpusStore(page.home / "data" / "corpora").list()[0]
    return page.store.create(settings=settings, corpus=corpus, preset="nano", title=title, queued=False)


def train_query(run: Run) -> str:
    """Return the query that shows a run in Train."""
    return f"?tab=train&run={run.id}"


def step(page: Page, run: Run) -> int:
    return page.store.get(run.id).status().step


def stop(visit: Visit) -> None:
    visit.tab.locator("#train-stop").click()
    expect(visit.tab.locator("#train-state")).to_contain_text("Stopped at step")


@pytest.mark.slow
def test_pause_resume_stop_continue_and_fork_a_run(open_visit: OpenVisit, page: Page) -> None:
    first = create_queued(page, LONG, "the first")
    second = create_queued(page, LONG, "the second")
    visit = open_visit(page.address, train_query(first))
    tab, state = visit.tab, visit.tab.locator("#train-state")
    visit.wait_until(lambda: step(page, first) > 0)
    expect(state).to_contain_text("Training")
    expect(tab.locator(".train-setup")).to_be_hidden()  # the preset cards are hidden while a run trains

    tab.locator("#train-pause").click()
    expect(state).to_contain_text("Paused at step")
    paused = step(page, first)
    tab.locator("#train-resume").click()
    expect(state).to_contain_text("in line")  # the second run trains meanwhile
    expect(state).to_contain_text(re.compile(r"about \d+ (s|min)|about [\d.]+ h"))
    stop_elsewhere(page, second)
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


def stop_elsewhere(page: Page, run: Run) -> None:
    """Stop a run from outside of the page."""
    from nanollm.runs.process.launcher import Launcher

    launcher = Launcher(page.store, page.home / "data" / "corpora")
    launcher.stop(run.id)
    launcher.close()


@pytest.mark.slow
def test_a_live_run_updates_in_all_tabs_and_keeps_the_zoom(open_visit: OpenVisit, page: Page) -> None:
    other = create_paused(page, TINY, "another")
    run_folders.write(other, run_folders.evaluated(0, 4.0), run_folders.evaluated(500, 2.0))
    run = create_queued(page, LONG, "live")
    visit, second = open_visit(page.address, train_query(run)), open_visit(page.address, train_query(run), width=390)
    tab = visit.tab
    for one in (visit, second):
        expect(one.tab.locator("#train-numbers")).to_contain_text("perplexity")
        expect(one.tab.locator("#train-chart .nsewdrag")).to_be_visible()
        expect(one.tab.locator("#train-progress .facts")).to_contain_text(re.compile(r"step [1-9]"))
    # The run list is updated while the mouse button is held down, and the click still works.
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
    expect(tab.locator("#train-chart .annotation-text")).to_have_count(4)  # the baselines

    zoomed = zoom_in(tab)

    def assert_zoom_is_kept(ticks: int) -> None:
        last = drawn(tab).last
        for _ in range(ticks):
            visit.wait_until(lambda last=last: drawn(tab).last > last)
            last = drawn(tab).last
            assert drawn(tab)[:2] == zoomed[:2]

    assert_zoom_is_kept(4)

    # An overlaid run has its own color.
    tab.locator("#train-overlays input").click()
    tab.locator("#train-overlays").get_by_role("option", name=other.title, exact=True).click()
    visit.wait_until(lambda: drawn(tab).lines > zoomed.lines)
    colors = tab.evaluate(
        "[...new Set(document.querySelector('#train-chart .chart-plot').data.map((t) => t.line.color))]"
    )
    assert len(colors) == 3  # two runs and the gray of the baselines
    tab.keyboard.press("Escape")
    assert_zoom_is_kept(2)
    tab.locator("#train-pause").click()
    tab.locator("#train-resume").click()
    assert_zoom_is_kept(2)
    tab.locator("#train-axis label", has_text="seconds").click()
    expect(tab.locator("#train-chart .xtitle")).to_have_text("elapsed seconds")
    stop(visit)
    expect(second.tab.locator("#train-state")).to_contain_text("Stopped at step")


@pytest.mark.slow
def test_the_doctors_advice_restarts_the_run_with_one_click(open_visit: OpenVisit, page: Page) -> None:
    problem = create_queued(
        page, {"learning_rate": 1.0, "num_steps": 30, "warmup_steps": 2, "log_interval": 2, "threads": 1}, "problem"
    )
    visit = open_visit(page.address, train_query(problem))
    tab = visit.tab
    expect(tab.locator("#train-doctor")).to_contain_text("learning rate is too high")
    visit.wait_until(lambda: not page.store.get(problem.id).status().active)
    tab.locator("#train-doctor button", has_text="Restart with learning rate 0.02").click()
    expect(tab.locator("#train-state")).to_contain_text(re.compile("Training|Preparing|in line|Finished"))
    fixed = page.store.list()[0]
    assert fixed.train_config.learning_rate == 0.02 and fixed.train_config.num_steps == 30
    expect(tab.locator("#train-state")).to_contain_text("Finished")
    expect(tab.locator("#train-doctor")).not_to_contain_text("too high")
    expect(tab).to_have_title(re.compile(r"✓ \d\.\d\d"))  # the title is updated with the run list

    # The table shows the differing settings, the better run first.
    tab.locator("#train-table-fold button").first.click()
    expect(tab.locator("#train-table td[data-column=learning_rate]").first).to_be_visible()
    assert tab.locator("#train-table .sheet").evaluate("(sheet) => sheet.scrollWidth - sheet.clientWidth") <= 0
    losses = [float(cell) for cell in tab.locator("#train-table td:nth-child(2)").all_inner_texts() if cell != "–"]
    assert losses == sorted(losses) and len(losses) >= 2
    with tab.expect_download() as download:
        tab.locator("#train-table button", has_text="Save as CSV").click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_bytes().decode("utf-8-sig"))))
    assert rows[0] == tab.locator("#train-table th").all_inner_texts()
    assert {"problem", fixed.title} <= {row[0] for row in rows}


def test_a_copied_link_restores_run_snapshot_and_tab(open_visit: OpenVisit, page: Page) -> None:
    run = create_paused(page, TINY, "to be shown")
    for number in (0, 10, 20):
        run_folders.write(run, run_folders.step(number), run_folders.evaluated(number, 4.0 - number / 10))
        run_folders.checkpoint(run.folder, f"{number:08}", number)
    visit = open_visit(page.address, train_query(run))
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    expect(visit.tab.locator("#time-bar output")).to_contain_text("step 20")
    visit.slider().focus()
    visit.tab.keyboard.press("ArrowLeft")
    visit.tab.wait_for_function("location.search.includes('step=10')")
    visit.tab.locator("#copy-link").click()
    expect(visit.tab.locator("#copy-link")).to_have_text("Copied")
    link = visit.tab.evaluate("navigator.clipboard.readText()")

    # On a phone, where the form is folded.
    second = create_paused(page, {**TINY, "num_steps": 500}, "another to be shown")
    other = open_visit(page.address, link, width=390, height=800, touch=True).tab
    expect(other.locator("#time-bar output")).to_contain_text("step 10")
    expect(other.locator("#time-bar select")).to_have_value(run.id)
    expect(other.locator("body[data-tab=train]")).to_be_visible()
    expect(other.locator("#train-numbers")).to_be_in_viewport()
    expect(other.locator("#train-start")).to_be_hidden()
    expect(other.locator("#train-new-run-hint")).to_contain_text("the snapshot selected on the time bar")
    other.locator("#train-chart .chart-labels summary").tap()  # touch screens cannot hover
    expect(other.locator("#train-chart .chart-labels li")).to_contain_text("the same probability")
    expect(other.locator("#train-scale").get_by_text("X scale")).to_be_visible()
    other.locator("#train-table-fold button").first.click()
    expect(other.locator("#train-table td").first).to_be_in_viewport()
    assert other.locator("#train-table .sheet").evaluate("(sheet) => sheet.scrollWidth - sheet.clientWidth") <= 0
    expect(other.locator("#train-numbers")).not_to_be_in_viewport()
    other.locator("#time-bar select").select_option(second.id)
    expect(other.locator("#train-state")).to_contain_text("Paused at step 0")
    expect(other.locator("#train-numbers")).to_be_in_viewport()  # selecting another run scrolls to it
    other.locator("#train-again").click()
    expect(other.locator("#train-start")).to_be_visible()


@pytest.mark.long
def test_updates_stay_below_10_kb(open_visit: OpenVisit, page: Page) -> None:
    """With a growing long run, the maximum number of overlays, the gradients chart open, and forty listed runs."""
    others = [create_paused(page, TINY, f"a run with a rather long name {n}") for n in range(40)]
    long = create_paused(page, {**TINY, "num_steps": 100_000}, "long")
    for run in (*others[-MAX_OVERLAYS:], long):
        rows = (run_folders.step(n) if n % 500 else run_folders.evaluated(n, 2.0) for n in range(0, 50_000, 10))
        run_folders.write(run, *rows)
        write_status(run.folder, "running", step=0)
    with Heartbeat(long.folder):
        visit = open_visit(page.address, train_query(long))
        tab = visit.tab
        tab.locator("#train-gradients-fold button").first.click()
        for run in others[-MAX_OVERLAYS:]:
            tab.locator("#train-overlays input").click()
            tab.locator("#train-overlays").get_by_role("option", name=run.title, exact=True).click()
        tab.keyboard.press("Escape")
        visit.wait_until(lambda: drawn(tab).lines >= 3 + MAX_OVERLAYS)
        expect(tab.locator("#train-gradients-chart .main-svg").first).to_be_visible()
        tab.wait_for_timeout(3000)
        sizes: list[int] = []
        tab.on("response", lambda response: sizes.append(len(response.body())))
        for n in range(20):
            run_folders.write(long, run_folders.step(50_000 + 1000 * n))
            tab.wait_for_timeout(500)
        seconds = 10
    assert len(sizes) >= seconds and max(sizes) <= 10_000 and sum(sizes) <= 10_000 * (seconds + 1)


def test_a_run_can_be_renamed_and_deleted_after_confirmation(open_visit: OpenVisit, page: Page) -> None:
    run = create_paused(page, TINY, "to be deleted")
    visit = open_visit(page.address, train_query(run))
    row = visit.tab.locator(f"#run-list li[data-run='{run.id}']")
    row.locator(".more").click()
    row.get_by_role("button", name="Rename", exact=True).click()
    row.locator("input").fill("<b>bold</b>")
    row.get_by_role("button", name="Rename", exact=True).click()
    expect(row.locator(".title")).to_have_text("<b>bold</b>")
    row.locator(".more").click()
    row.get_by_role("button", name="Delete", exact=True).click()
    expect(row).to_contain_text("Delete this run and all its snapshots?")
    assert run.folder.exists()
    row.get_by_role("button", name="Delete", exact=True).click()
    expect(row).to_have_count(0)
    assert not run.folder.exists()


def test_an_invalid_setting_is_reported_beside_its_field(open_visit: OpenVisit, page: Page) -> None:
    visit = open_visit(page.address, "?tab=train")
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


def test_a_tab_clicked_before_the_first_response_stays_selected(open_visit: OpenVisit, page: Page) -> None:
    tab = open_visit(page.address, None).tab
    tab.goto(f"{page.address}?tab=corpus", wait_until="commit")
    tab.get_by_role("tab", name="Compare", exact=True).click()
    tab.locator("body[data-runs]").wait_for()  # set after the server's first response
    tab.wait_for_timeout(1000)
    assert tab.evaluate("document.body.dataset.tab") == "compare"
    expect(tab.get_by_role("tab", name="Compare", exact=True)).to_have_attribute("aria-selected", "true")


@pytest.mark.slow
def test_a_run_can_be_exported_and_imported(open_visit: OpenVisit, page: Page) -> None:
    shipped = RunStore(ROOT / "checkpoints").get("pretrained-nano")
    first = import_(page.store, export(shipped, page.home / "first.zip"))
    visit = open_visit(page.address, train_query(first))
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
    (page.home / "invalid.zip").write_bytes(b"not a zip file")
    chooser.value.set_files(page.home / "invalid.zip")
    expect(tab.get_by_text("not a valid nano-llm run archive")).to_be_visible()
