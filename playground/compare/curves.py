"""Curves and Table: any number of runs compared by their loss curves and by their settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from nanollm.charts.base import Figure, Reference, references_of
from nanollm.runs.store import Run
from nanollm.runs.table import tabulate
from playground.compare import sentences
from playground.compare.columns import comparison_warning
from playground.components.factory import component
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.components.run_table import run_table, sheet
from playground.components.text import line
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED

if TYPE_CHECKING:
    from nanollm.charts.scaling import LossCurve

MAX_POINTS = 200  # of one curve
RUN_CHOOSER = """
<fieldset class="run-chooser">
  <legend class="quiet">{runs} <button type="button" class="ghost all">{all}</button><button type="button"
    class="ghost none">{none}</button></legend>
  <div class="chips"></div>
</fieldset>
"""


@dataclass
class Parts:
    runs: gr.HTML
    caution: gr.HTML
    axis: gr.Radio
    chart: gr.HTML
    table: gr.HTML


def layout(ctx: Context) -> Parts:
    with gr.Column(elem_classes="compare-view when-curves when-table", min_width=0):
        runs = _run_chooser("compare-runs")
        warning = line("compare-runs-caution", elem_classes="caution")
    with gr.Column(elem_classes="compare-view when-curves", min_width=0):
        axis = gr.Radio(
            list(sentences.AXES.items()), value="steps", show_label=False, container=False, label=sentences.AXIS_LABEL,
            elem_id="compare-axis", elem_classes="segments",
        )  # fmt: skip
        chart = plotly_chart(
            label=sentences.CURVES_LABEL, elem_id="compare-curves", height=400, empty=sentences.CURVES_EMPTY
        )
        line("compare-curves-legend", sentences.CURVES_LEGEND)
    with gr.Column(elem_classes="compare-view when-table", min_width=0):
        table = run_table("compare-table")
    return Parts(runs, warning, axis, chart, table)


def _run_chooser(elem_id: str) -> gr.HTML:
    """Checkboxes for all runs. The value is a list of run ids, or None before there are runs.

    At first, the models in the columns are checked. `news` is triggered when a checked run has new measurements.
    """
    return component(
        "compare/curves.js",
        RUN_CHOOSER,
        events=("news",),
        elem_id=elem_id,
        runs=sentences.RUNS,
        all=sentences.ALL_RUNS,
        none=sentences.NO_RUNS,
    )


def wire(ctx: Context, parts: Parts, view: gr.Radio) -> None:
    def draw(tab: Any, view: Any, ids: Any, axis: Any) -> Any:
        if tab != "compare" or view not in ("curves", "table"):
            return gr.skip()
        runs = chosen_runs(ctx, ids)
        warning = comparison_warning(runs)
        if view == "table":
            return warning, gr.skip(), sheet(tabulate(runs))
        return warning, curves(ctx, runs, axis if axis in sentences.AXES.values() else "steps"), gr.skip()

    inputs, outputs = [ctx.tab, view, parts.runs, parts.axis], [parts.caution, parts.chart, parts.table]
    for event in (parts.runs.change, parts.runs.news, parts.axis.change, view.change, ctx.tab.change):
        event(draw, inputs, outputs, **UNQUEUED, **MULTIPLE)


def chosen_runs(ctx: Context, ids: Any) -> list[Run]:
    """Return the existing runs among the ids that a browser sent, in its order."""
    known = {run.id: run for run in ctx.runs.list()}
    ids = dict.fromkeys(id for id in ids if isinstance(id, str)) if isinstance(ids, list) else ()
    return [known[id] for id in ids if id in known]


def curves(ctx: Context, runs: Sequence[Run], axis: str) -> Figure | None:
    """Return the loss curves of runs over one of sentences.AXES; None if no loss has been measured."""
    from nanollm.charts.scaling import loss_curves_figure
    from nanollm.experiments.results import AXES as TITLES  # imports torch
    from nanollm.experiments.results import courses

    measured = [run for run in runs if run.curve().eval_steps]
    if not measured:
        return None
    title, logarithmic = TITLES[axis]
    lines = [_thinned(courses(run, run.title, ctx.catalogue.slot(run.id))[axis]) for run in measured]
    figure = loss_curves_figure(
        lines, title, logarithmic=logarithmic, references=_references(measured), revision=axis, palette=TOKENS
    )
    figure["layout"] |= {"showlegend": False}  # the run chooser shows the colors
    return figure


def _references(runs: Sequence[Run]) -> list[Reference]:
    """Return the n-gram baselines if the losses of the runs are comparable."""
    if comparison_warning(runs):
        return []
    baselines = next((run.baselines for run in runs if run.baselines), None)
    return references_of(runs[0].model_config.vocab_size, baselines)


def _thinned(curve: LossCurve) -> LossCurve:
    """Keep at most MAX_POINTS measurements at equal distances, and the last."""
    size = len(curve.x)
    every = -(-size // MAX_POINTS)
    kept = [i for i in range(size) if i % every == 0 or i == size - 1]
    x, val_loss, train_loss = ([values[i] for i in kept] for values in (curve.x, curve.val_loss, curve.train_loss))
    return replace(curve, x=x, val_loss=val_loss, train_loss=train_loss)
