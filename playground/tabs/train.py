"""Train: choose a size, start, and watch the loss fall. Everything shown is read from the run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.charts import guessing, loss_figure
from nanollm.config import PRESETS, require_enough_text
from nanollm.corpus import CorpusInfo
from nanollm.errors import InputError
from nanollm.runs.store import Run
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.components.run_progress import run_progress
from playground.components.text import line, numbers
from playground.context import EACH, QUIET, Context, chosen, polite, sentence
from playground.recipe import FIELDS, MAIN, NAMES, RARE, Recipe, by_itself, choice, defaults
from playground.words import BUTTONS, facts, headline, newest_samples, run_sentences

FIRST = "nano"
WAITING = "Your curve will fall from the dashed line, which is blind guessing."
STARTING = "() => [{__type__: 'update', value: 'Starting…', interactive: false}]"
READY = "() => [{__type__: 'update', value: 'Start training', interactive: true}]"


@dataclass
class Parts:
    corpus: gr.Dropdown
    preset: gr.Radio
    start: gr.Button
    size: gr.HTML
    problem: gr.HTML
    fields: list[Any]  # one for each of NAMES
    command: gr.Textbox
    numbers: gr.HTML
    chart: gr.HTML
    state: gr.HTML
    pause: gr.Button
    resume: gr.Button
    stop: gr.Button
    progress: gr.HTML
    timer: gr.Timer


def layout(ctx: Context) -> Parts:
    with gr.Row(elem_classes="train-view"):
        with gr.Column(scale=0, min_width=280, elem_classes="train-setup"):
            corpus = gr.Dropdown([], label="Text", elem_id="train-corpus")
            preset = gr.Radio(
                [choice(name, 65) for name in PRESETS], value=FIRST, label="Size", elem_id="train-preset",
                elem_classes="cards",
            )  # fmt: skip
            size = line("train-size")
            problem = line("train-problem", elem_classes="problem")
            start = gr.Button("Start training", variant="primary", elem_id="train-start")
            with gr.Accordion("All settings", open=False, elem_classes="fold", elem_id="train-settings"):
                main = [_field(name) for name in MAIN]
                with gr.Accordion("Rarely changed", open=False, elem_classes="fold"):
                    rare = [_field(name) for name in RARE]
            with gr.Accordion("Command", open=False, elem_classes="fold", elem_id="train-command-fold"):
                command = gr.Textbox(
                    label="The same training from a terminal", lines=1, max_lines=12, interactive=False,
                    buttons=["copy"], elem_id="train-command",
                )  # fmt: skip
        with gr.Column(scale=1, min_width=300, elem_classes="train-live"):
            figures = numbers("train-numbers")
            chart = plotly_chart(label="Loss over the steps", elem_id="train-chart", empty=WAITING)
            with gr.Row(elem_classes="train-state"):
                state = line("train-state", elem_classes="")
                pause = gr.Button("Pause", elem_id="train-pause", scale=0, visible=False)
                resume = gr.Button("Resume", elem_id="train-resume", scale=0, visible=False)
                stop = gr.Button("Stop and keep", elem_id="train-stop", scale=0, visible=False)
            progress = run_progress("train-progress")
    timer = gr.Timer(1, active=False)
    return Parts(
        corpus, preset, start, size, problem, [*main, *rare], command, figures, chart, state, pause, resume, stop,
        progress, timer,
    )  # fmt: skip


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    _wire_recipe(ctx, parts)
    _wire_start(ctx, parts)
    _wire_run(ctx, parts)


def _wire_recipe(ctx: Context, parts: Parts) -> None:
    """The form: texts, cards, fields and what they come to."""
    asked = [parts.corpus, parts.preset, *parts.fields]
    outcome = [parts.size, parts.problem, parts.command]

    def judge(sha256: Any, preset: Any, *values: Any) -> tuple[str, str, str]:
        try:
            return _outcome(ctx, _corpus(ctx, sha256), Recipe.of(preset, values))
        except Exception as error:
            return "", sentence(error), ""

    def arrive(sha256: Any) -> tuple[Any, Any]:
        infos = ctx.corpora.list()
        info = next((one for one in infos if one.sha256 == sha256), infos[0])
        return _texts(infos, info), _cards(info)

    def cards(sha256: Any) -> Any:
        try:
            return _cards(_corpus(ctx, sha256))
        except InputError:
            return gr.skip()

    def reset(preset: Any) -> list[Any]:
        return list(defaults(preset).values())

    parts.preset.input(reset, parts.preset, parts.fields, **QUIET).then(judge, asked, outcome, **QUIET)
    parts.corpus.change(cards, parts.corpus, parts.preset, **QUIET, **EACH).then(judge, asked, outcome, **QUIET)
    for field in parts.fields:
        field.input(judge, asked, outcome, trigger_mode="always_last", **QUIET)
    ctx.tab.change(
        lambda tab, sha256: arrive(sha256) if tab == "train" else (gr.skip(), gr.skip()),
        [ctx.tab, parts.corpus], [parts.corpus, parts.preset], **QUIET, **EACH,
    ).then(judge, asked, outcome, **QUIET)  # fmt: skip


def _wire_start(ctx: Context, parts: Parts) -> None:
    @polite
    def start(sha256: Any, preset: Any, *values: Any) -> dict[str, Any]:
        recipe, corpus = Recipe.of(preset, values), _corpus(ctx, sha256)
        run = ctx.store.create(settings=recipe.settings, corpus=corpus, preset=recipe.preset)
        ctx.catalogue.rows(fresh=True)
        return {"run": run.id, "step": None}

    asked = [parts.corpus, parts.preset, *parts.fields]
    parts.start.click(None, None, parts.start, js=STARTING, api_visibility="private")
    started = parts.start.click(
        start, asked, ctx.selection, api_visibility="private", show_progress="hidden", concurrency_id="start"
    )
    for ended in (started.success, started.failure):
        ended(None, None, parts.start, js=READY, api_visibility="private")


def _wire_run(ctx: Context, parts: Parts) -> None:
    """The chosen run: how it stands, again every second, and its buttons."""
    shown = [parts.numbers, parts.chart, parts.state, parts.pause, parts.resume, parts.stop, parts.progress]
    inputs = [ctx.selection, ctx.tab, parts.corpus, parts.progress]

    def look(selection: Any, tab: Any, sha256: Any, progress: Any) -> Any:
        if tab != "train":
            return gr.skip()
        try:
            return _look(ctx, chosen(selection)[0], sha256, progress)
        except Exception as error:
            return [], None, sentence(error), *_buttons(""), facts(None)

    ctx.tab.change(lambda tab: gr.Timer(active=tab == "train"), ctx.tab, parts.timer, **QUIET, **EACH)
    for moment in (ctx.selection.change, ctx.tab.change, parts.corpus.change):
        moment(look, inputs, shown, **QUIET, **EACH)
    parts.timer.tick(look, inputs, shown, **QUIET)

    for button, action in (
        (parts.pause, ctx.launcher.pause),
        (parts.resume, ctx.launcher.resume),
        (parts.stop, ctx.launcher.stop),
    ):

        @polite
        def act(selection: Any, action: Any = action) -> None:
            run_id, _ = chosen(selection)
            if run_id is None:
                raise InputError("No run is chosen: choose one above, or start one.")
            action(run_id)

        button.click(
            act, ctx.selection, None, api_visibility="private", show_progress="hidden", concurrency_id="control"
        ).then(look, inputs, shown, **QUIET)


def _look(ctx: Context, run_id: str | None, sha256: Any, progress: Any) -> Any:
    """Updates for numbers, chart, state, the three buttons and progress; nothing where all of it is shown already."""
    before = progress.get("stamp", "") if isinstance(progress, dict) else ""
    run = ctx.store.get(run_id) if run_id else None
    if run is None:
        corpus = _corpus(ctx, sha256)
        stamp = f"none {corpus.sha256}"
        return gr.skip() if stamp == before else ([], _empty(corpus), "", *_buttons(""), facts(stamp))
    status, curve, samples = run.status(), run.curve(), newest_samples(run)
    slot = ctx.catalogue.slot(run.id)
    charted = f"{run.id} {len(curve.steps)} {len(curve.eval_steps)} {status.active} {slot}"
    stamp = f"{charted} | {status} {len(samples)}"
    if stamp == before:
        return gr.skip()
    return (
        headline(run, status, curve),
        gr.skip() if before.startswith(f"{charted} |") else _curve(run, curve, status.active, slot),
        run_sentences(run, status),
        *_buttons(status.state, bare=run.bare, asked=status.asked),
        facts(stamp, run, status, samples),
    )


def _curve(run: Run, curve: Any, active: bool, slot: int) -> dict[str, Any]:
    references = [guessing(run.model_config.vocab_size)]
    num_steps = run.train_config.num_steps if active or not curve.steps else 0
    figure = loss_figure(
        curve, colour=slot, num_steps=num_steps, references=references, revision=run.id, palette=TOKENS
    )
    return figure if curve.steps or curve.eval_steps else {**figure, "note": WAITING}


def _empty(corpus: CorpusInfo) -> dict[str, Any]:
    figure = loss_figure(num_steps=1000, references=[guessing(corpus.vocab_size)], revision="none", palette=TOKENS)
    return {**figure, "note": WAITING}


def _buttons(state: str, bare: bool = False, asked: str = "") -> list[Any]:
    """Pause, Resume and Stop as the run's state allows them."""
    allowed = () if bare else BUTTONS.get(state, ())
    return [
        gr.Button(visible=name in allowed, interactive=not asked or name == "resume")
        for name in ("pause", "resume", "stop")
    ]


