"""Loss chart: training and validation loss of one run, with other runs overlaid, in at most about 8 KB."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nanollm.charts.base import LIGHT, Figure, Palette, Reference, blank_figure, loss_bounds, scatter
from nanollm.charts.thinning import averaged, thin

# Points of the selected run (half as many training points if other runs are overlaid). The overlaid runs share as many
# again. The figure then takes at most 8 KB, so that an update of the live view stays below 10 KB.
TRAIN_POINTS, SMOOTH_POINTS, VAL_POINTS = 150, 40, 60
AXES = ("steps", "seconds")
MAX_OVERLAYS = 9
ERRORS = 2  # standard errors on either side of the validation loss
PLOT_HEIGHT, LABEL_HEIGHT = 270, 17  # pixels: the chart on the page without margins, and one label
MAX_NAME = 28  # characters of a name in the legend, which otherwise takes up the chart's space


class Curve(Protocol):
    """The input of loss_figure(); Run.curve() provides it. Steps ascend; losses are None where not measured."""

    @property
    def steps(self) -> Sequence[int]: ...
    @property
    def loss(self) -> Sequence[float | None]: ...
    @property
    def elapsed(self) -> Sequence[float]: ...
    @property
    def eval_steps(self) -> Sequence[int]: ...
    @property
    def eval_elapsed(self) -> Sequence[float]: ...
    @property
    def val_loss(self) -> Sequence[float | None]: ...
    @property
    def val_error(self) -> Sequence[float]: ...


@dataclass(frozen=True)
class RunLine:
    """One run of a chart."""

    curve: Curve
    name: str = ""
    slot: int = 0  # color slot, see Palette.run_line()


def loss_figure(
    curve: Curve | None = None,
    *,
    slot: int = 0,
    num_steps: int = 0,
    overlays: Iterable[RunLine] = (),
    references: Iterable[Reference] = (),
    axis: str = "steps",
    log: bool = False,
    revision: str | None = None,
    note: str = "",
    palette: Palette = LIGHT,
) -> Figure:
    """Training and validation loss of one run, and of up to MAX_OVERLAYS overlaid runs.

    The X axis shows steps, or with axis="seconds" the elapsed time without pauses; `log` makes it logarithmic. If the
    validation loss is an estimate, a band shows two standard errors on either side. Without a curve the
    figure shows only the reference lines, over `num_steps`, and `note` if given. An updated chart keeps the user's zoom
    as long as `revision` and the axis stay the same. Curves are downsampled, see thinning.py.
    """
    lines, references = list(overlays)[:MAX_OVERLAYS], list(references)
    own = _own_traces(RunLine(curve, "", slot), axis, log, palette, named=not lines) if curve is not None else []
    data = own + [trace for line in lines for trace in _overlay_traces(line, len(lines), axis, log, palette)]
    last = max((trace["x"][-1] for trace in data if trace["x"]), default=0)
    right = _right_edge(last, _expected_end(curve, num_steps, axis), log)
    left = min([x for trace in data for x in trace["x"][:1]] or [1]) if log else 0
    figure = blank_figure(
        "steps" if axis == "steps" else "elapsed seconds",
        left=left,
        right=right,
        references=references,
        logarithmic=log,
        revision=revision,
        palette=palette,
    )
    layout = figure["layout"]
    layout["xaxis"] |= _x_axis(left, right, log) | {"uirevision": revision and f"{revision} {axis} {log}"}
    layout["yaxis"]["autorangeoptions"] = bounds = loss_bounds(data, references)
    _separate_labels(layout["annotations"], _pixels_per_nat(data + figure["data"], bounds))
    if note:
        layout["annotations"].append(_note(note, palette))
    layout |= {"hovermode": "x unified", "showlegend": bool(own or lines)}
    return {"data": data + figure["data"], "layout": layout}


def _x_axis(left: float, right: float, log: bool) -> Figure:
    """Range and ticks of the X axis. An explicit range would reset the user's zoom whenever it changes."""
    if not log:
        return {"autorangeoptions": {"include": [0, right], "clipmin": 0}}
    # An explicit tickformat writes ticks between powers of ten in full: 20 instead of 2.
    return {"dtick": "D2" if right < 30 * left else 1, "tickformat": ",~g"}


def _separate_labels(labels: list[Figure], pixels_per_nat: float) -> None:
    """Shift labels of reference lines upwards where they would overlap."""
    top = -math.inf
    for label in sorted(labels, key=lambda label: label["y"]):
        shift = max(0.0, top - label["y"] * pixels_per_nat)
        if shift:
            label["yshift"] = round(shift)
        top = label["y"] * pixels_per_nat + shift + LABEL_HEIGHT


