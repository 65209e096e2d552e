"""Gradient chart: two downsampled subplots, also for missing values and an empty run."""

from __future__ import annotations

import math

from nanollm.charts.gradients import MAX_POINTS, gradient_figure
from nanollm.runs.record import Curve


def curve(count: int) -> Curve:
    norms = [None if n % 7 == 3 else 0.5 + 0.1 * math.sin(n) for n in range(count)]
    return Curve(steps=list(range(count)), grad_norm=norms, learning_rate=[0.01 * n / count for n in range(count)])


def test_both_lines_are_downsampled_and_stacked() -> None:
    import plotly.graph_objects as go

    figure = gradient_figure(curve(5000), revision="a run")
    go.Figure(figure)  # raises if the figure is invalid
    assert [trace["name"] for trace in figure["data"]] == ["gradient norm", "learning rate"]
    assert all(2 <= len(trace["x"]) == len(trace["y"]) <= MAX_POINTS for trace in figure["data"])
    layout = figure["layout"]
    assert layout["yaxis2"]["domain"][1] < layout["yaxis"]["domain"][0]
    assert layout["yaxis"]["tickformat"]  # otherwise ticks between 0.1 and 1 would be labeled 2 and 5
    assert layout["xaxis"]["anchor"] == "y2"  # one step axis below both subplots


def test_an_empty_run_gives_empty_lines() -> None:
    assert all(trace["x"] == [] for trace in gradient_figure(Curve())["data"])