def _corpus(ctx: Context, sha256: Any) -> CorpusInfo:
    """The chosen text; before any was chosen, the one that came along."""
    return ctx.corpora.get(sha256) if isinstance(sha256, str) and sha256 else ctx.corpora.list()[0]


def _texts(infos: list[CorpusInfo], info: CorpusInfo) -> gr.Dropdown:
    return gr.Dropdown(choices=[(one.name, one.sha256) for one in infos], value=info.sha256)


def _cards(info: CorpusInfo) -> gr.Radio:
    return gr.Radio(choices=[choice(name, info.vocab_size) for name in PRESETS])


def _outcome(ctx: Context, corpus: CorpusInfo, recipe: Recipe) -> tuple[str, str, str]:
    """What the settings come to: the size in a sentence, no problem, the command."""
    model, train = recipe.configs(corpus.vocab_size)
    require_enough_text(corpus.characters, model, train)
    path = "data/raw/sample.txt" if corpus.bundled else f"data/corpora/{corpus.sha256}.txt"
    changed = ", ".join(f"{name} {value}" for name, value in recipe.settings.items() if value is not None)
    size = f"{model.num_parameters:,} parameters, {train.num_steps:,} steps"
    return f"{size}. Changed: {changed}." if changed else "", "", recipe.command(path)


def _field(name: str) -> Any:
    """The component for one setting, with the config's own words."""
    field, value = FIELDS[name], defaults(FIRST)[name]
    shown: dict[str, Any] = dict(
        label=name, info=field.metadata["help"], elem_id=f"train-{name}", elem_classes="setting"
    )
    if field.metadata["choices"]:
        return gr.Radio(list(field.metadata["choices"]), value=value, **{**shown, "elem_classes": "segments"})
    if by_itself(name):
        return gr.Textbox(placeholder="auto", max_lines=1, **shown)
    return gr.Number(value, **shown)


assert len(NAMES) == len(set(NAMES)) == len(FIELDS), "every setting is on the page once"
