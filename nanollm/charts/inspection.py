"""The charts of what is found inside a model, as plain Plotly figures: see charts.py, whose axes these are.

Their lines are told apart by their names at the end, and kinds of characters by symbols: colours are for runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from nanollm.charts.base import LIGHT, Figure, Palette, glyph, literal, ruled, titled

# A sign for each kind of explain.embeddings.KINDS; without one, the character alone is drawn.
SIGNS = {
    "vowel": "circle-open",
    "upper case": "square-open",
    "digit": "diamond-open",
    "punctuation": "triangle-up-open",
    "space": "hexagram-open",
    "other": "x-thin-open",
}

MATTERED = 0.25  # share of a head's attention from which on a pattern is named
ROOM = 0.06  # of the axis of shares, which a name needs for itself


def history_figure(
    steps: Sequence[int],
    scores: np.ndarray,
    patterns: Sequence[str],
    *,
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """One head's scores (S, P), each the share of its attention that a pattern explains, over the steps of training.

    Steps are drawn on a logarithmic axis, for snapshots lie that way; step 0 stands where 1 would. NaN is left out.
    The pattern that ends highest is drawn strong, and those that ever mattered are named at their end.
    """
    figure = ruled("steps", left=1, right=max([*steps, 2]), logarithmic=True, revision=revision, palette=palette)
    x = [max(step, 1) for step in steps]
    last = np.nan_to_num(scores[-1]) if len(scores) else np.zeros(len(patterns))
    strong = int(last.argmax())
    figure["data"] = [
        _score_line(x, scores[:, index], name, index == strong, palette) for index, name in enumerate(patterns)
    ]
    most = np.nan_to_num(scores).max(axis=0, initial=0.0)
    named = [index for index in range(len(patterns)) if x and (index == strong or most[index] > MATTERED)]
    figure["data"].append(_names(x[-1:], last[named], [patterns[index] for index in named], palette))
    layout = figure["layout"]
    layout["yaxis"] |= {"title": titled("share of its attention"), "range": [0, 1], "tickformat": ".0%"}
    layout |= {"showlegend": False, "hovermode": "x unified"}
    layout["margin"] = {**layout["margin"], "t": 12, "r": 132}
    layout["xaxis"]["dtick"] = 1  # powers of ten alone
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
    """The characters of a vocabulary at their points (V, 2); each kind has a sign of its own.

    `reach` keeps the axes the same over several maps: how far from the middle they go.
    """
    figure = ruled("", left=0, right=1, revision=revision, palette=palette)
    reach = reach or 1.05 * float(np.abs(points).max(initial=1e-9))
    figure["data"] = [
        _kind_trace(kind, [i for i, own in enumerate(kinds) if own == kind], points, characters, palette)
        for kind in dict.fromkeys(kinds)
    ]
    layout = figure["layout"]
    for axis, share in zip(("xaxis", "yaxis"), shares, strict=True):
        layout[axis] |= {"title": titled(f"{share:.0%} of the variance"), "range": [-reach, reach]}
        layout[axis] |= {"showticklabels": False}
    layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
    layout |= {"showlegend": True, "hovermode": "closest", "transition": {"duration": 150}}
    return figure


class Meter(Protocol):
    """What a context chart reads; `explain.context.ContextMeter` is one, and says what each array is."""

    @property
    def first(self) -> np.ndarray: ...
    @property
    def last(self) -> np.ndarray: ...
    @property
    def along(self) -> np.ndarray: ...
    @property
    def along_error(self) -> np.ndarray: ...
    @property
    def lengths(self) -> np.ndarray: ...
    @property
    def cut(self) -> np.ndarray: ...
    @property
    def cut_error(self) -> np.ndarray: ...


def context_figure(meter: Meter, *, revision: str | None = None, palette: Palette = LIGHT) -> Figure:
    """Loss against characters of context, with standard errors: of the same characters with their context cut, and of
    different ones along the window."""
    lengths = meter.lengths.tolist()
    figure = ruled(
        "characters of context", left=1, right=max(lengths), logarithmic=True, revision=revision, palette=palette
    )
    # Place t of a window has t + 1 characters to go by; a stretch of places stands at its middle.
    places = np.sqrt((meter.first + 1.0) * (meter.last + 1.0)).round(1).tolist()
    along = _line(places, meter.along.tolist(), "along the window", palette.quiet, 1)
    cut = _line(lengths, meter.cut.tolist(), "the same characters, context cut", palette.text, 2)
    figure["data"] = [_with_error(along, meter.along_error, palette), _with_error(cut, meter.cut_error, palette)]
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


def _names(x: list[int], y: np.ndarray, names: list[str], palette: Palette) -> Figure:
    """The names of lines at their ends, moved up where one would lie on another."""
    places = y.astype(float)
    for below, above in pairwise(np.argsort(places)):
        places[above] = max(places[above], places[below] + ROOM)
    return {
        "type": "scatter",
        "mode": "text",
        "x": x * len(names),
        "y": places.round(3).tolist(),
        "text": [f"\u00a0{literal(name)}" for name in names],
        "textfont": {"color": palette.text},
        "textposition": "middle right",
        "cliponaxis": False,
        "hoverinfo": "skip",
    }


def _kind_trace(
    kind: str, members: list[int], points: np.ndarray, characters: Sequence[str], palette: Palette
) -> Figure:
    marker = {"symbol": SIGNS.get(kind, "circle"), "size": 18, "color": palette.quiet, "line": {"width": 1}}
    if kind not in SIGNS:
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


def _line(x: Sequence[float], y: Sequence[float | None], name: str, colour: str, width: int) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "y": [round(float(value), 4) if value is not None else None for value in y],
        "name": literal(name),
        "line": {"color": colour, "width": width},
    }
