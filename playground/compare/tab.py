"""Compare: what size buys. Two to four models on one prompt, and any number of runs by their curves and settings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from nanollm.experiments.scaling import Experiment, experiments
from playground.compare import curves, scored, texts
from playground.compare import guess_the_size as blind
from playground.compare.columns import MAX_COLUMNS, MIN_COLUMNS
from playground.components.factory import browser_call
from playground.components.no_model import empty
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, report_errors

NO_MODEL = "Nothing to compare yet. One trained model is enough: at two moments of its training."
VIEWS = {
    "texts": "Texts",
    "curves": "Curves",
    "table": "Table",
    "scored": "Same text scored",
    "blind": "Blind round",
}
# Which view is open is for the style sheet to know: all are in the page, so that turning to one is instant.
TURNED = browser_call("shell/page_state.js", "turned", "view")


@dataclass
class Parts:
    view: gr.Radio
    experiment: gr.Dropdown
    texts: texts.Parts
    curves: curves.Parts
    scored: scored.Parts
    blind: blind.Parts

    @property
    def prompt(self) -> gr.Textbox:
        return self.texts.ask.prompt


def layout(ctx: Context) -> Parts:
    empty(ctx, "compare", NO_MODEL)
    with gr.Column(elem_id="compare-main", elem_classes="when-runs"):
        view = gr.Radio(
            [(title, name) for name, title in VIEWS.items()], value="texts", show_label=False, container=False,
            label="View", elem_id="compare-view", elem_classes="segments",
        )  # fmt: skip
        columns = texts.layout(ctx)
        experiment = _experiment()
        others = [module.layout(ctx) for module in (curves, scored, blind)]
    return Parts(view, experiment, columns, *others)


def _experiment() -> gr.Dropdown:
    return gr.Dropdown(
        [], value=None, label="Open an experiment", visible=False, elem_id="compare-experiment", interactive=True,
        elem_classes="compare-view when-texts when-curves when-table",
    )  # fmt: skip


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    texts.wire(ctx, parts.texts, parts.view)
    curves.wire(ctx, parts.curves, parts.view)
    scored.wire(ctx, parts.scored, parts.texts)
    blind.wire(ctx, parts.blind, parts.texts)
    _wire_experiments(ctx, parts)
    ctx.link_to_url(parts.prompt, "prompt", "compare")
    parts.view.change(None, parts.view, None, js=TURNED, api_visibility="private", **MULTIPLE)

    def restore(request: gr.Request) -> Any:
        view = request.query_params.get("view", "")
        return view if view in VIEWS else gr.skip()

    ctx.demo.load(restore, None, parts.view, api_visibility="private", show_progress="hidden")


def _wire_experiments(ctx: Context, parts: Parts) -> None:
    """The runs of a scaling experiment: its first four in the columns, all of them among the curves."""

    def offer(tab: Any) -> Any:
        if tab != "compare":
            return gr.skip()
        found = [(_title(one), one.name) for one in _experiments(ctx)]
        return gr.Dropdown(choices=found, visible=bool(found))

    ctx.tab.change(offer, ctx.tab, parts.experiment, **UNQUEUED, **MULTIPLE)

    @report_errors
    def open_one(name: Any) -> list[Any]:
        found = next((one for one in _experiments(ctx) if one.name == name), None)
        if found is None:
            raise InputError("This experiment is no longer here: choose another one.")
        models = members(found)
        if not models:
            raise InputError("Nothing of this experiment has been trained yet: wait for its first snapshots.")
        updates = [*models[:MAX_COLUMNS], *(gr.skip(),) * (MAX_COLUMNS - len(models))]
        ids = [run.id for run in found.runs()]
        return [*updates, min(max(len(models), MIN_COLUMNS), MAX_COLUMNS), ids]

    parts.experiment.input(
        open_one, parts.experiment, [*parts.texts.models, parts.texts.count, parts.curves.runs],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def _experiments(ctx: Context) -> list[Experiment]:
    """Those of which whoever asks sees a run."""
    return [one for one in experiments(ctx.settings.checkpoints, ctx.runs) if one.runs()]


def members(experiment: Experiment) -> list[dict[str, Any]]:
    """The runs of an experiment that have a snapshot, each at its last; of each size first the first seed."""
    ready = [run for run in experiment.runs() if run.snapshots()]
    ordered = sorted(ready, key=lambda run: experiment.plan.seeds.index(run.train_config.seed))
    return [{"run": run.id, "step": run.snapshots()[-1].step} for run in ordered]


def _title(experiment: Experiment) -> str:
    day = time.strftime("%-d %b", time.localtime(experiment.created))
    return f"{', '.join(experiment.plan.presets)} on {experiment.corpus.name} ({day})"
