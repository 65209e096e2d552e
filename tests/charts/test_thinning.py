"""Downsampling: keeps extremes, respects the limit, and earlier points do not move while a curve grows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.charts.thinning import averaged, bin_width, thin

curves = st.lists(
    st.tuples(st.integers(1, 40), st.none() | st.floats(allow_nan=True, allow_infinity=True, width=32)), max_size=400
).map(lambda pairs: (np.cumsum([gap for gap, _ in pairs], dtype=int).tolist(), [value for _, value in pairs]))
limits = st.integers(6, 60)
scales = st.booleans()


def finite_points(steps, values):
    return [(s, v) for s, v in zip(steps, values, strict=True) if v is not None and math.isfinite(v)]


@given(curves, limits, scales)
def test_thinning_keeps_original_points_and_the_extremes(curve, limit, log):
    points = finite_points(*curve)
    x, y = thin(*curve, limit, log=log)
    assert set(zip(x, y, strict=True)) <= set(points)
    assert x == sorted(x) and len(x) <= limit
    if points:
        assert (x[0], x[-1]) == (points[0][0], points[-1][0])
        assert (min(y), max(y)) == (min(v for _, v in points), max(v for _, v in points))


@given(curves, limits, scales)
def test_averages_lie_within_the_range_of_the_curve(curve, limit, log):
    points = finite_points(*curve)
    x, y = averaged(*curve, limit, log=log)
    assert x == sorted(x) and len(x) <= limit and bool(x) == bool(points)
    if points and max(abs(v) for _, v in points) < 1e30:
        slack = 1e-6 * max(1, *(abs(v) for _, v in points))
        assert min(v for _, v in points) - slack <= min(y) and max(y) <= max(v for _, v in points) + slack


@pytest.mark.parametrize("function", [thin, averaged])
@given(length=st.integers(100, 4000), grown=st.integers(1, 300), log=scales)
def test_a_growing_curve_keeps_its_earlier_points(function, length, grown, log):
    limit = 60
    xs = lambda count: [step / 32 for step in range(1, count + 1)]  # noqa: E731
    values = [math.sin(step * 12.9898) for step in range(length + grown)]
    before = function(xs(length), values[:length], limit, log=log)
    after = function(xs(length + grown), values, limit, log=log)
    scaled = lambda x: math.log2(x / xs(1)[0]) if log else x  # noqa: E731
    bins = limit if function is thin else 2 * limit
    ends = [scaled(xs(count)[-1]) for count in (length, length + grown)]
    width = bin_width(ends[0], bins)
    if width == bin_width(ends[1], bins):  # no doubling in between
        finished = ends[0] // width * width
        settled = lambda xy: [p for p in zip(*xy, strict=True) if scaled(p[0]) < finished - 1e-9]  # noqa: E731
        assert settled(before) == settled(after)


def test_a_logarithmic_axis_keeps_early_points():
    x, _ = thin(list(range(100_000)), [1.0 * n for n in range(100_000)], 60, log=True)
    assert x[0] == 1 and sum(1 for value in x if value < 1000) >= 15
