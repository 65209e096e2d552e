"""A Plotly chart that is updated in place: unlike with `gr.Plot`, zoom, theme and width survive every update."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import gradio as gr

from nanollm.charts import base as charts
from playground.browser.static_files import Routes, packed
from playground.components.factory import component

# The page's colors for figures: names of CSS variables, which the browser resolves in the current theme.
TOKENS = charts.Palette(
    surface="var(--surface)",
    line="var(--line)",
    text="var(--text)",
    quiet="var(--quiet)",
    action="var(--action)",
    runs=tuple(f"var(--run-{slot})" for slot in range(1, len(charts.LIGHT.runs) + 1)),
    attention_from="var(--attention-from)",
    attention_to="var(--attention-to)",
    blocked="var(--page)",
)

PLOTLY_ROUTE = "/plotly.js"  # where the browser finds it (playground/components/plotly_chart.js)

# The constants of a chart are part of its template, not props: a gr.HTML that is not mounted yet loses its props when
# it gets a gr.skip().
TEMPLATE = """
<div class="chart-box" role="img" aria-label="{label}" style="{size}" data-empty="{empty}" data-fill="{fill}">
  <div class="chart-plot"></div>
  <p class="chart-note" hidden></p>
</div>
"""
# The tooltips of the labels, for touch screens, keyboards and screen readers.
LABELS = """<details class="fold chart-labels" hidden><summary>{labels}</summary><ul class="quiet"></ul></details>"""


def plotly_chart(
    figure: dict[str, Any] | None = None,
    *,
    label: str,
    elem_id: str,
    height: int = 360,
    square: bool = False,
    empty: str = "",
    fill: str = "",
    labels: str = "",
) -> gr.HTML:
    """A chart. Its value is a figure of `nanollm.charts.base`, or None to show the sentence `empty` instead.

    Args:
        label: accessible name.
        height: in pixels; fixed, so that the content below never moves.
        square: make the chart as high as it is wide, up to `height`.
        fill: function of plotly_fills.js that completes the figure with data the browser already has.
        labels: title of a fold below the chart that explains the figure's labels; empty for none.

    This server delivers plotly.js from the installed plotly package: no CDN, and always the matching version.
    """
    size = f"aspect-ratio: 1; max-height: {height}px" if square else f"height: {height}px"
    return component(
        "components/plotly_chart.js",
        TEMPLATE + (LABELS if labels else ""),
        figure,
        elem_id=elem_id,
        label=label,
        size=size,
        empty=empty,
        fill=fill,
        labels=labels,
    )


def plotly_route() -> Routes:
    """Return the route of plotly.js, compressed once: it is most of what a first visit loads."""
    return {PLOTLY_ROUTE: lambda: packed(str(plotly_js()), "text/javascript", "public, max-age=86400")}


def plotly_js() -> Path:
    """Return the path of the plotly.js in the installed plotly package, without importing plotly, which is slow."""
    spec = importlib.util.find_spec("plotly")
    assert spec is not None and spec.submodule_search_locations is not None, "plotly is a dependency"
    return Path(spec.submodule_search_locations[0], "package_data", "plotly.min.js").resolve()
