"""Shared by all charts: palettes, labels, axes and reference lines.

A chart is a plain dictionary {"data": [...], "layout": {...}} that both plotly.js and plotly.py can draw. Only
plotly_js() and write_html() need plotly installed. Text in labels must pass through escape_markup(), because Plotly
interprets markup in labels.
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
    """The colors of a figure, named like the design tokens of the playground's style sheet."""

    surface: str
    line: str
    text: str
    quiet: str
    action: str
    runs: tuple[str, ...]
    attention_from: str
    attention_to: str
    blocked: str

    def run_line(self, slot: int, width: int) -> Figure:
        """Line style of a run. Slots count from 0; after the fifth, the colors repeat with dashed lines."""
        dash = "solid" if slot < len(self.runs) else "12px,3px"  # much longer dashes than a reference line
        return {"color": self.runs[slot % len(self.runs)], "width": width, "dash": dash}


_LIGHT_AND_DARK: dict[str, tuple[Any, Any]] = {
    "surface": ("#FFFFFF", "#1B1E24"),
    "line": ("#DEDCD6", "#333843"),
    "text": ("#1C2026", "#E7E9ED"),
    "quiet": ("#5A6270", "#A2AAB8"),
    "action": ("#1D5FD1", "#8FB8FF"),
    "runs": (
        ("#1D5FD1", "#8A2B12", "#00A083", "#6B267C", "#BF8000"),
        ("#4F86E8", "#D0562A", "#45DDB4", "#E2C4FF", "#F2C230"),
    ),
    "attention_from": ("#FFFFFF", "#1B1E24"),
    "attention_to": ("#0B3F8A", "#9CCBFF"),
    "blocked": ("#F7F6F3", "#14161B"),
}
LIGHT, DARK = (Palette(**{name: colors[mode] for name, colors in _LIGHT_AND_DARK.items()}) for mode in (0, 1))


@dataclass(frozen=True)
class Reference:
    """A horizontal dashed line: the loss of a baseline that is simpler than a Transformer."""

    name: str
    loss: float  # nats per character
    meaning: str = ""  # a predicate that completes the sentence "<name> …"


class Baselines(Protocol):
    """Losses of n-gram baselines, as in nanollm.data.ngrams: nats per character, None if not measured."""

    @property
    def unigram(self) -> float | None: ...
    @property
    def bigram(self) -> float | None: ...
    @property
    def trigram(self) -> float | None: ...


def escape_markup(text: str) -> str:
    """Escape a text so that Plotly shows it literally, including any markup in it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def glyph(character: str) -> str:
    """A character as a label: escaped, and with a visible sign for whitespace."""
    return escape_markup(visible(character))


def uniform_reference(vocab_size: int) -> Reference:
    """The loss of a uniform guess among `vocab_size` characters: ln(vocab_size)."""
    meaning = f"gives each of {vocab_size:,} characters the same probability, as an untrained model does"
    return Reference("uniform guess", math.log(vocab_size), meaning)


def references_of(vocab_size: int, baselines: Baselines | None) -> list[Reference]:
    """All available reference lines of a text: a uniform guess, then the n-gram baselines that were measured."""
    references = [uniform_reference(vocab_size)]
    for name, attribute, meaning in _NGRAMS:
        if baselines is not None and (loss := getattr(baselines, attribute)) is not None:
            references.append(Reference(name, loss, meaning))
    return references


_NGRAMS = (
    ("unigram counts", "unigram", "know only how often each character occurs"),
    ("bigram counts", "bigram", "predict from the previous character"),
    ("trigram counts", "trigram", "predict from the two previous characters"),
)


def blank_figure(
    x_title: str,
    y_title: str = "loss (nats per character)",
    *,
    left: float = 0,
    right: float = 1,
    references: Sequence[Reference] = (),
    logarithmic: bool = False,
    revision: str | None = None,
    palette: Palette = LIGHT,
) -> Figure:
    """A figure with titled axes and without curves; reference lines extend from left to right on the X axis."""
    layout = _layout(palette, revision)
    layout["xaxis"] |= {"title": axis_title(x_title), "type": "log" if logarithmic else "linear"}
    layout["yaxis"]["title"] = axis_title(y_title)
    layout["annotations"] = [_reference_label(reference, palette) for reference in references]
    return {"data": [_reference_trace(reference, left, right, palette) for reference in references], "layout": layout}


def loss_bounds(data: Sequence[Mapping[str, Any]], references: Sequence[Reference]) -> Figure:
    """Plotly autorange options for the loss axis.

    The axis ends at twice the highest reference loss at most, so that the peak of a diverged run does not compress
    everything else. Without references, the highest first value of the lines is used instead, ignoring outliers. Half
    of that loss is always in view, so that the noise of the first points does not fill the chart.
    """
    first_values = [trace["y"][0] for trace in data if trace["y"]] or [math.log(2)]
    first = max([one.loss for one in references] or [y for y in first_values if y <= 4 * min(first_values)])
    return {"include": round(first / 2, 3), "clipmin": 0, "clipmax": round(2 * first, 3)}


def _layout(palette: Palette, revision: str | None) -> Figure:
    """The layout that all figures share: muted axes and small margins."""
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


def axis_title(text: str) -> Figure:
    """An axis title with some distance from its axis."""
    return {"text": text, "standoff": 8, "font": {"size": 13}}


def scatter(points: tuple[list[float], list[float]], name: str, style: Figure) -> Figure:
    """A line through points (x, y) with a name and a style."""
    x, y = points
    return {
        "type": "scatter",
        "mode": "lines" if len(x) > 1 else "markers",  # a single point has no line
        "x": [round(value, 2) for value in x],
        "y": [round(value, 3) for value in y],
        "name": escape_markup(name),
        "line": style,
        "hovertemplate": "%{y:.3f}",
    }


def _reference_trace(reference: Reference, left: float, right: float, palette: Palette) -> Figure:
    style = {"color": palette.quiet, "width": 1, "dash": "dash"}
    line = scatter(([left, right], [reference.loss] * 2), reference.name, style)
    return line | {"hoverinfo": "skip", "hovertemplate": None, "showlegend": False}


def _reference_label(reference: Reference, palette: Palette) -> Figure:
    return {
        "text": f"{escape_markup(reference.name)} {reference.loss:.2f}",
        "hovertext": escape_markup(f"“{reference.name}” {reference.meaning}." if reference.meaning else reference.name),
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
    """The source code of plotly.js (about 5 MB), for pages that must work offline."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def write_html(figure: Figure, path: str | Path) -> None:
    """Write a figure as a self-contained HTML file, with plotly.js included (about 5 MB)."""
    import plotly.io

    plotly.io.write_html(figure, str(path), include_plotlyjs=True, full_html=True, validate=True)
