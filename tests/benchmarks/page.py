"""Speed of the Sample tab: time to the first character, characters per second, and bytes sent.

    python -m tests.benchmarks.page [--json] [--rounds 20] [--models nano small medium]

Chromium generates with the pretrained models on the page that `python app.py` starts. The first character is timed in
the browser, from the click to the DOM change that adds the first letter after the prompt; first on an idle machine,
then while a run trains on it. The speed is measured over 5,000 characters, from the first to the last; the bytes are
those of the response stream for 400 and for 4,000 characters.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab

from nanollm.data.corpus import CorpusStore
from nanollm.runs.store import Run
from tests.chromium import ARGUMENTS
from tests.conftest import ROOT
from tests.serving import Page, serve

SHORT, LONG = 50, 5_000  # characters of a text whose beginning is timed, and of one whose speed is
SIZES = {400: "Once ", 4_000: "Then "}  # characters whose bytes are counted, and a prompt for each
PATIENCE = 120_000  # milliseconds
FIRST = {"idle": 0.3, "training": 1.0}  # seconds that the first character may take, p95
SPEED, BYTES = 2_000, 100_000  # characters a second at least; bytes of 400 characters at most

# Clicks the generate button and times the first letter after the prompt and the last letter of the text.
TIMED = """([prompt, length]) => new Promise((done) => {
  const letters = document.querySelector("#sample-text .letters");
  const began = performance.now();
  let first = 0;
  const observer = new MutationObserver(() => {
    const written = letters.textContent.startsWith(prompt) ? letters.childElementCount - prompt.length : 0;
    if (written > 0) first ||= performance.now();
    if (written < length) return;
    observer.disconnect();
    done({ first: (first - began) / 1000, rest: (performance.now() - first) / 1000 });
  });
  observer.observe(letters, { childList: true });
  document.getElementById("sample-write").click();
})"""
# Whether the frames of all snapshots were prefetched, so that nothing is being computed any more.
AHEAD = """async ([run, prompt, length]) => {
  const { runs } = await nanollm.load("browser/runs.js");
  const { textFrame } = await nanollm.load("browser/frames.js");
  const steps = runs().find((row) => row.id === run).steps;
  const request = { run, prompt, kept: "", max_length: length, temperature: 0.8, top_k: 40, seed: 42 };
  return steps.every((step) => textFrame({ ...request, step }));
}"""


def opened(browser: Browser, page: Page, run: Run) -> Tab:
    """The Sample tab with one model, after its first text is complete."""
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(f"{page.address}?tab=sample&run={run.id}&prompt=The")
    tab.wait_for_function("document.querySelectorAll('#sample-text .letters span').length === 403")
    tab.get_by_role("button", name="Seed and length").locator("visible=true").click()
    return tab


def set_length(tab: Tab, length: int) -> None:
    number = tab.locator("#sample-length input[type=number]")
    number.fill(str(length))
    number.press("Tab")


def write(tab: Tab, run: Run, prompt: str, length: int) -> dict[str, float]:
    """Seconds until the first character, and from the first to the last."""
    tab.locator("#sample-prompt textarea").fill(prompt)
    tab.wait_for_timeout(50)
    timed = tab.evaluate(TIMED, [prompt, length])
    tab.wait_for_function(AHEAD, arg=[run.id, prompt, length])
    return timed


def first_characters(tab: Tab, run: Run, rounds: int, mark: str) -> dict[str, float]:
    """Seconds until the first character over prompts that were not used before: median and 95th percentile."""
    set_length(tab, SHORT)
    prompts = [f"{mark} {chr(97 + i % 26) * (1 + i // 26)} " for i in range(rounds)]
    seconds = sorted(write(tab, run, prompt, SHORT)["first"] for prompt in prompts)
    return {"p50": statistics.median(seconds), "p95": seconds[math.ceil(0.95 * rounds) - 1]}


def stream_bytes(tab: Tab, run: Run, length: int) -> int:
    """Bytes of the response stream of one text; frames of other snapshots are separate requests and not included."""
    streams: set[str] = set()
    sizes: list[int] = []
    session = tab.context.new_cdp_session(tab)
    session.send("Network.enable")
    session.on(
        "Network.responseReceived",
        lambda event: streams.add(event["requestId"]) if "/queue/data" in event["response"]["url"] else None,
    )
    session.on("Network.dataReceived", lambda e: sizes.append(e["dataLength"]) if e["requestId"] in streams else None)
    set_length(tab, length)
    write(tab, run, SIZES[length], length)
    tab.wait_for_timeout(500)
    session.detach()
    return sum(sizes)


def measure(browser: Browser, page: Page, run: Run, rounds: int) -> dict[str, Any]:
    """All figures of one model on an otherwise idle machine."""
    tab = opened(browser, page, run)
    found: dict[str, Any] = {"idle": first_characters(tab, run, rounds, "The")}
    set_length(tab, LONG)
    found["characters_per_second"] = (LONG - 1) / write(tab, run, "And so ", LONG)["rest"]
    found["bytes"] = {length: stream_bytes(tab, run, length) for length in SIZES}
    tab.close()
    return found


def training(page: Page) -> None:
    """Start a run that trains until the page is stopped."""
    corpora = CorpusStore(page.home / "data" / "corpora")
    corpus = next(info for info in corpora.list() if info.bundled)
    run = page.store.create(settings={"num_steps": 1_000_000}, corpus=corpus, preset="small")
    while page.store.get(run.id).status().step < 1:
        time.sleep(0.2)


def measured(names: list[str], rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        shutil.copytree(ROOT / "checkpoints" / "pretrained", Path(home) / "checkpoints" / "pretrained")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        with serve(Path(home)) as page:
            runs = {name: run for name in names for run in page.store.list() if name in run.id}
            found = {name: measure(browser, page, run, rounds) for name, run in runs.items()}
            training(page)
            for name, run in runs.items():
                tab = opened(browser, page, run)
                found[name]["training"] = first_characters(tab, run, rounds, "Now")
                tab.close()
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--models", nargs="+", default=["nano", "small", "medium"])
    arguments = parser.parse_args()
    found = measured(arguments.models, arguments.rounds)
    if arguments.json:
        return print(json.dumps(found, indent=1))
    for name, figures in found.items():
        for state, most in FIRST.items():
            p50, p95 = figures[state].values()
            print(f"{name:>8}  first character, {state}: p50 {p50:.3f} s, p95 {p95:.3f} s (at most {most} s)")
        print(f"{name:>8}  {figures['characters_per_second']:,.0f} characters per second (at least {SPEED:,})")
        few, many = figures["bytes"].values()
        print(f"{name:>8}  {few:,} bytes for 400 characters (at most {BYTES:,}), {many:,} for 4,000")


if __name__ == "__main__":
    main()
