"""Heatmaps of attention weights: one head as a figure, all heads as an HTML page.

Axes use character positions rather than the characters, because Plotly would merge equal category labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nanollm.charts.base import LIGHT, Figure, Palette, blank_figure, glyph, write_html

MAX_CELLS = 4_000_000  # of all heatmaps of a page, about 24 MB; above it, the page contains the chosen head only


def attention_figure(weights: np.ndarray | Sequence[Sequence[float]], characters: Sequence[str]) -> Figure:
    """Heatmap of one head's weights (T, T): row t shows the attention from character t to each character s ≤ t.

    Cells with s > t are left blank, because attention is causal.
    """
    grid = np.asarray(weights, dtype=float)
    figure = attention_frame(characters)
    glyphs = figure["layout"]["xaxis"]["ticktext"]
    cells = np.where(np.isfinite(grid), grid, 0.0).round(3).astype(object)
    cells[np.triu_indices(len(glyphs), 1)] = None
    hover = [[f"{row} → {column}" for column in glyphs[: i + 1]] for i, row in enumerate(glyphs)]
    figure["data"][0] |= {"z": cells.tolist(), "text": hover, "zmax": color_limit(grid)}
    return figure


def attention_frame(characters: Sequence[str], *, revision: str | None = None, palette: Palette = LIGHT) -> Figure:
    """attention_figure() with empty cells, for a caller that fills in the weights later."""
    glyphs = [glyph(character) for character in characters]
    positions = list(range(len(glyphs)))
    ticks = {"tickmode": "array", "tickvals": positions, "ticktext": glyphs, "tickangle": 0, "showgrid": False}
    titles = "attention to (key)", "attention from (query)"
    layout = blank_figure(*titles, revision=revision, palette=palette)["layout"]
    layout["xaxis"] |= {**ticks, "constrain": "domain"}
    layout["yaxis"] |= {**ticks, "constrain": "domain", "scaleanchor": "x", "autorange": "reversed"}
    for axis in ("xaxis", "yaxis"):
        layout[axis]["tickfont"] = {"family": "ui-monospace, Menlo, Consolas, monospace", "size": 11}
    heatmap = {
        "type": "heatmap",
        "z": [],
        "text": [],
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, palette.attention_from], [1, palette.attention_to]],
        "hovertemplate": "%{text}: %{z:.1%}<extra></extra>",
        "hoverongaps": False,
        "colorbar": {"thickness": 8, "outlinewidth": 0, "tickformat": ".0%", "nticks": 3, "len": 0.6},
    }
    layout |= {"plot_bgcolor": palette.blocked}
    return {"data": [heatmap], "layout": layout}


def color_limit(grid: np.ndarray) -> float:
    """The weight drawn in the strongest color: the largest one, ignoring the first rows of a long text.

    The first characters have few others to attend to, so their weights are always large.
    """
    scaled = grid[4:] if len(grid) > 8 else grid
    return round(max(0.1, float(np.nanmax(scaled, initial=0.0))), 3)


def write_attention_page(
    weights: np.ndarray, characters: Sequence[str], path: str | Path, *, layer: int = 0, head: int = 0
) -> None:
    """Write a self-contained HTML page with a heatmap and a menu of all heads, weights (L, H, T, T).

    The given head is shown first. Layers and heads count from 0 here, from 1 in the menu. Raises OSError.
    """
    figure = attention_figure(weights[layer, head], characters)
    heads = list(np.ndindex(*weights.shape[:2])) if weights.size <= MAX_CELLS else [(layer, head)]
    figure["layout"]["updatemenus"] = [
        {
            "buttons": [_button(weights[at], characters, f"L{at[0] + 1}·H{at[1] + 1}") for at in heads],
            "active": heads.index((layer, head)),
            **{"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 4}},
        }
    ]
    figure["layout"]["margin"] |= {"t": 56}  # room for the menu
    write_html(figure, path)


def _button(weights: np.ndarray, characters: Sequence[str], label: str) -> Figure:
    heatmap = attention_figure(weights, characters)["data"][0]
    return {"label": label, "method": "restyle", "args": [{"z": [heatmap["z"]], "zmax": [heatmap["zmax"]]}]}
