"""The whole model, in a fold: its characters as a map, and how far back it really looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from nanollm.charts.inspection import context_figure, map_figure
from nanollm.explain.context_use import ContextUse
from playground.attention.lens import Around, call, python_call, statement
from playground.components.format import percent
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.components.text import line
from playground.context import Context
from playground.services.inspections import View

MAP = "Each character at its embedding, seen from the side from which they lie farthest apart. Move the time bar."
MAP_CAUTION = "Two of many dimensions: what lies close here may be far apart in the others."
CONTEXT = "What the same characters cost when the model sees only so many characters before each of them."
CONTEXT_CAUTION = "More context that does not help here may help with another text, or another model of this size."


@dataclass
class Parts:
    fold: gr.Accordion
    opened: gr.State
    map: gr.HTML
    about_map: gr.HTML
    meter: gr.HTML
    about_meter: gr.HTML
    python: gr.Textbox

    @property
    def shown(self) -> list[Any]:
        return [self.map, self.about_map, self.meter, self.about_meter, self.python]


def layout(ctx: Context) -> Parts:
    opened = gr.State(False)
    with gr.Accordion("Whole model", open=False, elem_classes="fold", elem_id="attention-whole") as fold:
        with gr.Row(elem_classes="whole-view"):
            with gr.Column(min_width=280):
                statement("map", MAP, MAP_CAUTION)
                points = plotly_chart(
                    label="The characters as a map", elem_id="attention-map", height=460, square=True,
                    empty="The map appears here as soon as there is a snapshot.",
                )  # fmt: skip
                about_map = line("attention-map-about")
            with gr.Column(min_width=280):
                statement("meter", CONTEXT, CONTEXT_CAUTION)
                meter = plotly_chart(
                    label="Loss against characters of context", elem_id="attention-meter", height=360,
                    empty="The meter appears here as soon as there is a snapshot.",
                )  # fmt: skip
                about_meter = line("attention-meter-about")
        python = python_call("whole")
    return Parts(fold, opened, points, about_map, meter, about_meter, python)


def wire(ctx: Context, parts: Parts, around: Around) -> None:
    """Nothing of its own: the tab opens the fold and follows the selection."""


def show_map(ctx: Context, parts: Parts, view: View) -> dict[Any, Any]:
    """The map of the chosen snapshot, on the axes of the whole run."""
    maps = ctx.inspections.maps(view)
    at = maps.steps.index(view.snapshot.step)
    shown = maps.maps[at]
    figure = map_figure(
        shown.points, shown.characters, shown.kinds, list(shown.explained_variance), reach=maps.reach,
        revision=view.run.id, palette=TOKENS,
    )  # fmt: skip
    python = call(
        "from nanollm.explain.context_use import measure_context_use\n"
        "from nanollm.explain.embeddings import character_map",
        view.name,
        "character_map(loaded.model, loaded.tokenizer).points  # (V, 2)",
        "meter = measure_context_use(loaded.model, ids)  # of a text that it was never trained on",
        "meter.lengths, meter.truncated, meter.sufficient_length()",
    )
    about = f"The map shows {percent(shown.total_explained_variance)} of how far the characters lie apart."
    return {parts.map: figure, parts.about_map: about, parts.python: python}


def show_meter(ctx: Context, parts: Parts, view: View) -> dict[Any, Any]:
    """The meter of the chosen snapshot, measured now where nobody has asked before."""
    meter, where = ctx.inspections.meter(view)
    return {parts.meter: context_figure(meter, palette=TOKENS), parts.about_meter: _reach(meter, where)}


def show_meter_of_text(ctx: Context, parts: Parts, view: View) -> Any:
    """The same once another text stands above, which matters only where the model is judged by it."""
    return gr.skip() if ctx.inspections.key(view)[1] is None else show_meter(ctx, parts, view)


def _reach(meter: ContextUse, where: str) -> str:
    """How far back the model really looks, in one sentence."""
    reach, whole = meter.sufficient_length(), int(meter.lengths[-1])
    at = int(np.searchsorted(meter.lengths, reach if reach < whole else whole // 2))
    noisy = float(np.nan_to_num(meter.increase_error[at]))  # how far the rise at that length could be off
    sentence = (
        f"{reach} of {whole} characters are enough to come within 0.02 nats of the whole window"
        if reach < whole
        else f"It uses all of its window of {whole} characters: with less, it loses more than 0.02 nats"
    )
    return f"{sentence} (± {noisy:.3f}, on {where})."
