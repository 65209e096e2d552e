"""A chart that is redrawn in place: zoom, theme and width survive every update, which `gr.Plot` cannot do."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import gradio as gr

from nanollm.charts import base as charts
from playground.components.factory import component
from playground.services.static_files import Routes, packed

# The page's colours for figures: names of the style sheet, which the browser fills in, in the theme of the moment.
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

# The constants of a chart are part of its template, not props: while a gr.HTML is not mounted yet, a gr.skip() for it
# makes it lose its props.
TEMPLATE = """
<div class="chart-box" role="img" aria-label="{label}" style="{size}" data-empty="{empty}" data-fill="{fill}">
  <div class="chart-plot"></div>
  <p class="chart-note" hidden></p>
</div>
"""
# What shows where a pointer rests on a label, for whoever has none: a finger, a keyboard, a screen reader.
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
    """A component whose value is a figure of `nanollm.charts.base`, or None to show the sentence `empty` instead.

    Its height never changes, so that nothing below it jumps; a `square` one is as high as it is wide, up to `height`.
    `label` is what a screen reader says. What the browser has already need not be sent: the function `fill` of
    plotly_fills.js completes the figure there. With `labels` a fold of that name below explains the figure's labels.
    plotly.js comes from the installed plotly package and from this server: no CDN, and always the version that fits.
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
    """The route on which the browser finds plotly.js, compressed once: it is most of what a first visit loads."""
    return {PLOTLY_ROUTE: lambda: packed(str(plotly_js()), "text/javascript", "public, max-age=86400")}


def plotly_js() -> Path:
    """The plotly.js that the installed plotly package ships (found without importing plotly, which takes a while)."""
    spec = importlib.util.find_spec("plotly")
    assert spec is not None and spec.submodule_search_locations is not None, "plotly is one of our dependencies"
    return Path(spec.submodule_search_locations[0], "package_data", "plotly.min.js").resolve()
