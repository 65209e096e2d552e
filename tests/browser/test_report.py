"""The report of a scaling experiment opens without a network, draws all its charts and fits a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from nanollm.experiments import report
from nanollm.runs.store import RunStore
from tests.test_scaling import recorded


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    experiment = recorded(RunStore(folder / "checkpoints"))
    path = folder / "report.html"
    path.write_text(report.page(experiment, {run.id: "a sample " * 20 for run in experiment.runs()}), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize(("width", "theme", "surface"), [(1280, "light", "255, 255, 255"), (390, "dark", "27, 30, 36")])
def test_it_draws_everything_by_itself(browser: Browser, address: str, width: int, theme, surface: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=theme, offline=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    page.goto(address)
    page.wait_for_function("document.querySelectorAll('.plot .xaxislayer-above').length === 5", timeout=30_000)
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".samples section").count() == 3
    colour = page.evaluate("getComputedStyle(document.querySelector('figure')).backgroundColor")
    assert colour == f"rgb({surface})"
    # The charts follow the theme, too: plotly paints its paper in the surface's colour.
    assert surface in page.evaluate("document.querySelector('.plot .main-svg').style.background")
    context.close()
