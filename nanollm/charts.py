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

from nanollm.thinning import averaged, thin
from nanollm.tokenizer import visible

Figure = dict[str, Any]

# Points of the chosen run on a loss chart (of its faint line half as many where others are laid over it); those share
# as many again. Together 8 KB at the most: a look at a run is to stay below 10.
TRAIN_POINTS, SMOOTH_POINTS, VAL_POINTS = 150, 40, 60
AXES = ("steps", "seconds")
MAX_OVERLAYS = 9
MAX_NAME = 28  # characters of a name in the legend, or it would take the chart's place


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
    def seconds(self) -> Sequence[float]: ...
    @property
    def eval_steps(self) -> Sequence[int]: ...
    @property
    def eval_seconds(self) -> Sequence[float]: ...
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
    meaning: str = ""  # what it does or knows, as one would say it after its name


class Counted(Protocol):
    """What counting achieves on a text; `nanollm.baselines.Baselines` is one. None where there was nothing to judge."""

    @property
    def unigram(self) -> float | None: ...
    @property
    def bigram(self) -> float | None: ...
    @property
    def trigram(self) -> float | None: ...


def literal(text: str) -> str:
    """`text` as Plotly shows it character by character, whatever markup it contains."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def glyph(character: str) -> str:
    """One character as a label: literally, and with a visible sign where it is blank."""
    return literal(visible(character))


def guessing(vocab_size: int) -> Reference:
    """The first reference line: what choosing blindly among `vocab_size` characters costs."""
    meaning = f"chooses blindly among {vocab_size:,} characters, where every model starts"
    return Reference("blind guessing", math.log(vocab_size), meaning)


def references_of(vocab_size: int, counted: Counted | None) -> list[Reference]:
    """All reference lines that are known for a text, the easiest to pass first."""
    losses = (counted.unigram, counted.bigram, counted.trigram) if counted else (None, None, None)
    achieved = zip(_COUNTING, losses, strict=True)
    return [guessing(vocab_size), *(Reference(name, loss, told) for (name, told), loss in achieved if loss is not None)]


_COUNTING = (
    ("counting characters", "knows only how often each character occurs (unigram)"),
    ("counting pairs", "guesses by the one character before (bigram)"),
    ("counting triples", "guesses by the two characters before (trigram)"),
)


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
    palette: Palette = LIGHT,
) -> Figure:
    """Training and validation loss of one run, and of any (at most MAX_OVERLAYS) that are laid over it.

    Drawn over the steps, or the seconds of training with axis="seconds"; `log` makes that axis logarithmic. Without a
    curve it shows the reference lines alone, over `num_steps`. While `revision` and the axis stay the same, a chart
    that is updated keeps the zoom that a person has chosen. Its size does not grow with the run: see thinning.py.
    """
    lines = list(overlays)[:MAX_OVERLAYS]
    own = _own_traces(RunLine(curve, "", colour), axis, log, palette, named=not lines) if curve is not None else []
    data = own + [trace for line in lines for trace in _laid_over(line, len(lines), axis, log, palette)]
    last = max((trace["x"][-1] for trace in data if trace["x"]), default=0)
    right = _right_edge(last, _end(curve, num_steps, axis), log)
    left = min([x for trace in data for x in trace["x"][:1]] or [1], default=1) if log else 0
    references = list(references)
    data += [_reference_trace(reference, left, right, palette) for reference in references]
    layout = _layout(palette, revision)
    layout["xaxis"]["title"] = _titled("steps" if axis == "steps" else "seconds of training")
    layout["xaxis"]["uirevision"] = revision and f"{revision} {axis} {log}"
    # Ranges stay automatic within these bounds: a range set here would undo a person's zoom whenever it changes.
    if log:
        layout["xaxis"] |= {"type": "log", "dtick": "D2" if right < 30 * left else 1}
    else:
        layout["xaxis"]["autorangeoptions"] = {"include": [0, right], "clipmin": 0}
    layout["yaxis"] |= {
        "title": _titled("loss (nats per character)"),
        "autorangeoptions": _loss_bounds(data, references),
    }
    layout["annotations"] = [_reference_label(reference, palette) for reference in references]
    layout |= {"hovermode": "x unified", "showlegend": bool(own or lines)}
    return {"data": data, "layout": layout}


def ruled(
    title: str,
    *,
    left: float,
    right: float,
    references: Sequence[Reference] = (),
    logarithmic: bool = False,
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """Loss against what `title` names, from `left` to `right`, before there is any curve: axes and reference lines."""
    layout = _layout(palette, revision)
    layout["xaxis"] |= {"title": _titled(title), "type": "log" if logarithmic else "linear"}
    layout["yaxis"]["title"] = _titled("loss (nats per character)")
    layout["annotations"] = [_reference_label(reference, palette) for reference in references]
    return {"data": [_reference_trace(reference, left, right, palette) for reference in references], "layout": layout}


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
    figure = attention_frame(characters, revision=revision, palette=palette)
    glyphs = figure["layout"]["xaxis"]["ticktext"]
    cells = np.where(np.isfinite(grid), grid, 0.0).round(3).astype(object)
    cells[np.triu_indices(len(glyphs), 1)] = None
    hover = [[f"{row} → {column}" for column in glyphs[: i + 1]] for i, row in enumerate(glyphs)]
    figure["data"][0] |= {"z": cells.tolist(), "text": hover, "zmax": brightest(grid)}
    return figure


def attention_frame(characters: Sequence[str], *, revision: str | None = None, palette: Palette = LIGHT) -> Figure:
    """The same without its cells, for who has the weights already."""
    glyphs = [glyph(character) for character in characters]
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
        "z": [],
        "text": [],
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, palette.attention_from], [1, palette.attention_to]],
        "hovertemplate": "%{text}: %{z:.1%}<extra></extra>",
        "hoverongaps": False,
        "colorbar": {"thickness": 8, "outlinewidth": 0, "tickformat": ".0%", "nticks": 3, "len": 0.6},
    }
    layout |= {"plot_bgcolor": palette.blocked}
    return {"data": [heatmap], "layout": layout}


def plotly_js() -> str:
    """The source of plotly.js, for a page that must open without a network (about 5 MB)."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def write_html(figure: Figure, path: str | Path) -> None:
    """Write the figure as one HTML file that opens anywhere, with plotly.js inside (it is about 5 MB)."""
    import plotly.io

    plotly.io.write_html(figure, str(path), include_plotlyjs=True, full_html=True, validate=True)


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


