"""The loss of a run, and of others laid over it, as one Plotly figure that stays small: see charts.py."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from nanollm.charts.base import LIGHT, Figure, Palette, Reference, loss_bounds, ruled, scatter
from nanollm.charts.thinning import averaged, thin

# Points of the chosen run on a loss chart (of its faint line half as many where others are laid over it); those share
# as many again. Together 8 KB at the most: a look at a run is to stay below 10.
TRAIN_POINTS, SMOOTH_POINTS, VAL_POINTS = 150, 40, 60
AXES = ("steps", "seconds")
MAX_OVERLAYS = 9
PLOT_HEIGHT, LABEL_HEIGHT = 270, 17  # pixels: of the page's chart without its margins, and of one line's label
MAX_NAME = 28  # characters of a name in the legend, or it would take the chart's place


class Curve(Protocol):
    """What a loss chart reads off a run; `Run.curve()` is one. Steps ascend; losses may be None where there is none."""

    @property
    def steps(self) -> Sequence[int]: ...
    @property
    def loss(self) -> Sequence[float | None]: ...
    @property
    def seconds(self) -> Sequence[float]: ...
    @property
    def eval_steps(self) -> Sequence[int]: ...
    @property
    def eval_seconds(self) -> Sequence[float]: ...
    @property
    def val_loss(self) -> Sequence[float | None]: ...


@dataclass(frozen=True)
class RunLine:
    """One run on a chart. `colour` is its number among the colours: see Palette.run_line()."""

    curve: Curve
    name: str = ""
    colour: int = 0


def loss_figure(
    curve: Curve | None = None,
    *,
    colour: int = 0,
    num_steps: int = 0,
    overlays: Iterable[RunLine] = (),
    references: Iterable[Reference] = (),
    axis: str = "steps",
    log: bool = False,
    revision: str | None = None,
    note: str = "",
    palette: Palette = LIGHT,
) -> Figure:
    """Training and validation loss of one run, and of any (at most MAX_OVERLAYS) that are laid over it.

    Drawn over the steps, or the seconds of training with axis="seconds"; `log` makes that axis logarithmic. Without a
    curve it shows the reference lines alone, over `num_steps`, and a `note` about why, where one is given. While
    `revision` and the axis stay the same, a chart that is updated keeps the zoom that a person has chosen. Its size
    does not grow with the run: see thinning.py.
    """
    lines, references = list(overlays)[:MAX_OVERLAYS], list(references)
    own = _own_traces(RunLine(curve, "", colour), axis, log, palette, named=not lines) if curve is not None else []
    data = own + [trace for line in lines for trace in _laid_over(line, len(lines), axis, log, palette)]
    last = max((trace["x"][-1] for trace in data if trace["x"]), default=0)
    right = _right_edge(last, _end(curve, num_steps, axis), log)
    left = min([x for trace in data for x in trace["x"][:1]] or [1]) if log else 0
    figure = ruled(
        "steps" if axis == "steps" else "seconds of training",
        left=left,
        right=right,
        references=references,
        logarithmic=log,
        revision=revision,
        palette=palette,
    )
    layout = figure["layout"]
    layout["xaxis"]["uirevision"] = revision and f"{revision} {axis} {log}"
    # Ranges stay automatic within these bounds: a range set here would undo a person's zoom whenever it changes.
    if log:
        layout["xaxis"] |= {
            "dtick": "D2" if right < 30 * left else 1,
            "tickformat": ",~g",
        }  # 20 between 10 and 100, not 2
    else:
        layout["xaxis"]["autorangeoptions"] = {"include": [0, right], "clipmin": 0}
    layout["yaxis"]["autorangeoptions"] = bounds = loss_bounds(data, references)
    _keep_apart(layout["annotations"], _height_of_a_nat(data + figure["data"], bounds))
    if note:
        layout["annotations"].append(_note(note, palette))
    layout |= {"hovermode": "x unified", "showlegend": bool(own or lines)}
    return {"data": data + figure["data"], "layout": layout}


def _keep_apart(labels: list[Figure], nat: float) -> None:
    """Lift the labels of reference lines that are too close to each other for both to be read; a nat in pixels."""
    top = -math.inf
    for label in sorted(labels, key=lambda label: label["y"]):
        lift = max(0.0, top - label["y"] * nat)
        if lift:
            label["yshift"] = round(lift)
        top = label["y"] * nat + lift + LABEL_HEIGHT


def _height_of_a_nat(data: Sequence[Figure], bounds: Figure) -> float:
    """In pixels, as high as the page draws the chart, before anybody has zoomed."""
    losses = [y for trace in data for y in trace["y"]] or [1.0]
    highest, lowest = min(bounds["clipmax"], max(losses)), min(bounds["include"], *losses)
    return PLOT_HEIGHT / (highest - lowest or 1.0)


def _note(words: str, palette: Palette) -> Figure:
    """Where the curve will begin: at the other end stand the lines' labels."""
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 0.5, "xanchor": "left", "showarrow": False}
    return place | {"text": words, "font": {"size": 15}, "bgcolor": palette.surface, "borderpad": 8}


