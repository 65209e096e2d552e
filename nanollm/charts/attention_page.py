"""Where every head looks, as one page that needs no network: a heatmap, and a menu of the heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nanollm.charts.attention import attention_figure
from nanollm.charts.base import Figure, write_html

MAX_CELLS = 4_000_000  # of all heatmaps together, some 24 MB; of more, only the chosen head's goes into the page


def write_attention_page(
    weights: np.ndarray, characters: Sequence[str], path: str | Path, *, layer: int = 0, head: int = 0
) -> None:
    """Write the attention of all heads, weights (L, H, T, T) over T characters; the chosen head is shown first.

    Layers and heads count from 0 here, from 1 in the menu. Raises OSError if the file cannot be written.
    """
    write_html(_with_menu(weights, characters, layer, head), path)


def _with_menu(weights: np.ndarray, characters: Sequence[str], layer: int, head: int) -> Figure:
    figure = attention_figure(weights[layer, head], characters)
    L, H = weights.shape[:2]
    shown = list(np.ndindex(L, H)) if weights.size <= MAX_CELLS else [(layer, head)]
    figure["layout"]["updatemenus"] = [
        {
            "buttons": [_button(weights[at], characters, f"L{at[0] + 1}·H{at[1] + 1}") for at in shown],
            "active": shown.index((layer, head)),
            **{"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 4}},
        }
    ]
    figure["layout"]["margin"] |= {"t": 56}  # room for the menu
    return figure


def _button(weights: np.ndarray, characters: Sequence[str], label: str) -> Figure:
    heatmap = attention_figure(weights, characters)["data"][0]
    return {"label": label, "method": "restyle", "args": [{"z": [heatmap["z"]], "zmax": [heatmap["zmax"]]}]}
