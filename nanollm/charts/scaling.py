"""Charts of a scaling experiment: losses against steps, time or compute, and final losses against model size.

Lines connect points of one run only. No curve is fitted through models of different sizes, because three points do not
establish a scaling law.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nanollm.charts.base import LIGHT, Figure, Palette, Reference, blank_figure, escape_markup, loss_bounds

VISIBLE = 0.005  # nats by which two markers must differ to be distinguishable


@dataclass(frozen=True)
class LossCurve:
    """Losses of one run against a quantity that grows during training."""

    x: Sequence[float]
    val_loss: Sequence[float | None]
    train_loss: Sequence[float | None]
    name: str = ""
    slot: int = 0  # color slot, see Palette.run_line()


@dataclass(frozen=True)
class SizePoint:
    """Model size and losses of one run, in nats per character."""

    parameters: int
    val_loss: float | None  # at the end
    lowest: float | None  # lowest validation loss during training
    train_loss: float | None  # at the end
    name: str = ""
    slot: int = 0  # color slot, see Palette.run_line()


def loss_curves_figure(
    curves: Iterable[LossCurve],
    title: str,
    *,
    logarithmic: bool = False,
    references: Sequence[Reference] = (),
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """Validation loss (solid) and training loss (faint) of several runs; `title` names the X axis."""
    data = [trace for curve in curves for trace in _curve_traces(curve, logarithmic, palette)]
    xs = [x for trace in data for x in trace["x"]]
    figure = blank_figure(
        title,
        left=min(xs, default=1) if logarithmic else 0,
        right=max(xs, default=1),
        references=references,
        logarithmic=logarithmic,
        revision=revision,
        palette=palette,
    )
    figure["data"] = data + figure["data"]
    figure["layout"]["yaxis"]["autorangeoptions"] = loss_bounds(data, references)
    figure["layout"] |= {"hovermode": "closest", "showlegend": bool(data)}
    return figure


def size_figure(
    points: Iterable[SizePoint],
    *,
    references: Sequence[Reference] = (),
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """Final losses of several runs against model size: dots for validation, rings for training.

    A diamond marks the lowest validation loss if it is visibly below the final one.
    """
    points = list(points)
    sizes = sorted({point.parameters for point in points}) or [1]
    figure = blank_figure(
        "parameters",
        left=sizes[0] / 2,
        right=sizes[-1] * 2,
        references=references,
        logarithmic=True,
        revision=revision,
        palette=palette,
    )
    rings = _dots(points, [point.train_loss for point in points], "final training", "circle-open", palette)
    dots = _dots(points, [point.val_loss for point in points], "final validation", "circle", palette)
    lower = [point.lowest if _visibly_lower(point.lowest, point.val_loss) else None for point in points]
    diamonds = _dots(points, lower, "lowest validation", "diamond-open", palette)
    figure["data"] = [rings | {"mode": "markers"}, dots, diamonds | {"mode": "markers"}, *figure["data"]]
    ticks = {"tickmode": "array", "tickvals": sizes, "ticktext": [f"{size:,}" for size in sizes]}
    figure["layout"]["xaxis"] |= ticks
    losses = [loss for point in points for loss in (point.val_loss, point.lowest, point.train_loss) if loss is not None]
    heights = [*losses, *(reference.loss for reference in references)] or [1.0]
    room = max(0.1, 0.15 * (max(heights) - min(heights)))  # for the names above the markers
    figure["layout"]["yaxis"] |= {"autorangeoptions": {"include": [min(heights) - room, max(heights) + room]}}
    figure["layout"] |= {"hovermode": "closest", "showlegend": False}
    return figure


def _visibly_lower(lowest: float | None, final: float | None) -> bool:
    return lowest is not None and (final is None or lowest < final - VISIBLE)


def _curve_traces(curve: LossCurve, logarithmic: bool, palette: Palette) -> list[Figure]:
    kept = [i for i, x in enumerate(curve.x) if x > 0 or not logarithmic]  # step 0 is not on a logarithmic axis
    traces = []
    for kind, losses, width, opacity in (("training", curve.train_loss, 1, 0.35), ("", curve.val_loss, 2, 1.0)):
        points = [(curve.x[i], loss) for i in kept if (loss := losses[i]) is not None]
        name = f"{curve.name} {kind}".strip()
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [x for x, _ in points],
                "y": [round(loss, 4) for _, loss in points],
                "name": escape_markup(name),
                "legendgroup": escape_markup(curve.name),
                "showlegend": not kind,
                "opacity": opacity,
                "line": palette.run_line(curve.slot, width),
                "hovertemplate": f"{escape_markup(name)}: %{{y:.3f}} at %{{x:,.4~g}}<extra></extra>",
            }
        )
    return traces


def _dots(
    points: Sequence[SizePoint], losses: Sequence[float | None], kind: str, symbol: str, palette: Palette
) -> Figure:
    shown = [(point, loss) for point, loss in zip(points, losses, strict=True) if loss is not None]
    colors = [palette.run_line(point.slot, 1)["color"] for point, _ in shown]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [point.parameters for point, _ in shown],
        "y": [round(loss, 4) for _, loss in shown],
        "text": [escape_markup(point.name) for point, _ in shown],
        "textposition": "top center",
        "name": kind,
        "marker": {"size": 12, "symbol": symbol, "color": colors, "line": {"width": 2, "color": colors}},
        "hovertemplate": f"%{{text}}: {kind} loss %{{y:.3f}}<extra></extra>",
    }
