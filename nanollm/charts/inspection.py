"""Inspection charts: head scores over training, the character map and context use.

Lines are labeled at their end and kinds of characters have symbols, because colors are reserved for runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from nanollm.charts.base import LIGHT, Figure, Palette, axis_title, blank_figure, escape_markup, glyph

# Marker of each kind in explain.embeddings.KINDS; kinds without one show the character only.
SYMBOLS = {
    "vowel": "circle-open",
    "upper case": "square-open",
    "digit": "diamond-open",
    "punctuation": "triangle-up-open",
    "space": "hexagram-open",
    "other": "x-thin-open",
}

MIN_LABELED = 0.25  # maximum score from which on the line of a pattern is labeled
LABEL_HEIGHT = 0.06  # of a label, as a share of the Y axis


def history_figure(
    steps: Sequence[int],
    scores: np.ndarray,
    patterns: Sequence[str],
    *,
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """Scores of one head (S, P), the shares of attention that follow each pattern, over the training steps.

    The step axis is logarithmic, because snapshots are log-spaced; step 0 is drawn at 1. NaN is left out. The pattern
    with the highest final score is emphasized; patterns that ever exceeded MIN_LABELED are labeled at their end.
    """
    figure = blank_figure("steps", "share of attention", logarithmic=True, revision=revision, palette=palette)
    x = [max(step, 1) for step in steps]
    last = np.nan_to_num(scores[-1]) if len(scores) else np.zeros(len(patterns))
    strong = int(last.argmax())
    figure["data"] = [
        _score_line(x, scores[:, index], name, index == strong, palette) for index, name in enumerate(patterns)
    ]
    highest = np.nan_to_num(scores).max(axis=0, initial=0.0)
    labeled = [index for index in range(len(patterns)) if x and (index == strong or highest[index] > MIN_LABELED)]
    figure["data"].append(_end_labels(x[-1:], last[labeled], [patterns[index] for index in labeled], palette))
    layout = figure["layout"]
    layout["yaxis"] |= {"range": [0, 1], "tickformat": ".0%"}
    layout |= {"showlegend": False, "hovermode": "x unified"}
    layout["margin"] = {**layout["margin"], "t": 12, "r": 132}
    layout["xaxis"]["dtick"] = 1  # powers of ten only
    return figure


def map_figure(
    points: np.ndarray,
    characters: Sequence[str],
    kinds: Sequence[str],
    shares: Sequence[float],
    *,
    reach: float | None = None,
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """Character map: the characters of a vocabulary at points (V, 2), with a marker for each kind.

    `shares` are the explained variances of the two axes. `reach` fixes the axes to ±reach, for a series of maps.
    """
    figure = blank_figure("", revision=revision, palette=palette)
    reach = reach or 1.05 * float(np.abs(points).max(initial=1e-9))
    figure["data"] = [
        _kind_trace(kind, [i for i, own in enumerate(kinds) if own == kind], points, characters, palette)
        for kind in dict.fromkeys(kinds)
    ]
    layout = figure["layout"]
    for axis, share in zip(("xaxis", "yaxis"), shares, strict=True):
        layout[axis] |= {"title": axis_title(f"{share:.0%} of variance"), "range": [-reach, reach]}
        layout[axis] |= {"showticklabels": False}
    layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
    layout |= {"showlegend": True, "hovermode": "closest", "transition": {"duration": 150}}
    return figure


class ContextUse(Protocol):
    """The input of context_figure(); see nanollm.explain.context_use.ContextUse for the arrays."""

    @property
    def first(self) -> np.ndarray: ...
    @property
    def last(self) -> np.ndarray: ...
    @property
    def by_position(self) -> np.ndarray: ...
    @property
    def by_position_error(self) -> np.ndarray: ...
    @property
    def lengths(self) -> np.ndarray: ...
    @property
    def truncated(self) -> np.ndarray: ...
    @property
    def truncated_error(self) -> np.ndarray: ...


def context_figure(use: ContextUse, *, palette: Palette = LIGHT) -> Figure:
    """Loss against context length with standard errors: with truncated context, and by position in the window."""
    lengths = use.lengths.tolist()
    figure = blank_figure("context length (characters)", logarithmic=True, palette=palette)
    # Position t has a context of t + 1 characters; a bin of positions is drawn at its geometric mean.
    centers = np.sqrt((use.first + 1.0) * (use.last + 1.0)).round(1).tolist()
    by_position = _line(centers, use.by_position.tolist(), "by position in the window", palette.quiet, 1)
    truncated = _line(lengths, use.truncated.tolist(), "same characters, truncated context", palette.text, 2)
    figure["data"] = [
        _with_error(by_position, use.by_position_error, palette),
        _with_error(truncated, use.truncated_error, palette),
    ]
    figure["layout"] |= {"showlegend": True, "hovermode": "closest"}
    figure["layout"]["xaxis"] |= {"tickvals": lengths, "ticktext": [str(length) for length in lengths]}
    return figure


def _with_error(line: Figure, errors: np.ndarray, palette: Palette) -> Figure:
    bars: dict[str, Any] = {"type": "data", "color": palette.quiet, "thickness": 1, "width": 3}
    bars["array"] = [round(float(error), 4) if np.isfinite(error) else 0.0 for error in errors]
    hover = "%{x} characters: %{y:.3f}<extra></extra>"
    return line | {"mode": "lines+markers", "marker": {"size": 5}, "error_y": bars, "hovertemplate": hover}


def _score_line(x: list[int], scores: np.ndarray, name: str, strong: bool, palette: Palette) -> Figure:
    y = [round(float(score), 3) if np.isfinite(score) else None for score in scores]
    line = _line(x, y, name, palette.text if strong else palette.quiet, 2 if strong else 1)
    return line | {"mode": "lines+markers", "marker": {"size": 4}, "hovertemplate": "%{y:.0%}"}


def _end_labels(x: list[int], y: np.ndarray, names: list[str], palette: Palette) -> Figure:
    """Labels at the ends of lines, moved up where they would overlap."""
    heights = y.astype(float)
    for below, above in pairwise(np.argsort(heights)):
        heights[above] = max(heights[above], heights[below] + LABEL_HEIGHT)
    return {
        "type": "scatter",
        "mode": "text",
        "x": x * len(names),
        "y": heights.round(3).tolist(),
        "text": [f"\u00a0{escape_markup(name)}" for name in names],
        "textfont": {"color": palette.text},
        "textposition": "middle right",
        "cliponaxis": False,
        "hoverinfo": "skip",
    }


def _kind_trace(
    kind: str, members: list[int], points: np.ndarray, characters: Sequence[str], palette: Palette
) -> Figure:
    marker = {"symbol": SYMBOLS.get(kind, "circle"), "size": 18, "color": palette.quiet, "line": {"width": 1}}
    if kind not in SYMBOLS:
        marker = {"symbol": "circle", "size": 18, "color": palette.surface}
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [round(float(points[i, 0]), 4) for i in members],
        "y": [round(float(points[i, 1]), 4) for i in members],
        "text": [glyph(characters[i]) for i in members],
        "textfont": {"family": "ui-monospace, Menlo, Consolas, monospace", "size": 12, "color": palette.text},
        "marker": marker,
        "name": kind,
        "hovertemplate": f"%{{text}}, {kind}<extra></extra>",
        "cliponaxis": False,
    }


def _line(x: Sequence[float], y: Sequence[float | None], name: str, color: str, width: int) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "y": [round(float(value), 4) if value is not None else None for value in y],
        "name": escape_markup(name),
        "line": {"color": color, "width": width},
    }
