"""Train: choose a size, start, and watch the loss fall. What is shown of a run is in playground/live.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.config import PRESETS
from nanollm.corpus import CorpusInfo
from nanollm.errors import InputError
from nanollm.loss_chart import MAX_OVERLAYS
from nanollm.runs.doctor import follow
from playground import live
from playground.components.doctor import doctor_line
from playground.components.plotly_chart import plotly_chart
from playground.components.problem import problem_line
from playground.components.run_progress import run_progress
from playground.components.text import line, numbers
from playground.context import EACH, QUIET, Context, chosen, polite, sentence
from playground.recipe import (
    FIELDS,
    GROUPS,
    NAMES,
    ONWARD,
    Recipe,
    blamed,
    by_itself,
    caution,
    choice,
    defaults,
    onward,
    text_name,
)
from playground.tabs import all_runs, carry

FIRST = "sprint"
STARTING = "() => [{__type__: 'update', value: 'Starting…', interactive: false}]"
WAIT = "() => [{__type__: 'update', interactive: false}]"
READY = "() => [{__type__: 'update', value: 'Start training', interactive: true}]"
AGAIN = "() => document.querySelector('.train-view').classList.toggle('open')"
EMPTIED = "() => ['', '', '', '']"
SAME = "the same text"
NO_RUN = "No run is chosen: choose one above, or start one."
QUEUED: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")


@dataclass
class Parts:
    corpus: gr.Dropdown
    preset: gr.Radio
    start: gr.Button
    again: gr.Button
    size: gr.HTML
    problem: gr.HTML
    fields: list[Any]  # one for each of NAMES
    command: gr.Textbox
    axis: gr.Radio
    scale: gr.Radio
    overlays: gr.Dropdown
    controls: list[gr.Button]  # one for each of live.CONTROLS
    onward: list[Any]  # one for each of ONWARD, then the text
    health_fold: gr.Accordion
    health_open: gr.State
    shown: list[Any]  # what live.View updates
    progress: gr.HTML
    doctor: gr.HTML
    table: all_runs.Parts
    carry: carry.Parts
    paces: gr.State
    timer: gr.Timer
    pace_timer: gr.Timer


def layout(ctx: Context) -> Parts:
    with gr.Row(elem_classes="train-view"):
        with gr.Column(scale=0, min_width=280, elem_classes="train-setup"):
            again = gr.Button("Train another one", size="sm", elem_id="train-again")
            with gr.Column(elem_classes="train-form"):
                form = _form()
        with gr.Column(scale=1, min_width=300, elem_classes="train-live"):
            shown = _live(ctx)
    return Parts(
        **form,
        **shown,
        again=again,
        paces=gr.State({}),
        timer=gr.Timer(1, active=False),
        pace_timer=gr.Timer(4, active=False),
    )


def _form() -> dict[str, Any]:
    """Text, cards, Start; the settings and the command folded."""
    corpus = gr.Dropdown([], label="Text", elem_id="train-corpus")
    preset = gr.Radio(
        [choice(name, 65) for name in PRESETS], value=FIRST, label="Size", elem_id="train-preset", elem_classes="cards"
    )
    size = line("train-size")
    problem = problem_line("train-problem")
    start = gr.Button("Start training", variant="primary", elem_id="train-start")
    with gr.Accordion("All settings", open=False, elem_classes="fold", elem_id="train-settings"):
        fields = []
        for group, names in GROUPS.items():
            line(f"train-group-{group.split()[-1]}", group, "group")
            fields += [_field(name) for name in names]
    with gr.Accordion("Command", open=False, elem_classes="fold", elem_id="train-command-fold"):
        command = gr.Textbox(
            label="The same training from a terminal", lines=1, max_lines=12, interactive=False, buttons=["copy"],
            elem_id="train-command",
        )  # fmt: skip
    return dict(
        corpus=corpus, preset=preset, size=size, problem=problem, start=start, fields=fields, command=command
    )  # fmt: skip


def _live(ctx: Context) -> dict[str, Any]:
    """Numbers, chart, controls, the doctor, the newest samples; what is rarely looked at folded."""
    figures = numbers("train-numbers")
    chart = plotly_chart(label="Loss over the training", elem_id="train-chart", empty=live.WAITING)
    with gr.Row(elem_classes="train-state"):
        state = line("train-state", elem_classes="")
        words = ("Pause", "Resume", "Stop and keep", "Continue for more steps", "Fork from here")
        controls = [
            gr.Button(word, elem_id=f"train-{name}", scale=0, visible=False)
            for name, word in zip(live.CONTROLS, words, strict=True)
        ]
    doctor = doctor_line("train-doctor")
    passed = line("train-passed", elem_classes="passed")
    with gr.Row(elem_classes="chart-dials"):
        axis = gr.Radio(
            ["steps", "seconds"], value="steps", show_label=False, elem_id="train-axis", elem_classes="segments"
        )
        scale = gr.Radio(
            ["linear", "log"], value="linear", show_label=False, elem_id="train-scale", elem_classes="segments"
        )
        overlays = gr.Dropdown(
            [], multiselect=True, label="Other runs on this chart", elem_id="train-overlays", visible=False,
            filterable=False, max_choices=MAX_OVERLAYS,
        )  # fmt: skip
    progress = run_progress("train-progress")
    with (
        gr.Accordion(
            "Continue or fork with other settings", open=False, elem_classes="fold", elem_id="train-onward-fold"
        ),
        gr.Row(elem_classes="onward"),
    ):
        asked: list[Any] = [
            gr.Textbox(placeholder="as before", label=name, max_lines=1, min_width=120, elem_id=f"train-onward-{name}")
            for name in ONWARD
        ]
        asked.append(gr.Dropdown([(SAME, "")], value="", label="Text", min_width=160, elem_id="train-onward-text"))
    with gr.Accordion("Health", open=False, elem_classes="fold", elem_id="train-health-fold") as health_fold:
        health = numbers("train-health")
        health_chart = plotly_chart(label="Gradient norm and learning rate", elem_id="train-health-chart", height=260)
    table, carried = all_runs.layout(), carry.layout(ctx)
    shown = [figures, chart, passed, state, *controls, doctor, health, health_chart, progress]
    return dict(
        axis=axis, scale=scale, overlays=overlays, controls=controls, onward=asked, health_fold=health_fold,
        health_open=gr.State(False), shown=shown, progress=progress, doctor=doctor, table=table,
        carry=carried,
    )  # fmt: skip


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    _wire_form(ctx, parts)
    _wire_start(ctx, parts)
    _wire_live(ctx, parts)
    _wire_controls(ctx, parts)


def _wire_form(ctx: Context, parts: Parts) -> None:
    """The form: texts, cards, fields and what they come to."""
    asked = [parts.corpus, parts.preset, *parts.fields]
    outcome = [parts.size, parts.problem, parts.command]

    def judge(sha256: Any, preset: Any, *values: Any) -> tuple[Any, ...]:
        recipe = None
        try:
            recipe = Recipe.of(preset, values)
            return _outcome(ctx, _corpus(ctx, sha256), recipe)
        except Exception as error:
            told = sentence(error)
            return "", {"text": told, "fields": blamed(told, recipe.settings if recipe else {})}, ""

    def arrive(tab: Any, sha256: Any) -> tuple[Any, ...]:
        if tab != "train":
            return (gr.skip(),) * 4
        infos = ctx.corpora.list()
        info = next((one for one in infos if one.sha256 == sha256), infos[0])
        choices = [(one.name, one.sha256) for one in infos]
        paces = ctx.pace.get(info.vocab_size)
        texts = gr.Dropdown(choices=choices, value=info.sha256), gr.Dropdown(choices=[(SAME, ""), *choices])
        return *texts, _cards(info, paces), paces

    def cards(sha256: Any) -> tuple[Any, ...]:
        try:
            info = _corpus(ctx, sha256)
        except InputError:
            return gr.skip(), gr.skip()
        paces = ctx.pace.get(info.vocab_size)
        return _cards(info, paces), paces

    def paced(tab: Any, sha256: Any, known: Any) -> tuple[Any, ...]:
        """The cards again, once a time was measured."""
        if tab != "train" or len(known) == len(PRESETS):
            return gr.skip(), gr.skip()
        updates = cards(sha256)
        return (gr.skip(), gr.skip()) if updates[1] == known else updates

    timed = [parts.preset, parts.paces]
    # Start waits for the card's fields: the former card's would count as settings that were changed.
    parts.preset.input(None, None, parts.start, js=WAIT, api_visibility="private")
    filled = parts.preset.input(
        lambda preset: list(defaults(preset).values()), parts.preset, parts.fields, **QUIET, **EACH
    )
    filled.then(None, None, parts.start, js=READY, api_visibility="private")
    filled.then(judge, asked, outcome, **QUIET)
    parts.corpus.change(cards, parts.corpus, timed, **QUIET, **EACH).then(judge, asked, outcome, **QUIET)
    for field in parts.fields:
        # Gradio's Textbox fires `input` for keys that print a character only: not for Backspace, and not for a paste.
        moved = field.change if isinstance(field, gr.Textbox) else field.input
        moved(judge, asked, outcome, trigger_mode="always_last", **QUIET)
    ctx.tab.change(
        arrive, [ctx.tab, parts.corpus], [parts.corpus, parts.onward[-1], *timed], **QUIET, **EACH
    ).then(judge, asked, outcome, **QUIET)  # fmt: skip
    parts.pace_timer.tick(paced, [ctx.tab, parts.corpus, parts.paces], timed, **QUIET, **EACH)
    parts.again.click(None, None, None, js=AGAIN, api_visibility="private")


def _wire_start(ctx: Context, parts: Parts) -> None:
    @polite
    def start(sha256: Any, preset: Any, *values: Any) -> dict[str, Any]:
        recipe, corpus = Recipe.of(preset, values), _corpus(ctx, sha256)
        run = ctx.store.create(settings=recipe.settings, corpus=corpus, preset=recipe.preset)
        return _begun(ctx, run.id)

    asked = [parts.corpus, parts.preset, *parts.fields]
    parts.start.click(None, None, parts.start, js=STARTING, api_visibility="private")
    started = parts.start.click(start, asked, ctx.selection, **QUEUED, concurrency_id="start")
    for ended in (started.success, started.failure):
        ended(None, None, parts.start, js=READY, api_visibility="private")


def _wire_live(ctx: Context, parts: Parts) -> None:
    """The chosen run: how it stands, again every second."""
    wanted = [parts.axis, parts.scale, parts.overlays, parts.health_open]
    inputs = [ctx.selection, ctx.tab, parts.corpus, parts.progress, *wanted]

    def look(selection: Any, tab: Any, sha256: Any, progress: Any, *wanted: Any) -> Any:
        if tab != "train":
            return gr.skip()
        before = progress.get("stamp", "") if isinstance(progress, dict) else ""
        try:
            view = live.look(ctx, chosen(selection)[0], _corpus(ctx, sha256), live.Wanted.of(*wanted), before)
        except Exception as error:
            view = live.gone(sentence(error), before)
        return view.updates() if view else gr.skip()

    def others(tab: Any, laid: Any) -> Any:
        return _laid_over(ctx, laid) if tab == "train" else gr.skip()

    timers = [parts.timer, parts.pace_timer]
    ctx.tab.change(lambda tab: [gr.Timer(active=tab == "train")] * 2, ctx.tab, timers, **QUIET, **EACH)
    for moment in (ctx.selection.change, ctx.tab.change, parts.corpus.change):
        moment(look, inputs, parts.shown, **QUIET, **EACH)
    for dial in (parts.axis, parts.scale):
        dial.input(look, inputs, parts.shown, **QUIET, **EACH)
    parts.overlays.change(look, inputs, parts.shown, **QUIET, **EACH)
    parts.timer.tick(look, inputs, parts.shown, **QUIET, **EACH)
    for moment in (parts.overlays.focus, ctx.tab.change, ctx.selection.change):
        moment(others, [ctx.tab, parts.overlays], parts.overlays, **QUIET, **EACH)
    parts.health_fold.expand(lambda: True, None, parts.health_open, **QUIET).then(look, inputs, parts.shown, **QUIET)
    parts.health_fold.collapse(lambda: False, None, parts.health_open, **QUIET)
    all_runs.wire(ctx, parts.table, parts.pace_timer)
    carry.wire(ctx, parts.carry)
    _wire_acts(ctx, parts, look, inputs)


def _wire_acts(ctx: Context, parts: Parts, look: Any, inputs: list[Any]) -> None:
    """Pause, Resume, Stop: each shows at once what came of it."""

    def resume(run_id: str) -> None:
        ctx.pace.give_way()
        ctx.launcher.resume(run_id)

    acts = (ctx.launcher.pause, resume, ctx.launcher.stop)
    for button, action in zip(parts.controls[:3], acts, strict=True):

        @polite
        def act(selection: Any, action: Any = action) -> None:
            action(_chosen_run(selection))

        button.click(act, ctx.selection, None, **QUEUED, concurrency_id="control").then(
            look, inputs, parts.shown, **QUIET
        )


def _wire_controls(ctx: Context, parts: Parts) -> None:
    """Going on from a run: for more steps from its end, from any of its snapshots, or as the doctor suggests."""

    def fork(run_id: str, step: int | None, asked: tuple[Any, ...]) -> dict[str, Any]:
        *values, text = asked
        corpus = ctx.corpora.get(text) if isinstance(text, str) and text else None
        parent, settings = ctx.store.get(run_id), onward(values)
        run = ctx.store.fork(parent, corpora=ctx.corpora, settings=settings, corpus=corpus, step=step)
        return _begun(ctx, run.id)

    @polite
    def more(selection: Any, *asked: Any) -> dict[str, Any]:
        return fork(_chosen_run(selection), None, asked)

    @polite
    def fork_from_here(selection: Any, *asked: Any) -> dict[str, Any]:
        return fork(_chosen_run(selection), chosen(selection)[1], asked)

    @polite
    def take_advice(selection: Any, event: gr.EventData) -> dict[str, Any]:
        wanted = event._data.get("index") if isinstance(event._data, dict) else None
        run = follow(ctx.store, ctx.store.get(_chosen_run(selection)), wanted, ctx.corpora)
        return _begun(ctx, run.id)

    def with_parent(selection: Any, laid: Any) -> Any:
        """Parent and child on one chart."""
        run = ctx.store.get(_chosen_run(selection))
        return _laid_over(ctx, laid, run.parent.run if run.parent else None)

    for button, act in zip(parts.controls[3:], (more, fork_from_here), strict=True):
        laid = button.click(act, [ctx.selection, *parts.onward], ctx.selection, **QUEUED, concurrency_id="start")
        laid.success(with_parent, [ctx.selection, parts.overlays], parts.overlays, **QUIET)
        laid.success(None, None, parts.onward, js=EMPTIED, api_visibility="private")  # they were for this one run
    parts.doctor.follow(take_advice, ctx.selection, ctx.selection, **QUEUED, concurrency_id="start")


def _laid_over(ctx: Context, laid: Any, *more: str | None) -> gr.Dropdown:
    """The runs that may be laid over the chosen one (itself among them: it is not drawn twice), and those that are.

    A value that is no choice any more would make Gradio refuse every event that reads it, so both are set together.
    """
    choices = [(row["title"], row["id"]) for row in ctx.catalogue.rows()]
    known = {run_id for _, run_id in choices}
    wanted = [*(laid if isinstance(laid, list) else []), *more]
    return gr.Dropdown(
        choices=choices, value=[one for one in dict.fromkeys(wanted) if one in known], visible=len(known) > 1
    )


def _begun(ctx: Context, run_id: str) -> dict[str, Any]:
    """The selection of a run that was just queued, already in the list; nothing is measured beside its training."""
    ctx.pace.give_way()
    ctx.catalogue.rows(fresh=True)
    return {"run": run_id, "step": None}


def _chosen_run(selection: Any) -> str:
    run_id, _ = chosen(selection)
    if run_id is None:
        raise InputError(NO_RUN)
    return run_id


def _corpus(ctx: Context, sha256: Any) -> CorpusInfo:
    """The chosen text; before any was chosen, the one that came along."""
    return ctx.corpora.get(sha256) if isinstance(sha256, str) and sha256 else ctx.corpora.list()[0]


def _cards(info: CorpusInfo, paces: dict[str, float]) -> gr.Radio:
    return gr.Radio(choices=[choice(name, info.vocab_size, paces.get(name)) for name in PRESETS])


def _outcome(ctx: Context, corpus: CorpusInfo, recipe: Recipe) -> tuple[str, dict[str, Any], str]:
    """What the settings come to: the size in a sentence, no problem (at most a hint), the command."""
    model, train = recipe.configs(corpus.vocab_size)
    ctx.store.require(corpus, model, train)
    changed = ", ".join(f"{name} {value}" for name, value in recipe.settings.items() if value is not None)
    size = f"{model.num_parameters:,} parameters, {train.num_steps:,} steps"
    told = caution(train)
    hint = {"text": told, "fields": blamed(told, recipe.settings)}
    return f"{size}. Changed: {changed}." if changed else "", hint, recipe.command(text_name(corpus))


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
