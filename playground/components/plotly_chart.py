"""A chart that is redrawn in place: zoom, theme and width survive every update, which `gr.Plot` cannot do."""

from __future__ import annotations

import importlib.util
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from nanollm.charts import base as charts
from playground.components import asset

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
LABELS = """<details class="fold chart-labels" hidden><summary>{}</summary><ul class="quiet"></ul></details>"""


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
    `label` is what a screen reader says. What the browser has already need not be sent: `window.nano.fills[fill]`
    completes the figure there. With `labels` a fold of that name below tells what the labels in the figure mean.
    plotly.js comes out of the installed plotly package, from this server (gate.py): no CDN, and always the version
    that fits.
    """
    size = f"aspect-ratio: 1; max-height: {height}px" if square else f"height: {height}px"
    constants = {"label": label, "size": size, "empty": empty, "fill": fill}
    return gr.HTML(
        figure,
        html_template=TEMPLATE.format_map({name: escape(text) for name, text in constants.items()})
        + (LABELS.format(escape(labels)) if labels else ""),
        js_on_load=asset("components/plotly_chart.js"),
        apply_default_css=False,
        elem_id=elem_id,
    )


def plotly_js() -> Path:
    """The plotly.js that the installed plotly package ships (found without importing plotly, which takes a while)."""
    spec = importlib.util.find_spec("plotly")
    assert spec is not None and spec.submodule_search_locations is not None, "plotly is one of our dependencies"
    return Path(spec.submodule_search_locations[0], "package_data", "plotly.min.js").resolve()