def _end(curve: Curve | None, num_steps: int, axis: str) -> float:
    """Where a run of `num_steps` will end on its axis, at the pace so far; 0 if that cannot be told."""
    if axis == "steps" or not num_steps:
        return num_steps
    return curve.seconds[-1] * num_steps / curve.steps[-1] if curve is not None and curve.steps else 1


def _right_edge(last: float, end: float, log: bool = False) -> int:
    """Where the axis ends: at the last point, or at the half, quarter, ... of the run that still holds it.

    So the axis stands still for a while, and the beginning of a long run is not squeezed against its left end.
    """
    edge = math.ceil(max(end, last, 1))
    while last and edge >= 2 * last and edge > 50 and not log:
        edge = math.ceil(edge / 2)
    return edge


def _own_traces(line: RunLine, axis: str, log: bool, palette: Palette, named: bool) -> list[Figure]:
    """The chosen run's lines: training as recorded, faint; training smoothed, where there is much of it; validation."""
    train_x, val_x = _places(line.curve, axis)
    points = TRAIN_POINTS if named else TRAIN_POINTS // 2
    traces = [
        _line(thin(train_x, line.curve.loss, points, log=log), "training", line, palette, 1)
        | {"opacity": 0.35, "showlegend": named},
        _line(thin(val_x, line.curve.val_loss, VAL_POINTS, log=log), "validation", line, palette, 2),
    ]
    if len(train_x) > 2 * SMOOTH_POINTS:
        smooth = averaged(train_x, line.curve.loss, SMOOTH_POINTS, log=log)
        traces.insert(1, _line(smooth, "training, smoothed", line, palette, 1) | {"showlegend": False})
    return traces


def _laid_over(line: RunLine, count: int, axis: str, log: bool, palette: Palette) -> list[Figure]:
    """Another run's validation line, with a share of the points that there are for all `count`; training if few are."""
    train_x, val_x = _places(line.curve, axis)
    limit = TRAIN_POINTS // (2 * count)
    title = line.name if len(line.name) <= MAX_NAME else f"{line.name[: MAX_NAME - 1]}…"
    val = thin(val_x, line.curve.val_loss, max(8, limit), log=log)
    traces = [_line(val, f"{title} validation".strip(), line, palette, 2)]
    if count <= 2 or not val[0]:
        smooth = averaged(train_x, line.curve.loss, max(8, limit), log=log)
        name = f"{title} training".strip()
        traces.insert(0, _line(smooth, name, line, palette, 1) | {"opacity": 0.35, "showlegend": not val[0]})
    return traces


def _places(curve: Curve, axis: str) -> tuple[Sequence[float], Sequence[float]]:
    """Where the points of the two losses stand on the axis."""
    return (curve.steps, curve.eval_steps) if axis == "steps" else (curve.seconds, curve.eval_seconds)


def _line(points: tuple[list[float], list[float]], name: str, line: RunLine, palette: Palette, width: int) -> Figure:
    return scatter(points, name, palette.run_line(line.colour, width))
