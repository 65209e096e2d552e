"""Curves and Table: any number of runs, by what they lost on the way, and by what they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from nanollm.charts.base import Figure, Reference, references_of
from nanollm.runs.store import Run
from nanollm.runs.table import tabulate
from playground.compare.columns import comparison_warning
from playground.compare.compare_runs import run_chooser
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.components.run_table import run_table, sheet
from playground.components.text import line
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED

if TYPE_CHECKING:
    from nanollm.charts.scaling import LossCurve

AXES = {"steps": "steps", "characters": "characters", "seconds": "seconds", "computing": "flops"}  # in words
MOST_POINTS = 200  # of one curve
NOTHING = "Choose a run above: its curve appears as soon as its loss has been measured."
LEGEND = "Solid: loss on text that was held out. Faint: on text it learned from. Dashed grey: what counting achieves."


@dataclass
class Parts:
    runs: gr.HTML
    caution: gr.HTML
    axis: gr.Radio
    chart: gr.HTML
    table: gr.HTML


def layout(ctx: Context) -> Parts:
    with gr.Column(elem_classes="compare-view when-curves when-table", min_width=0):
        runs = run_chooser("compare-runs")
        warning = line("compare-runs-caution", elem_classes="caution")
    with gr.Column(elem_classes="compare-view when-curves", min_width=0):
        axis = gr.Radio(
            list(AXES.items()), value="steps", show_label=False, container=False, label="Against",
            elem_id="compare-axis", elem_classes="segments",
        )  # fmt: skip
        chart = plotly_chart(label="Loss of the chosen runs", elem_id="compare-curves", height=400, empty=NOTHING)
        line("compare-curves-legend", LEGEND)
    with gr.Column(elem_classes="compare-view when-table", min_width=0):
        table = run_table("compare-table")
    return Parts(runs, warning, axis, chart, table)


def wire(ctx: Context, parts: Parts, view: gr.Radio) -> None:
    def draw(tab: Any, view: Any, ids: Any, axis: Any) -> Any:
        if tab != "compare" or view not in ("curves", "table"):
            return gr.skip()
        runs = chosen_runs(ctx, ids)
        warning = comparison_warning(runs)
        if view == "table":
            return warning, gr.skip(), sheet(tabulate(runs))
        return warning, curves(ctx, runs, axis if axis in AXES.values() else "steps"), gr.skip()

    asked, shown = [ctx.tab, view, parts.runs, parts.axis], [parts.caution, parts.chart, parts.table]
    for moment in (parts.runs.change, parts.runs.news, parts.axis.change, view.change, ctx.tab.change):
        moment(draw, asked, shown, **UNQUEUED, **MULTIPLE)


def chosen_runs(ctx: Context, ids: Any) -> list[Run]:
    """The runs that a browser has chosen, as far as they are still here, in its order."""
    known = {run.id: run for run in ctx.runs.list()}
    ids = dict.fromkeys(id for id in ids if isinstance(id, str)) if isinstance(ids, list) else ()
    return [known[id] for id in ids if id in known]


def curves(ctx: Context, runs: Sequence[Run], axis: str) -> Figure | None:
    """The losses of runs against one of AXES; None while none was measured."""
    from nanollm.charts.scaling import loss_curves_figure
    from nanollm.experiments.results import AXES as TITLES  # which can also write, and so loads torch
    from nanollm.experiments.results import courses

    measured = [run for run in runs if run.curve().eval_steps]
    if not measured:
        return None
    title, logarithmic = TITLES[axis]
    lines = [_thinned(courses(run, run.title, ctx.catalogue.slot(run.id))[axis]) for run in measured]
    figure = loss_curves_figure(
        lines, title, logarithmic=logarithmic, references=_references(measured), revision=axis, palette=TOKENS
    )
    figure["layout"] |= {"showlegend": False}  # the chosen runs stand above, each with its colour
    return figure


def _references(runs: Sequence[Run]) -> list[Reference]:
    """What counting achieves, where all of them learned from one text."""
    if comparison_warning(runs):
        return []
    counted = next((run.baselines for run in runs if run.baselines), None)
    return references_of(runs[0].model_config.vocab_size, counted)


def _thinned(course: LossCurve) -> LossCurve:
    """Every second, third, … measurement of a long run, and the last."""
    size = len(course.x)
    every = -(-size // MOST_POINTS)
    kept = [i for i in range(size) if i % every == 0 or i == size - 1]
    x, val_loss, train_loss = ([values[i] for i in kept] for values in (course.x, course.val_loss, course.train_loss))
    return replace(course, x=x, val_loss=val_loss, train_loss=train_loss)
