"""Playback speed of the time bar on Sample and Attention: frames drawn and requests sent per second.

    python -m tests.benchmarks.time_bar [--json] [--model small] [--root FOLDER]

Chromium plays a pretrained model from its first to its last snapshot after the frames of all snapshots were prefetched,
so that the page is measured and not the model. A frame counts as drawn when the displayed content changes: the text on
Sample, the grid of heads on Attention. Its delay is the time from the slider's move to the first animation frame after
the change. `--root` serves the page of another checkout, to compare two versions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

from tests import serving
from tests.chromium import ARGUMENTS
from tests.conftest import ROOT

# The displayed content as a string that changes with each frame; for the canvas, its bytes.
SHOWN = {
    "sample": "() => document.querySelector('#sample-text .letters').textContent",
    "attention": "() => document.querySelector('#attention-grid canvas').toDataURL()",
}
READY = {
    "sample": "document.querySelectorAll('#sample-text .letters span').length > 300",
    "attention": "document.querySelector('#attention-grid canvas')?.width > 0",
}
# Plays from the first to the last snapshot and measures the milliseconds from each move of the slider to the change.
PLAY = """(shown) => new Promise((done) => {
  const read = eval(shown);
  const output = document.querySelector("#time-bar output");
  const play = document.querySelector("#time-bar .play");
  const delays = [];
  let [step, picture, moved, began, blocked, last] = [output.textContent, read(), null, performance.now(), 0, 0];
  const look = (now) => {
    if (last && now - last > 50) blocked += now - last - 16;
    last = now;
    if (output.textContent !== step) {
      step = output.textContent;
      moved = now;
    }
    if (moved !== null) {
      const next = read();
      if (next !== picture) {
        delays.push(performance.now() - moved);
        picture = next;
        moved = null;
      }
    }
    const over = !play.classList.contains("on") && performance.now() - began > 1500;
    if (over) done({ delays, blocked, seconds: (performance.now() - began) / 1000 });
    else requestAnimationFrame(look);
  };
  play.click();
  requestAnimationFrame(look);
})"""


def play(tab: Tab, name: str) -> dict[str, float]:
    """Play all snapshots in the open tab once and return the measurements."""
    requests: list[str] = []
    note = lambda request: requests.append(request.url)  # noqa: E731
    tab.on("request", note)
    found = tab.evaluate(PLAY, SHOWN[name])
    tab.remove_listener("request", note)
    polls = sum("/run/" not in url and "/queue/" not in url and "component_server" not in url for url in requests)
    return {
        "frames": len(found["delays"]),
        "frames_per_second": len(found["delays"]) / found["seconds"],
        "requests_per_second": (len(requests) - polls) / found["seconds"],
        "delay_ms": statistics.median(found["delays"]) if found["delays"] else float("nan"),
        "blocked_ms_per_second": found["blocked"] / found["seconds"],
    }


def measure(root: Path, model: str) -> dict[str, Any]:
    """Play Sample and Attention of the page in a checkout, each twice; the first playback prefetches the frames."""
    serving.ROOT = root
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        shutil.copytree(ROOT / "checkpoints" / "pretrained", Path(home) / "checkpoints" / "pretrained")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        found = {}
        with serving.serve(Path(home)) as page:
            for name in SHOWN:
                tab = browser.new_page(viewport={"width": 1280, "height": 900})
                tab.set_default_timeout(120_000)
                tab.goto(f"{page.address}?tab={name}&run=pretrained-{model}")
                tab.wait_for_function(READY[name])
                tab.wait_for_timeout(5000)
                play(tab, name)
                tab.wait_for_timeout(3000)
                found[name] = play(tab, name)
                tab.close()
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--model", default="small", help="pretrained model to play")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout whose page is served")
    arguments = parser.parse_args()
    found = measure(arguments.root, arguments.model)
    if arguments.json:
        return print(json.dumps(found))
    for name, figures in found.items():
        print(f"{name:10}", ", ".join(f"{key.replace('_', ' ')} {value:.2f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
