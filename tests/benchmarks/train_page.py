"""Speed of the Train tab, measured in Chromium on the page that `python app.py` starts.

    python -m tests.benchmarks.train_page [--json] [--rounds 3]

Measures the seconds from the click on Start training to the first point on the chart (for the first run on this
machine, which is calibrated before training, and for later runs) and to the first training loss; the seconds from
selecting a run with a million recorded steps to its chart, on a server that has not read it before; the bytes sent per
second while a run trains; and, over whole runs with the page open, the duration against the prediction on the preset's
card, the time to the first sample after step 10, and the time that clicks take meanwhile.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab

from nanollm.data.corpus import CorpusStore
from nanollm.runs import run_files
from nanollm.runs.record import write_status
from nanollm.train import events
from tests.chromium import ARGUMENTS
from tests.run_folders import evaluated, step
from tests.serving import Page, end_all, serve

FIRST, MILLION, TICK = 4.0, 1.0, 10_000  # seconds, seconds, bytes: at most
FINISHED, SAMPLED, CLICK = 1.3, 3.0, 0.3  # times the prediction, seconds, seconds: at most
PATIENCE = 120_000  # milliseconds
# Clicks an element and returns the seconds until the chart of the Train tab shows another run with enough points.
TIMED = """([selector, name, points]) => new Promise((done) => {
  const plot = document.querySelector("#train-chart .chart-plot");
  const began = performance.now();
  const before = plot.layout?.uirevision;
  document.querySelector(selector).click();
  (function look() {
    const line = plot.layout?.uirevision !== before && plot.data?.find((trace) => trace.name === name);
    if (line && line.x.length >= points) return done((performance.now() - began) / 1000);
    requestAnimationFrame(look);
  })();
})"""


# Starts a run and returns its seconds until the first sample after step 10, until it has finished, and of each click on
# the radio buttons of the X axis in the meantime, until the chart has the new axis.
WATCHED = """() => new Promise((done) => {
  const began = performance.now();
  const seconds = (since) => (performance.now() - since) / 1000;
  const clicks = [];
  let sampled = null;
  let pending = null;
  document.querySelector("#train-start").click();
  (function look() {
    const steps = [...document.querySelectorAll(".train-live .strips .step")];
    if (sampled === null && steps.some((step) => Number(step.textContent.replace(/\\D/g, "")) >= 10)) {
      sampled = seconds(began);
    }
    const title = document.querySelector("#train-chart .xtitle")?.textContent;
    if (pending && title !== pending.title) {
      clicks.push(seconds(pending.since));
      pending = null;
    }
    const view = document.querySelector(".train-view").dataset.run;
    if (view === "completed" && sampled !== null) return done({ sampled, finished: seconds(began), clicks });
    if (sampled !== null && !pending && seconds(began) > clicks.length / 2 + sampled) {
      const axis = title === "steps" ? 1 : 0;
      pending = { title, since: performance.now() };
      document.querySelectorAll("#train-axis label input")[axis].click();
    }
    setTimeout(look, 10);
  })();
})"""


def watched(page: Page, browser: Browser, preset: int) -> dict[str, Any]:
    """A whole run of a preset (by its position), with the page open: the predicted and the actual seconds."""
    tab = opened(browser, page, "")
    tab.set_default_timeout(20 * PATIENCE)
    card = tab.locator("#train-preset label").nth(preset)
    tab.wait_for_function(
        "(n) => /here/.test(document.querySelectorAll('#train-preset label')[n].textContent)", arg=preset
    )
    predicted = re.search(r"about (\d+) (s|min) here", card.inner_text())
    assert predicted, card.inner_text()
    card.click()
    tab.wait_for_timeout(1000)
    found = tab.evaluate(WATCHED)
    tab.close()
    found["predicted"] = int(predicted[1]) * (60 if predicted[2] == "min" else 1)
    clicks = sorted(found.pop("clicks"))
    return {**found, "p95 of clicks": clicks[int(0.95 * (len(clicks) - 1))], "clicks": len(clicks)}


def started(page: Page, browser: Browser, name: str) -> float:
    """Seconds from the click on Start training to the first point of a line; stops the run afterwards."""
    tab = opened(browser, page, "")
    seconds = tab.evaluate(TIMED, ["#train-start", name, 1])
    tab.close()
    end_all(page.home)
    return seconds


def opened(browser: Browser, page: Page, run: str) -> Tab:
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(f"{page.address}?tab=train&run={run}")
    tab.locator("#train-chart .nsewdrag").wait_for()
    tab.wait_for_timeout(1000)
    return tab


def long_run(page: Page) -> str:
    """Create a finished run with a million recorded steps and return its id."""
    corpus = CorpusStore(page.home / "data" / "corpora").list()[0]
    run = page.store.create(settings={"num_steps": 1_000_000}, corpus=corpus, preset="nano", queued=False)
    line = events.to_json(step(1234567, loss=1.2345678901234567, seconds=12345.6789))
    with open(run.folder / run_files.METRICS, "w") as file:
        for n in range(1, 1_000_001):
            file.write((line.replace("1234567", str(n), 1) if n % 5000 else events.to_json(evaluated(n, 2.0))) + "\n")
    write_status(run.folder, "completed", step=1_000_000)
    return run.id


def ticks(page: Page, browser: Browser, seconds: int) -> float:
    """Bytes per second while a run trains, with the gradient chart open."""
    tab = opened(browser, page, "")
    tab.locator("#train-preset label").nth(2).click()  # small
    tab.wait_for_timeout(1000)
    tab.locator("#train-start:enabled").click()
    tab.locator("#train-gradients-fold button").first.click()
    tab.wait_for_function("document.querySelector('#train-progress .facts')?.textContent.match(/^step [1-9]/)")
    sizes: list[int] = []
    tab.on("response", lambda response: sizes.append(len(response.body())))
    tab.wait_for_timeout(1000 * seconds)
    tab.close()
    end_all(page.home)
    return sum(sizes) / seconds


def measured(rounds: int) -> dict[str, Any]:
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as home:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        with serve(Path(home)) as page:
            found: dict[str, Any] = {"first ever": started(page, browser, "validation")}
            found["first point"] = sorted(started(page, browser, "validation") for _ in range(rounds))
            found["first loss"] = sorted(started(page, browser, "training") for _ in range(rounds))
            found["whole runs"] = [watched(page, browser, 0) for _ in range(rounds)]  # sprint
            found["bytes a second"] = ticks(page, browser, 20)
            million = long_run(page)
        with serve(Path(home)) as page:  # a server that has not read the run
            tab = opened(browser, page, next(run.id for run in page.store.list() if run.id != million))
            time.sleep(2)
            found["a million steps"] = tab.evaluate(TIMED, [f"[data-run='{million}'] .pick", "training", 50])
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found = measured(arguments.rounds)
    if arguments.json:
        return print(json.dumps(found, indent=1))
    print(
        f"first click to first point: {found['first point'][0]:.2f} s at best of {arguments.rounds} (at most {FIRST} s)"
    )
    print(f"first click to the first training loss: {found['first loss'][0]:.2f} s at best")
    print(f"first run on a machine, with calibration: {found['first ever']:.2f} s")
    for run in found["whole runs"]:
        print(
            f"a whole sprint on the bundled text: predicted {run['predicted']} s, finished after "
            f"{run['finished']:.1f} s (at most {FINISHED} ×), first sample after step 10 at {run['sampled']:.1f} s "
            f"(at most {SAMPLED} s), p95 of {run['clicks']} clicks {run['p95 of clicks']:.2f} s (at most {CLICK} s)"
        )
    print(f"a million recorded steps, click to chart: {found['a million steps']:.2f} s (at most {MILLION} s)")
    print(
        f"while a run trains, gradient chart open: {found['bytes a second']:,.0f} bytes per second (at most {TICK:,})"
    )


if __name__ == "__main__":
    main()
