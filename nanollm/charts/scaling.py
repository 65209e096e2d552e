"""The charts of a scaling experiment, as plain Plotly figures: see charts.py, whose colours and axes these are.

Points are joined only along one run's training. Nothing is fitted through runs of different sizes: three of them are
a line, not a law.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nanollm.charts.base import LIGHT, Figure, Palette, Reference, literal, loss_bounds, ruled

VISIBLE = 0.005  # nats that two marks must be apart to be seen as two


@dataclass(frozen=True)
class Course:
    """One run's losses against something that grows while it trains. `colour` is a number for Palette.run_line()."""

    x: Sequence[float]
    val_loss: Sequence[float | None]
    train_loss: Sequence[float | None]
    name: str = ""
    colour: int = 0


@dataclass(frozen=True)
class SizePoint:
    """One run as a point: how large its model is, and how well it did."""

    parameters: int
    val_loss: float | None  # at the end
    lowest: float | None  # validation loss on the way there
    train_loss: float | None  # at the end
    name: str = ""
    colour: int = 0


def course_figure(
    courses: Iterable[Course],
    title: str,
    *,
    logarithmic: bool = False,
    references: Sequence[Reference] = (),
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """Validation loss (solid) and training loss (faint) of several runs against what `title` names."""
    data = [trace for course in courses for trace in _course_traces(course, logarithmic, palette)]
    places = [x for trace in data for x in trace["x"]]
    figure = ruled(
        title,
        left=min(places, default=1) if logarithmic else 0,
        right=max(places, default=1),
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
    """The final loss of several runs against the size of their models: a dot for validation, a ring for training.

    A diamond where the validation loss had been visibly lower before the end.
    """
    points = list(points)
    sizes = sorted({point.parameters for point in points}) or [1]
    figure = ruled(
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
    lower = [point.lowest if _apart(point.lowest, point.val_loss) else None for point in points]
    diamonds = _dots(points, lower, "lowest validation", "diamond-open", palette)
    figure["data"] = [rings | {"mode": "markers"}, dots, diamonds | {"mode": "markers"}, *figure["data"]]
    ticks = {"tickmode": "array", "tickvals": sizes, "ticktext": [f"{size:,}" for size in sizes]}
    figure["layout"]["xaxis"] |= ticks
    losses = [loss for point in points for loss in (point.val_loss, point.lowest, point.train_loss) if loss is not None]
    heights = [*losses, *(reference.loss for reference in references)] or [1.0]
    room = max(0.1, 0.15 * (max(heights) - min(heights)))  # for the names above the dots
    figure["layout"]["yaxis"] |= {"autorangeoptions": {"include": [min(heights) - room, max(heights) + room]}}
    figure["layout"] |= {"hovermode": "closest", "showlegend": False}
    return figure


def _apart(lowest: float | None, final: float | None) -> bool:
    return lowest is not None and (final is None or lowest < final - VISIBLE)


def _course_traces(course: Course, logarithmic: bool, palette: Palette) -> list[Figure]:
    kept = [i for i, x in enumerate(course.x) if x > 0 or not logarithmic]  # a logarithm has no place for step 0
    traces = []
    for kind, losses, width, opacity in (("training", course.train_loss, 1, 0.35), ("", course.val_loss, 2, 1.0)):
        points = [(course.x[i], loss) for i in kept if (loss := losses[i]) is not None]
        name = f"{course.name} {kind}".strip()
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [x for x, _ in points],
                "y": [round(loss, 4) for _, loss in points],
                "name": literal(name),
                "legendgroup": literal(course.name),
                "showlegend": not kind,
                "opacity": opacity,
                "line": palette.run_line(course.colour, width),
                "hovertemplate": f"{literal(name)}: %{{y:.3f}} at %{{x:,.4~g}}<extra></extra>",
            }
        )
    return traces


def _dots(
    points: Sequence[SizePoint], losses: Sequence[float | None], kind: str, symbol: str, palette: Palette
) -> Figure:
    shown = [(point, loss) for point, loss in zip(points, losses, strict=True) if loss is not None]
    colours = [palette.run_line(point.colour, 1)["color"] for point, _ in shown]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [point.parameters for point, _ in shown],
        "y": [round(loss, 4) for _, loss in shown],
        "text": [literal(point.name) for point, _ in shown],
        "textposition": "top center",
        "name": kind,
        "marker": {"size": 12, "symbol": symbol, "color": colours, "line": {"width": 2, "color": colours}},
        "hovertemplate": f"%{{text}}: {kind} loss %{{y:.3f}}<extra></extra>",
    }
