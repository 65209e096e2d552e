"""The Compare tab: up to four models on one prompt, and any number of runs by their curves and settings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from nanollm.experiments.scaling import Experiment, experiments
from playground.compare import curves, guess_the_size, scored, sentences, texts
from playground.compare.columns import MAX_COLUMNS, MIN_COLUMNS
from playground.components.factory import browser_call
from playground.components.text import no_model
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, report_errors

# The style sheet hides all views but the open one, so that switching is instant. It reads an attribute of the body.
TURNED = browser_call("shell/page_state.js", "turned", "view")


@dataclass
class Parts:
    view: gr.Radio
    experiment: gr.Dropdown
    texts: texts.Parts
    curves: curves.Parts
    scored: scored.Parts
    guess_the_size: guess_the_size.Parts

    @property
    def prompt(self) -> gr.Textbox:
        return self.texts.prompt_row.prompt


def layout(ctx: Context) -> Parts:
    no_model(ctx, "compare", sentences.NO_MODELS)
    with gr.Column(elem_id="compare-main", elem_classes="when-runs"):
        view = gr.Radio(
            [(title, name) for name, title in sentences.VIEW_TITLES.items()], value="texts", show_label=False,
            container=False, label=sentences.VIEW_LABEL, elem_id="compare-view", elem_classes="segments",
        )  # fmt: skip
        columns = texts.layout(ctx)
        experiment = _experiment()
        others = [module.layout(ctx) for module in (curves, scored, guess_the_size)]
    return Parts(view, experiment, columns, *others)


def _experiment() -> gr.Dropdown:
    return gr.Dropdown(
        [], value=None, label=sentences.OPEN_EXPERIMENT, visible=False, elem_id="compare-experiment", interactive=True,
        elem_classes="compare-view when-texts when-curves when-table",
    )  # fmt: skip


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    texts.wire(ctx, parts.texts, parts.view)
    curves.wire(ctx, parts.curves, parts.view)
    scored.wire(ctx, parts.scored, parts.texts)
    guess_the_size.wire(ctx, parts.guess_the_size, parts.texts)
    _wire_experiments(ctx, parts)
    ctx.link_to_url(parts.prompt, "prompt", "compare")
    parts.view.change(None, parts.view, None, js=TURNED, api_visibility="private", **MULTIPLE)

    def restore(request: gr.Request) -> Any:
        view = request.query_params.get("view", "")
        return view if view in sentences.VIEW_TITLES else gr.skip()

    ctx.demo.load(restore, None, parts.view, api_visibility="private", show_progress="hidden")


def _wire_experiments(ctx: Context, parts: Parts) -> None:
    """Opening a scaling experiment puts its first four runs into the columns, and all of them into the curves."""

    def offer(tab: Any) -> Any:
        if tab != "compare":
            return gr.skip()
        found = [(_title(experiment), experiment.name) for experiment in _experiments(ctx)]
        return gr.Dropdown(choices=found, visible=bool(found))

    ctx.tab.change(offer, ctx.tab, parts.experiment, **UNQUEUED, **MULTIPLE)

    @report_errors
    def open_experiment(name: Any) -> list[Any]:
        found = next((experiment for experiment in _experiments(ctx) if experiment.name == name), None)
        if found is None:
            raise InputError(sentences.EXPERIMENT_NOT_FOUND)
        models = members(found)
        if not models:
            raise InputError(sentences.EXPERIMENT_EMPTY)
        updates = [*models[:MAX_COLUMNS], *(gr.skip(),) * (MAX_COLUMNS - len(models))]
        ids = [run.id for run in found.runs()]
        return [*updates, min(max(len(models), MIN_COLUMNS), MAX_COLUMNS), ids]

    parts.experiment.input(
        open_experiment, parts.experiment, [*parts.texts.models, parts.texts.count, parts.curves.runs],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def _experiments(ctx: Context) -> list[Experiment]:
    """Return the experiments with runs that the visitor may view."""
    return [found for found in experiments(ctx.settings.checkpoints, ctx.runs) if found.runs()]


def members(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the last snapshot of each run of an experiment that has one, ordered by seed."""
    ready = [run for run in experiment.runs() if run.snapshots()]
    ordered = sorted(ready, key=lambda run: experiment.plan.seeds.index(run.train_config.seed))
    return [{"run": run.id, "step": run.snapshots()[-1].step} for run in ordered]


def _title(experiment: Experiment) -> str:
    day = time.strftime("%-d %b", time.localtime(experiment.created))
    presets = ", ".join(experiment.plan.presets)
    return sentences.EXPERIMENT_TITLE.format(presets=presets, corpus=experiment.corpus.name, day=day)
