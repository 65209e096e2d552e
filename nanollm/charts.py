"""Data in, plain Plotly figures out: dictionaries {"data": [...], "layout": {...}} that plotly.js and plotly.py draw.

Nothing here needs plotly installed except write_html. Text that becomes a label goes through `literal`, because Plotly
reads markup in labels; the axes of characters count positions, because Plotly would merge equal characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nanollm.tokenizer import visible

Figure = dict[str, Any]

TRAIN_POINTS = 300
VAL_POINTS = 120


@dataclass(frozen=True)
class Palette:
    """The colours of a figure: one name for each, the same as the tokens of the page's style sheet."""

    surface: str
    line: str
    text: str
    quiet: str
    action: str
    runs: tuple[str, ...]
    attention_from: str
    attention_to: str
    blocked: str


LIGHT = Palette(
    surface="#FFFFFF",
    line="#DEDCD6",
    text="#1C2026",
    quiet="#5A6270",
    action="#1D5FD1",
    runs=("#1D5FD1", "#8A2B12", "#00A083", "#6B267C", "#BF8000"),
    attention_from="#FFFFFF",
    attention_to="#0B3F8A",
    blocked="#F7F6F3",
)
DARK = Palette(
    surface="#1B1E24",
    line="#333843",
    text="#E7E9ED",
    quiet="#A2AAB8",
    action="#8FB8FF",
    runs=("#4F86E8", "#D0562A", "#45DDB4", "#E2C4FF", "#F2C230"),
    attention_from="#1B1E24",
    attention_to="#9CCBFF",
    blocked="#14161B",
)


class Curve(Protocol):
    """What a loss chart reads off a run; `Run.curve()` is one. Steps ascend; losses may be None where there is none."""

    @property
    def steps(self) -> Sequence[int]: ...
    @property
    def loss(self) -> Sequence[float | None]: ...
    @property
    def eval_steps(self) -> Sequence[int]: ...
    @property
    def val_loss(self) -> Sequence[float | None]: ...


@dataclass(frozen=True)
class RunLine:
    """One run on a chart. `colour` counts from 0; from the sixth run on the colours come again, dashed."""

    curve: Curve
    name: str = ""
    colour: int = 0


@dataclass(frozen=True)
class Reference:
    """A dashed grey line across the chart: what something simpler than a Transformer achieves."""

    name: str
    loss: float


