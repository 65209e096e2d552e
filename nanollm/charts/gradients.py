"""Whether training is well, as one chart: the gradient's length above, the learning rate below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nanollm.charts.base import LIGHT, Figure, Palette, ruled
from nanollm.charts.thinning import thin

POINTS = 60  # of each line


class Course(Protocol):
    """What is recorded of it; `Run.curve()` is one. Gradient norms are None where they were not finite."""

    @property
    def steps(self) -> Sequence[int]: ...
    @property
    def grad_norm(self) -> Sequence[float | None]: ...
    @property
    def learning_rate(self) -> Sequence[float]: ...


def health_figure(course: Course, *, colour: int = 0, revision: str | None = None, palette: Palette = LIGHT) -> Figure:
    """Gradient norm (logarithmic) and learning rate over the steps, one above the other."""
    style = palette.run_line(colour, 1)
    data = []
    for name, values, axis in (("gradient norm", course.grad_norm, "y"), ("learning rate", course.learning_rate, "y2")):
        x, y = thin(course.steps, values, POINTS)
        trace = {"type": "scatter", "mode": "lines", "x": x, "y": [float(f"{value:.3g}") for value in y]}
        data.append(trace | {"name": name, "yaxis": axis, "line": style, "hovertemplate": "%{y:.3g}"})
    layout = ruled("steps", left=0, right=1, revision=revision, palette=palette)["layout"]
    for axis, title in (("yaxis2", "learning rate"), ("yaxis", "gradient norm")):
        layout[axis] = {**layout["yaxis"], "title": {**layout["yaxis"]["title"], "text": title}}
    layout["xaxis"] |= {"anchor": "y2"}  # under both
    # With a format of their own, ticks between powers of ten are written in full: 0.2 and not 2. Few have room.
    layout["yaxis"] |= {"domain": [0.56, 1], "type": "log", "nticks": 2, "tickformat": "~g"}
    layout["yaxis2"] |= {"domain": [0, 0.44], "nticks": 4, "rangemode": "tozero"}
    layout |= {"hovermode": "x unified", "showlegend": False}
    return {"data": data, "layout": layout}
