"""Few points that look like many: a chart of a long run is sent again every second, and must not grow with the run.

Both functions cut the axis into bins whose borders depend on the last x alone (on a logarithmic axis also on the first)
and whose width doubles when they no longer fit. So between two doublings a growing curve only ever gains points at its
end, and nothing drawn earlier moves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_NARROWEST = 2.0**-10  # of a bin: of steps and seconds alike


def thin(
    x: Sequence[float], values: Sequence[float | None], limit: int, *, log: bool = False
) -> tuple[list[float], list[float]]:
    """At most `limit` points that look like all of them: of every bin the lowest and the highest value.

    `x` ascends. The first and the last point are always kept; values that are missing or not finite are left out, and
    with `log`, for a logarithmic axis, all that has no place on one.
    """
    places, heights = _finite(x, values, log)
    if len(places) > limit:
        bins = _bins(places, limit, log)
        starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        order = np.lexsort((heights, bins))  # bin by bin, each from its lowest to its highest value
        ends = np.append(starts[1:], len(places)) - 1
        kept = np.unique(np.concatenate((order[starts], order[ends], [0, len(places) - 1])))
        places, heights = places[kept], heights[kept]
    return places.tolist(), heights.tolist()


def averaged(
    x: Sequence[float], values: Sequence[float | None], limit: int, *, log: bool = False
) -> tuple[list[float], list[float]]:
    """At most `limit` points that run through the middle of all: the mean of every bin, at its mean x."""
    places, heights = _finite(x, values, log)
    if len(places) > limit:
        bins = _bins(places, 2 * limit, log)  # thin() would take two points of each
        starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        counts = np.diff(np.append(starts, len(places)))
        places, heights = np.add.reduceat(places, starts) / counts, np.add.reduceat(heights, starts) / counts
    return places.tolist(), heights.tolist()


def bin_width(last: float, limit: int) -> float:
    """The smallest power of two that cuts 0 to `last` into bins of which `limit` holds two points each."""
    width = _NARROWEST
    while 2 * (last // width + 1) > limit - 2:  # two are for the first and the last point
        width *= 2
    return width


def _finite(x: Sequence[float], values: Sequence[float | None], log: bool) -> tuple[np.ndarray, np.ndarray]:
    places = np.asarray(x)
    heights = np.array([math.nan if value is None else value for value in values], dtype=float)
    kept = np.isfinite(heights) & (places > 0) if log else np.isfinite(heights)
    return places[kept], heights[kept]


def _bins(places: np.ndarray, limit: int, log: bool) -> np.ndarray:
    """The number of each point's bin."""
    scaled = np.log2(places / places[0]) if log else places.astype(float)
    return np.floor_divide(scaled, bin_width(float(scaled[-1]), limit)).astype(np.int64)
