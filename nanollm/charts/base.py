"""Data in, plain Plotly figures out: dictionaries {"data": [...], "layout": {...}} that plotly.js and plotly.py draw.

Here is what all figures share: colours, labels, axes, reference lines. The figures themselves stand in loss_chart.py,
attention_chart.py, health_chart.py, inside_charts.py and scaling_charts.py. Nothing but plotly_js and write_html needs
plotly installed. Text that becomes a label goes through `literal`, because Plotly reads markup in labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nanollm.tokenizer import visible

Figure = dict[str, Any]


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

    def run_line(self, number: int, width: int) -> Figure:
        """The style of a run's lines. Numbers count from 0; from the sixth run on the colours come again, dashed."""
        dash = "solid" if number < len(self.runs) else "12px,3px"  # far longer than those of a reference line
        return {"color": self.runs[number % len(self.runs)], "width": width, "dash": dash}


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


@dataclass(frozen=True)
class Reference:
    """A dashed grey line across the chart: what something simpler than a Transformer achieves."""

    name: str
    loss: float
    meaning: str = ""  # what it does or knows, as one would say it after its name


class Counted(Protocol):
    """N-gram baselines of a text, as in `nanollm.data.ngrams.Baselines`: nats a character, None if not measured."""

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
    return Reference("uniform guess", math.log(vocab_size), meaning)


def references_of(vocab_size: int, counted: Counted | None) -> list[Reference]:
    """All reference lines that are known for a text, the easiest to pass first."""
    losses = (counted.unigram, counted.bigram, counted.trigram) if counted else (None, None, None)
    achieved = zip(_COUNTING, losses, strict=True)
    return [guessing(vocab_size), *(Reference(name, loss, told) for (name, told), loss in achieved if loss is not None)]


_COUNTING = (
    ("unigram counts", "knows only how often each character occurs"),
    ("bigram counts", "guesses by the one character before"),
    ("trigram counts", "guesses by the two characters before"),
)


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
    layout["xaxis"] |= {"title": titled(title), "type": "log" if logarithmic else "linear"}
    layout["yaxis"]["title"] = titled("loss (nats per character)")
    layout["annotations"] = [_reference_label(reference, palette) for reference in references]
    return {"data": [_reference_trace(reference, left, right, palette) for reference in references], "layout": layout}


def loss_bounds(data: Sequence[Mapping[str, Any]], references: Sequence[Reference]) -> Figure:
    """Where the axis of losses starts and ends at most and at least.

    A diverged run's peak may not press all else to the floor: twice the loss of the easiest reference is the end, or,
    where there is none, of the lines' first (one that begins in such a peak does not count). Half of it is always in
    view, so that the first points do not fill the chart with their noise.
    """
    firsts = [trace["y"][0] for trace in data if trace["y"]] or [math.log(2)]
    first = max([one.loss for one in references] or [y for y in firsts if y <= 4 * min(firsts)])
    return {"include": round(first / 2, 3), "clipmin": 0, "clipmax": round(2 * first, 3)}


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


def titled(text: str) -> Figure:
    """An axis title, a little apart from its axis."""
    return {"text": text, "standoff": 8, "font": {"size": 13}}


def scatter(points: tuple[list[float], list[float]], name: str, style: Figure) -> Figure:
    """Points, x and y, joined by a line of the given style; its name shows whatever markup it contains."""
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
    line = scatter(([left, right], [reference.loss] * 2), reference.name, style)
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


def plotly_js() -> str:
    """The source of plotly.js, for a page that must open without a network (about 5 MB)."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def write_html(figure: Figure, path: str | Path) -> None:
    """Write the figure as one HTML file that opens anywhere, with plotly.js inside (it is about 5 MB)."""
    import plotly.io

    plotly.io.write_html(figure, str(path), include_plotlyjs=True, full_html=True, validate=True)