def _pixels_per_nat(data: Sequence[Figure], bounds: Figure) -> float:
    """Height of one nat in pixels, at the size of the page's chart and without zoom."""
    losses = [y for trace in data for y in trace["y"]] or [1.0]
    highest, lowest = min(bounds["clipmax"], max(losses)), min(bounds["include"], *losses)
    return PLOT_HEIGHT / (highest - lowest or 1.0)


def _note(text: str, palette: Palette) -> Figure:
    """A note at the left, where the curve will start; the labels of the reference lines are at the right."""
    position = {"xref": "paper", "yref": "paper", "x": 0, "y": 0.5, "xanchor": "left", "showarrow": False}
    return position | {"text": text, "font": {"size": 15}, "bgcolor": palette.surface, "borderpad": 8}


def _expected_end(curve: Curve | None, num_steps: int, axis: str) -> float:
    """Where a run of `num_steps` will end on the X axis, at its speed so far; 0 or 1 if unknown."""
    if axis == "steps" or not num_steps:
        return num_steps
    return curve.elapsed[-1] * num_steps / curve.steps[-1] if curve is not None and curve.steps else 1


def _right_edge(last: float, end: float, log: bool = False) -> int:
    """Right end of the X axis: the end of the run, halved as often as the last point still fits.

    The axis then stays constant for a while, and the start of a long run is not compressed at the left.
    """
    edge = math.ceil(max(end, last, 1))
    while last and edge >= 2 * last and edge > 50 and not log:
        edge = math.ceil(edge / 2)
    return edge


def _own_traces(line: RunLine, axis: str, log: bool, palette: Palette, named: bool) -> list[Figure]:
    """Lines of the selected run: training (faint), smoothed training if there are enough points, and validation."""
    train_x, val_x = _x_values(line.curve, axis)
    points = TRAIN_POINTS if named else TRAIN_POINTS // 2
    validation = thin(val_x, line.curve.val_loss, VAL_POINTS, log=log)
    traces = [
        _line(thin(train_x, line.curve.loss, points, log=log), "training", line, palette, 1)
        | {"opacity": 0.35, "showlegend": named},
        _line(validation, "validation", line, palette, 2),
    ]
    if any(line.curve.val_error):
        errors = dict(zip(val_x, line.curve.val_error, strict=True))
        traces.insert(0, _error_band(validation, errors, line, palette))
    if len(train_x) > 2 * SMOOTH_POINTS:
        smooth = averaged(train_x, line.curve.loss, SMOOTH_POINTS, log=log)
        traces.insert(1, _line(smooth, "training (smoothed)", line, palette, 1) | {"showlegend": False})
    return traces


def _error_band(
    points: tuple[list[float], list[float]], errors: Mapping[float, float], line: RunLine, palette: Palette
) -> Figure:
    """The area within ERRORS standard errors of the points, behind the line through them."""
    edges = [(x, y, ERRORS * errors[x]) for x, y in zip(*points, strict=True)]
    upper = [(x, y + error) for x, y, error in edges]
    lower = [(x, y - error) for x, y, error in reversed(edges)]
    x, y = ([point[i] for point in upper + lower] for i in (0, 1))
    band = _line((x, y), f"validation ± {ERRORS} standard errors", line, palette, 0)
    area = {"fill": "toself", "fillcolor": band["line"]["color"], "opacity": 0.15}
    return band | area | {"showlegend": False, "hoverinfo": "skip"}


def _overlay_traces(line: RunLine, count: int, axis: str, log: bool, palette: Palette) -> list[Figure]:
    """Validation line of an overlaid run, and its training line if only few of the `count` overlays share the chart."""
    train_x, val_x = _x_values(line.curve, axis)
    limit = TRAIN_POINTS // (2 * count)
    title = line.name if len(line.name) <= MAX_NAME else f"{line.name[: MAX_NAME - 1]}…"
    val = thin(val_x, line.curve.val_loss, max(8, limit), log=log)
    traces = [_line(val, f"{title} validation".strip(), line, palette, 2)]
    if count <= 2 or not val[0]:
        smooth = averaged(train_x, line.curve.loss, max(8, limit), log=log)
        name = f"{title} training".strip()
        traces.insert(0, _line(smooth, name, line, palette, 1) | {"opacity": 0.35, "showlegend": not val[0]})
    return traces


def _x_values(curve: Curve, axis: str) -> tuple[Sequence[float], Sequence[float]]:
    """X values of the training and of the validation losses."""
    return (curve.steps, curve.eval_steps) if axis == "steps" else (curve.elapsed, curve.eval_elapsed)


def _line(points: tuple[list[float], list[float]], name: str, line: RunLine, palette: Palette, width: int) -> Figure:
    return scatter(points, name, palette.run_line(line.slot, width))