def literal(text: str) -> str:
    """`text` as Plotly shows it character by character, whatever markup it contains."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def glyph(character: str) -> str:
    """One character as a label: literally, and with a visible sign where it is blank."""
    return literal(visible(character))


def guessing(vocab_size: int) -> Reference:
    """The first reference line: what choosing blindly among `vocab_size` characters costs."""
    return Reference("blind guessing", math.log(vocab_size))


def loss_figure(
    curve: Curve | None = None,
    *,
    colour: int = 0,
    num_steps: int = 0,
    overlays: Iterable[RunLine] = (),
    references: Iterable[Reference] = (),
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """Training and validation loss over the steps, of one run and of any that are laid over it.

    Without a curve it shows the reference lines alone, over `num_steps`. While `revision` stays the same, a chart that
    is updated keeps the zoom that a person has chosen. Its size does not grow with the run: see `thin`.
    """
    lines = [*([RunLine(curve, "", colour)] if curve is not None else []), *overlays]
    references = list(references)
    many = len(lines) > 1
    data = [trace for line in lines for trace in _run_traces(line, many, palette)]
    last = max((trace["x"][-1] for trace in data if trace["x"]), default=0)
    right = _right_edge(last, num_steps)
    data += [_reference_trace(reference, right, palette) for reference in references]
    layout = _layout(palette, revision)
    # Ranges stay automatic within these bounds: a range set here would undo a person's zoom whenever it changes.
    layout["xaxis"] |= {"title": _titled("steps"), "autorangeoptions": {"include": [0, right], "clipmin": 0}}
    layout["yaxis"] |= {"title": _titled("loss (nats per character)"), "autorangeoptions": _loss_bounds(data)}
    layout["annotations"] = [_reference_label(reference, palette) for reference in references]
    layout |= {"hovermode": "x unified", "showlegend": bool(lines)}
    return {"data": data, "layout": layout}


def attention_figure(
    weights: np.ndarray | Sequence[Sequence[float]],
    characters: Sequence[str],
    *,
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """One head's weights (T, T) as a heatmap: each row is a character, its cells are where that character looks.

    What lies ahead of a character is left blank: the model cannot look there.
    """
    grid = np.asarray(weights, dtype=float)
    glyphs = [glyph(character) for character in characters]
    ahead = np.triu_indices(len(glyphs), 1)
    cells = np.where(np.isfinite(grid), grid, 0.0).round(3).astype(object)
    cells[ahead] = None
    hover = [[f"{row} → {column}" for column in glyphs[: i + 1]] for i, row in enumerate(glyphs)]
    positions = list(range(len(glyphs)))
    ticks = {"tickmode": "array", "tickvals": positions, "ticktext": glyphs, "tickangle": 0, "showgrid": False}
    layout = _layout(palette, revision)
    layout["xaxis"] |= {**ticks, "title": _titled("the character it looks at"), "constrain": "domain"}
    layout["yaxis"] |= {**ticks, "title": _titled("the character that looks"), "autorange": "reversed"}
    layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
    for axis in ("xaxis", "yaxis"):
        layout[axis]["tickfont"] = {"family": "ui-monospace, Menlo, Consolas, monospace", "size": 11}
    heatmap = {
        "type": "heatmap",
        "z": cells.tolist(),
        "text": hover,
        "zmin": 0,
        "zmax": _brightest(grid),
        "colorscale": [[0, palette.attention_from], [1, palette.attention_to]],
        "hovertemplate": "%{text}: %{z:.1%}<extra></extra>",
        "hoverongaps": False,
        "colorbar": {"thickness": 8, "outlinewidth": 0, "tickformat": ".0%", "nticks": 3, "len": 0.6},
    }
    layout |= {"plot_bgcolor": palette.blocked}
    return {"data": [heatmap], "layout": layout}


def thin(steps: Sequence[int], values: Sequence[float | None], limit: int) -> tuple[list[int], list[float]]:
    """At most `limit` points that look like all of them: of every bin of steps the lowest and the highest value.

    The bins are stable: their width depends on the last step alone and doubles when they no longer fit, so that between
    two doublings a growing curve only ever gains points at its end, and nothing drawn earlier moves. The first and the
    last point are always kept; values that are missing or not finite are left out.
    """
    x = np.asarray(steps, dtype=np.int64)
    y = np.array([math.nan if value is None else value for value in values], dtype=float)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if len(x) > limit:
        bins = x // _bin_width(int(x[-1]), limit)
        starts = np.flatnonzero(np.diff(bins, prepend=bins[0] - 1))
        order = np.lexsort((y, bins))  # bin by bin, each from its lowest to its highest value
        ends = np.append(starts[1:], len(x)) - 1
        kept = np.unique(np.concatenate((order[starts], order[ends], [0, len(x) - 1])))
        x, y = x[kept], y[kept]
    return x.tolist(), y.tolist()


def write_html(figure: Figure, path: str | Path) -> None:
    """Write the figure as one HTML file that opens anywhere, with plotly.js inside (it is about 5 MB)."""
    import plotly.io

    plotly.io.write_html(figure, str(path), include_plotlyjs=True, full_html=True, validate=True)


def _bin_width(last: int, limit: int) -> int:
    """The smallest power of two that cuts the steps up to `last` into bins of which `limit` holds two points each."""
    width = 1
    while 2 * (last // width + 1) > limit - 2:  # two are for the first and the last point
        width *= 2
    return width


def _right_edge(last: int, num_steps: int) -> int:
    """Where the axis of steps ends: at the last step, or at the half, quarter, ... of the run that still holds it.

    So the axis stands still for a while, and the beginning of a long run is not squeezed against its left end.
    """
    edge = max(num_steps, last, 1)
    while last and edge >= 2 * last and edge > 50:
        edge = math.ceil(edge / 2)
    return edge


def _loss_bounds(data: Sequence[Mapping[str, Any]]) -> Figure:
    """Where the axis of losses starts and ends at most and at least.

    A diverged run's peak may not press all else to the floor: twice the first loss is the end (a line that begins in
    such a peak does not count). Half of it is always in view, so that the first points do not fill the chart with their
    noise.
    """
    firsts = [trace["y"][0] for trace in data if trace["y"]] or [math.log(2)]
    first = max(y for y in firsts if y <= 4 * min(firsts))
    return {"include": round(first / 2, 3), "clipmin": 0, "clipmax": round(2 * first, 3)}


def _brightest(grid: np.ndarray) -> float:
    """The weight drawn in the strongest colour. The first rows do not count: with so little behind it, any character
    must look hard at something."""
    settled = grid[4:] if len(grid) > 8 else grid
    return round(max(0.1, float(np.nanmax(settled, initial=0.0))), 3)


def _run_traces(line: RunLine, many: bool, palette: Palette) -> list[Figure]:
    """A run's two lines: training thin and faint, validation solid."""
    colour = palette.runs[line.colour % len(palette.runs)]
    dash = "solid" if line.colour < len(palette.runs) else "dash"
    name = literal(line.name)
    train_x, train_y = thin(line.curve.steps, line.curve.loss, TRAIN_POINTS)
    val_x, val_y = thin(line.curve.eval_steps, line.curve.val_loss, VAL_POINTS)
    train = _line(train_x, train_y, f"{name} training".strip(), {"color": colour, "width": 1, "dash": dash})
    val = _line(val_x, val_y, f"{name} validation".strip(), {"color": colour, "width": 2, "dash": dash})
    return [train | {"opacity": 0.35, "showlegend": not many}, val]


