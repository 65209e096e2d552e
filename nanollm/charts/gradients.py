"""Chart "Gradients and learning rate": the gradient norm above, the learning rate below, over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nanollm.charts.base import LIGHT, Figure, Palette, axis_title, blank_figure
from nanollm.charts.thinning import thin

MAX_POINTS = 60  # of each line


class OptimizerCurve(Protocol):
    """The input of gradient_figure(); Run.curve() provides it. Gradient norms that were not finite are None."""

    @property
    def steps(self) -> Sequence[int]: ...
    @property
    def grad_norm(self) -> Sequence[float | None]: ...
    @property
    def learning_rate(self) -> Sequence[float]: ...


def gradient_figure(
    curve: OptimizerCurve, *, slot: int = 0, revision: str | None = None, palette: Palette = LIGHT
) -> Figure:
    """Gradient norm before clipping (logarithmic) and learning rate over the steps, as two stacked subplots."""
    style = palette.run_line(slot, 1)
    data = []
    for name, values, axis in (("gradient norm", curve.grad_norm, "y"), ("learning rate", curve.learning_rate, "y2")):
        x, y = thin(curve.steps, values, MAX_POINTS)
        trace = {"type": "scatter", "mode": "lines", "x": x, "y": [float(f"{value:.3g}") for value in y]}
        data.append(trace | {"name": name, "yaxis": axis, "line": style, "hovertemplate": "%{y:.3g}"})
    layout = blank_figure("steps", revision=revision, palette=palette)["layout"]
    for axis, title in (("yaxis2", "learning rate"), ("yaxis", "gradient norm")):
        layout[axis] = {**layout["yaxis"], "title": axis_title(title)}
    layout["xaxis"] |= {"anchor": "y2"}  # below both subplots
    # An explicit tickformat writes ticks between powers of ten in full: 0.2 instead of 2. There is room for few.
    layout["yaxis"] |= {"domain": [0.56, 1], "type": "log", "nticks": 2, "tickformat": "~g"}
    layout["yaxis2"] |= {"domain": [0, 0.44], "nticks": 4, "rangemode": "tozero"}
    layout |= {"hovermode": "x unified", "showlegend": False}
    return {"data": data, "layout": layout}
