"""Downsampling of curves: a live chart is sent every second, so its size must not grow with the run.

Both functions divide the X axis into bins. The bin width depends only on the last x (on a logarithmic axis also on the
first one) and doubles when the bins become too many. Between two doublings a growing curve only gains points at its
end, so that earlier points do not move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_MIN_WIDTH = 2.0**-10  # of a bin, in steps or seconds


def thin(
    x: Sequence[float], values: Sequence[float | None], limit: int, *, log: bool = False
) -> tuple[list[float], list[float]]:
    """Downsample to at most `limit` points that keep the outline: the lowest and highest value of every bin.

    `x` must ascend. The first and last points are kept. Values that are None or not finite are dropped, and with `log`
    (for a logarithmic X axis) also points with x ≤ 0. Returns x and values.
    """
    xs, ys = _finite(x, values, log)
    if len(xs) > limit:
        bins = _bins(xs, limit, log)
        starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        order = np.lexsort((ys, bins))  # sorted by bin, then by value
        ends = np.append(starts[1:], len(xs)) - 1
        kept = np.unique(np.concatenate((order[starts], order[ends], [0, len(xs) - 1])))
        xs, ys = xs[kept], ys[kept]
    return xs.tolist(), ys.tolist()


def averaged(
    x: Sequence[float], values: Sequence[float | None], limit: int, *, log: bool = False
) -> tuple[list[float], list[float]]:
    """Smooth to at most `limit` points: the mean value of every bin, at its mean x. Arguments as for thin()."""
    xs, ys = _finite(x, values, log)
    if len(xs) > limit:
        bins = _bins(xs, 2 * limit, log)  # thin() keeps two points per bin
        starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        counts = np.diff(np.append(starts, len(xs)))
        xs, ys = np.add.reduceat(xs, starts) / counts, np.add.reduceat(ys, starts) / counts
    return xs.tolist(), ys.tolist()


def bin_width(last: float, limit: int) -> float:
    """The smallest power-of-two width such that bins up to `last` give at most `limit` points, two per bin."""
    width = _MIN_WIDTH
    while 2 * (last // width + 1) > limit - 2:  # two are reserved for the first and last point
        width *= 2
    return width


def _finite(x: Sequence[float], values: Sequence[float | None], log: bool) -> tuple[np.ndarray, np.ndarray]:
    xs = np.asarray(x)
    ys = np.array([math.nan if value is None else value for value in values], dtype=float)
    kept = np.isfinite(ys) & (xs > 0) if log else np.isfinite(ys)
    return xs[kept], ys[kept]


def _bins(xs: np.ndarray, limit: int, log: bool) -> np.ndarray:
    """The bin index of each point."""
    scaled = np.log2(xs / xs[0]) if log else xs.astype(float)
    return np.floor_divide(scaled, bin_width(float(scaled[-1]), limit)).astype(np.int64)
