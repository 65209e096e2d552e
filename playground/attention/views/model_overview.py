"""The Whole model fold: a map of the character embeddings, and how much context the model uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from nanollm.charts.inspection import context_figure, map_figure
from playground.attention import sentences
from playground.attention.view_frame import introduction, python_code, python_fold
from playground.components.format import percent
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.components.text import line
from playground.context import Context

if TYPE_CHECKING:
    from nanollm.explain.context_use import ContextUse
    from playground.services.inspections import View


@dataclass
class Parts:
    fold: gr.Accordion
    opened: gr.State
    map: gr.HTML
    about_map: gr.HTML
    context: gr.HTML
    about_context: gr.HTML
    python: gr.Textbox

    @property
    def outputs(self) -> list[Any]:
        return [self.map, self.about_map, self.context, self.about_context, self.python]


def layout(ctx: Context) -> Parts:
    opened = gr.State(False)
    with gr.Accordion(sentences.WHOLE_MODEL, open=False, elem_classes="fold", elem_id="attention-whole") as fold:
        with gr.Row(elem_classes="whole-view"):
            with gr.Column(min_width=280):
                introduction("map", sentences.MAP_ABOUT, sentences.MAP_CAUTION)
                points = plotly_chart(
                    label=sentences.MAP_LABEL, elem_id="attention-map", height=460, square=True,
                    empty=sentences.MAP_EMPTY,
                )  # fmt: skip
                about_map = line("attention-map-about")
            with gr.Column(min_width=280):
                introduction("meter", sentences.CONTEXT_ABOUT, sentences.CONTEXT_CAUTION)
                context = plotly_chart(
                    label=sentences.CONTEXT_LABEL, elem_id="attention-meter", height=360, empty=sentences.CONTEXT_EMPTY
                )
                about_context = line("attention-meter-about")
        python = python_fold("whole")
    return Parts(fold, opened, points, about_map, context, about_context, python)


def show_map(ctx: Context, parts: Parts, view: View) -> dict[Any, Any]:
    """Return the character map of the snapshot, on the axes of the whole run."""
    maps = ctx.inspections.maps(view)
    shown = maps.maps[maps.steps.index(view.snapshot.step)]
    figure = map_figure(
        shown.points, shown.characters, shown.kinds, list(shown.explained_variance), reach=maps.reach,
        revision=view.run.id, palette=TOKENS,
    )  # fmt: skip
    python = python_code(
        "from nanollm.explain.context_use import measure_context_use\n"
        "from nanollm.explain.embeddings import character_map",
        view.name,
        "character_map(loaded.model, loaded.tokenizer).points  # (V, 2)",
        "meter = measure_context_use(loaded.model, ids)  # ids: of a text that was not used in training",
        "meter.lengths, meter.truncated, meter.sufficient_length()",
    )
    about = sentences.MAP_SHARE.format(share=percent(shown.total_explained_variance))
    return {parts.map: figure, parts.about_map: about, parts.python: python}


def show_context(ctx: Context, parts: Parts, view: View) -> dict[Any, Any]:
    """Return the chart of loss by context length, measured now if it is not cached."""
    meter, source = ctx.inspections.meter(view)
    return {parts.context: context_figure(meter, palette=TOKENS), parts.about_context: _reach(meter, source)}


def show_context_of_text(ctx: Context, parts: Parts, view: View) -> Any:
    """Update the chart after the text changed, if the loss is measured on that text."""
    return gr.skip() if ctx.inspections.key(view)[1] is None else show_context(ctx, parts, view)


def _reach(meter: ContextUse, source: str) -> str:
    """Say how many characters of context the model uses."""
    reach, window = meter.sufficient_length(), int(meter.lengths[-1])
    at = int(np.searchsorted(meter.lengths, reach if reach < window else window // 2))
    error = float(np.nan_to_num(meter.increase_error[at]))  # of the loss increase at that length
    template = sentences.REACH if reach < window else sentences.REACH_ALL
    return template.format(reach=reach, window=window, error=error, text=source)
