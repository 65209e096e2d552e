"""The report of a scaling experiment works offline, draws all charts and fits a phone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from nanollm.experiments import report
from nanollm.experiments.results import read_results
from nanollm.runs.store import RunStore
from tests.conftest import ROOT
from tests.experiments.test_scaling import recorded
from tests.speed import assert_within


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    experiment = recorded(RunStore(folder / "checkpoints"))
    path = folder / "report.html"
    path.write_text(report.page(experiment, {run.id: "a sample " * 20 for run in experiment.runs()}), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize(("width", "theme", "surface"), [(1280, "light", "255, 255, 255"), (390, "dark", "27, 30, 36")])
def test_the_report_works_offline_in_both_themes(
    browser: Browser, address: str, width: int, theme: str, surface: str
) -> None:
    assert_report_is_complete(browser, address, width, theme, surface)


@pytest.mark.long
def test_a_scaled_down_experiment_gives_a_report_within_minutes(browser: Browser, tmp_path: Path) -> None:
    """Run the shortened command of TRAINING.md on the bundled text and check its results."""
    command = [
        sys.executable,
        "-m",
        "nanollm",
        "scale",
        "--corpus",
        "sample",
        "--num-steps-scale",
        "0.02",
        "--name",
        "look",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NANOLLM_HOME": str(tmp_path)}
    began = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3000)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert_within(seconds, 180)
    folder = tmp_path / "checkpoints" / "look"
    found = read_results(folder)
    runs, uniform = found["runs"], found["baselines"]["uniform"]
    assert [(run["preset"], run["state"], run["steps"]) for run in runs] == [
        ("nano", "completed", 20), ("small", "completed", 60), ("medium", "completed", 200),
    ]  # fmt: skip
    assert all(run["final_val_loss"] < uniform and run["sample"] and run["seconds"] > 0 for run in runs)
    assert_report_is_complete(browser, (folder / report.REPORT).as_uri(), 1280, "light", "255, 255, 255")


def assert_report_is_complete(browser: Browser, address: str, width: int, theme, surface: str) -> None:
    """Open a report offline and check its charts, samples, width and theme colors."""
    context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=theme, offline=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    page.goto(address)
    page.wait_for_function("document.querySelectorAll('.plot .xaxislayer-above').length === 5", timeout=120_000)
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".samples section").count() == 3
    color = page.evaluate("getComputedStyle(document.querySelector('figure')).backgroundColor")
    assert color == f"rgb({surface})"
    # The charts follow the theme too: Plotly's background has the surface color.
    assert surface in page.evaluate("document.querySelector('.plot .main-svg').style.background")
    context.close()
