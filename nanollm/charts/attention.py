"""Where one head looks, as a heatmap (see charts.py). Axes count positions: Plotly would merge equal characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanollm.charts.base import LIGHT, Figure, Palette, glyph, ruled, titled


def attention_figure(
    weights: np.ndarray | Sequence[Sequence[float]],
    characters: Sequence[str],
    *,
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """One head's weights (T, T) as a heatmap: each row is a character, its cells are where that character looks.

    What lies ahead of a character is left blank: the model cannot look there.
    """
    grid = np.asarray(weights, dtype=float)
    figure = attention_frame(characters, revision=revision, palette=palette)
    glyphs = figure["layout"]["xaxis"]["ticktext"]
    cells = np.where(np.isfinite(grid), grid, 0.0).round(3).astype(object)
    cells[np.triu_indices(len(glyphs), 1)] = None
    hover = [[f"{row} → {column}" for column in glyphs[: i + 1]] for i, row in enumerate(glyphs)]
    figure["data"][0] |= {"z": cells.tolist(), "text": hover, "zmax": brightest(grid)}
    return figure


def attention_frame(characters: Sequence[str], *, revision: str | None = None, palette: Palette = LIGHT) -> Figure:
    """The same without its cells, for who has the weights already."""
    glyphs = [glyph(character) for character in characters]
    positions = list(range(len(glyphs)))
    ticks = {"tickmode": "array", "tickvals": positions, "ticktext": glyphs, "tickangle": 0, "showgrid": False}
    layout = ruled("the character it looks at", left=0, right=1, revision=revision, palette=palette)["layout"]
    layout["xaxis"] |= {**ticks, "constrain": "domain"}
    layout["yaxis"] |= {**ticks, "title": titled("the character that looks"), "autorange": "reversed"}
    layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
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


def brightest(grid: np.ndarray) -> float:
    """The weight drawn in the strongest colour. The first rows do not count: with so little behind it, any character
    must look hard at something."""
    settled = grid[4:] if len(grid) > 8 else grid
    return round(max(0.1, float(np.nanmax(settled, initial=0.0))), 3)