def _line(x: list[int], y: list[float], name: str, style: Figure) -> Figure:
    y = [round(value, 4) for value in y]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "name": name,
        "line": style,
        "hovertemplate": "%{y:.3f}",
    }


def _reference_trace(reference: Reference, right: int, palette: Palette) -> Figure:
    style = {"color": palette.quiet, "width": 1, "dash": "dash"}
    line = _line([0, right], [reference.loss] * 2, literal(reference.name), style)
    return line | {"hoverinfo": "skip", "hovertemplate": None, "showlegend": False}


def _reference_label(reference: Reference, palette: Palette) -> Figure:
    return {
        "text": f"{literal(reference.name)}: {reference.loss:.2f}",
        "xref": "paper",
        "x": 1,
        "xanchor": "right",
        "y": reference.loss,
        "yanchor": "top",
        "showarrow": False,
        "font": {"size": 12, "color": palette.quiet},
    }


def _titled(text: str) -> Figure:
    return {"text": text, "standoff": 8, "font": {"size": 13}}


def _layout(palette: Palette, revision: str | None) -> Figure:
    """What all figures share: quiet axes on the surface's own colour, and room for labels but no more."""
    axis = {
        "color": palette.quiet,
        "gridcolor": palette.line,
        "linecolor": palette.line,
        "zeroline": False,
        "automargin": True,
        "fixedrange": False,
    }
    return {
        "xaxis": dict(axis),
        "yaxis": dict(axis),
        "font": {"size": 13, "color": palette.text},
        "margin": {"l": 52, "r": 12, "t": 28, "b": 44},
        "paper_bgcolor": palette.surface,
        "plot_bgcolor": palette.surface,
        "hoverlabel": {"bgcolor": palette.surface, "bordercolor": palette.line, "font": {"color": palette.text}},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"color": palette.quiet}},
        "dragmode": "zoom",
        "uirevision": revision,
    }
