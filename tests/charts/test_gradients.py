"""health_chart.py: two small charts over one another, whatever was recorded."""

from __future__ import annotations

import math

from nanollm.charts.gradients import POINTS, health_figure
from nanollm.runs.record import Curve


def course(count: int) -> Curve:
    norms = [None if n % 7 == 3 else 0.5 + 0.1 * math.sin(n) for n in range(count)]
    return Curve(steps=list(range(count)), grad_norm=norms, learning_rate=[0.01 * n / count for n in range(count)])


def test_both_lines_are_thinned_and_stand_one_above_the_other() -> None:
    import plotly.graph_objects as go

    figure = health_figure(course(5000), revision="a run")
    go.Figure(figure)  # raises where plotly would not understand
    assert [trace["name"] for trace in figure["data"]] == ["gradient norm", "learning rate"]
    assert all(2 <= len(trace["x"]) == len(trace["y"]) <= POINTS for trace in figure["data"])
    layout = figure["layout"]
    assert layout["yaxis2"]["domain"][1] < layout["yaxis"]["domain"][0]
    assert layout["yaxis"]["tickformat"]  # or between 0.1 and 1 it would say 2 and 5
    assert layout["xaxis"]["anchor"] == "y2"  # the steps are told below both, not between them


def test_before_the_first_step_it_is_empty() -> None:
    assert all(trace["x"] == [] for trace in health_figure(Curve())["data"])