def _loss_bounds(data: Sequence[Mapping[str, Any]], references: Sequence[Reference]) -> Figure:
    """Where the axis of losses starts and ends at most and at least.

    A diverged run's peak may not press all else to the floor: twice the loss of the easiest reference is the end, or,
    where there is none, of the lines' first (one that begins in such a peak does not count). Half of it is always in
    view, so that the first points do not fill the chart with their noise.
    """
    firsts = [trace["y"][0] for trace in data if trace["y"]] or [math.log(2)]
    first = max([one.loss for one in references] or [y for y in firsts if y <= 4 * min(firsts)])
    return {"include": round(first / 2, 3), "clipmin": 0, "clipmax": round(2 * first, 3)}


def brightest(grid: np.ndarray) -> float:
    """The weight drawn in the strongest colour. The first rows do not count: with so little behind it, any character
    must look hard at something."""
    settled = grid[4:] if len(grid) > 8 else grid
    return round(max(0.1, float(np.nanmax(settled, initial=0.0))), 3)


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
    colour = palette.runs[line.colour % len(palette.runs)]
    dash = "solid" if line.colour < len(palette.runs) else "dash"
    return _trace(points, name, {"color": colour, "width": width, "dash": dash})


def _trace(points: tuple[list[float], list[float]], name: str, style: Figure) -> Figure:
    x, y = points
    return {
        "type": "scatter",
        "mode": "lines" if len(x) > 1 else "markers",  # a line of one point is none
        "x": [round(place, 2) for place in x],
        "y": [round(value, 3) for value in y],
        "name": literal(name),
        "line": style,
        "hovertemplate": "%{y:.3f}",
    }


def _reference_trace(reference: Reference, left: float, right: float, palette: Palette) -> Figure:
    style = {"color": palette.quiet, "width": 1, "dash": "dash"}
    line = _trace(([left, right], [reference.loss] * 2), reference.name, style)
    return line | {"hoverinfo": "skip", "hovertemplate": None, "showlegend": False}


def _reference_label(reference: Reference, palette: Palette) -> Figure:
    return {
        "text": f"{literal(reference.name)} {reference.loss:.2f}",
        "hovertext": literal(f"“{reference.name}” {reference.meaning}." if reference.meaning else reference.name),
        "xref": "paper",
        "x": 1,
        "xanchor": "right",
        "y": reference.loss,
        "yanchor": "bottom",
        "borderpad": 1,
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
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yanchor": "bottom",
            "font": {"color": palette.quiet},
        },
        "dragmode": "zoom",
        "uirevision": revision,
    }
