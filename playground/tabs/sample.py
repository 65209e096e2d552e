"""Sample: the chosen snapshot writes on from a prompt. The home of the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from nanollm.inference.generate import stream_text
from playground.components.text import line, writing, written
from playground.context import EACH, QUIET, Context, chosen, polite
from playground.streaming import Pen, together

MOODS = {"greedy": (0.0, 1), "careful": (0.5, 20), "balanced": (0.8, 40), "wild": (1.3, 100)}
NO_MODEL = "No model has been trained here yet. Bring a text, train one on it, and it writes here."
WAITING = "First words in a moment. They will appear by themselves."
PROMPT = "The "
PLACE = "sample"
QUESTION = ("run", "step", "prompt", "temperature", "top_k", "max_length", "seed")


@dataclass
class Parts:
    bring: gr.Button
    prompt: gr.Textbox
    write: gr.Button
    stop: gr.Button
    problem: gr.HTML
    drop: gr.Button
    mood: gr.Radio
    temperature: gr.Slider
    top_k: gr.Slider
    output: gr.HTML
    about: gr.HTML
    seed: gr.Number
    length: gr.Slider


def layout(ctx: Context) -> Parts:
    with gr.Column(elem_id="sample-empty", elem_classes="when-no-runs"):
        line("sample-none", NO_MODEL, "lead")
        bring = gr.Button("Bring a text →", variant="primary", elem_id="sample-bring")
    with gr.Column(elem_id="sample-main", elem_classes="when-runs"):
        with gr.Row(elem_classes="ask"):
            prompt = gr.Textbox(PROMPT, label="Prompt", lines=1, max_lines=4, elem_id="sample-prompt", scale=1)
            write = gr.Button("Write", variant="primary", elem_id="sample-write", scale=0)
            stop = gr.Button("Stop", elem_id="sample-stop", scale=0, interactive=False)
        with gr.Row(elem_classes="problem-row"):
            problem = line("sample-problem", elem_classes="problem")
            drop = gr.Button("Drop them", size="sm", visible=False, elem_id="sample-drop", scale=0)
        with gr.Row(elem_classes="dials"):
            mood = gr.Radio(list(MOODS), value="balanced", label="Mood", elem_id="sample-mood", elem_classes="segments")
            temperature = gr.Slider(0, 2, 0.8, step=0.05, label="Temperature", elem_id="sample-temperature")
            top_k = gr.Slider(1, 100, 40, step=1, label="Top-k", elem_id="sample-top-k")
        output = writing("sample-text", WAITING)
        about = line("sample-about")
        with gr.Accordion("Seed, length", open=False, elem_classes="fold"), gr.Row():
            seed = gr.Number(42, label="Seed", precision=0, elem_id="sample-seed")
            length = gr.Slider(50, 5000, 400, step=50, label="Characters", elem_id="sample-length")
    return Parts(
        bring, prompt, write, stop, problem, drop, mood, temperature, top_k, output, about, seed, length
    )  # fmt: skip


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    asking = [parts.write.click, parts.prompt.submit]
    following = [ctx.selection.change, ctx.tab.change]
    followed = {ctx.selection._id, ctx.tab._id}

    def call_off(request: gr.Request) -> None:
        ctx.desks.call_off(request.session_hash, PLACE)

    @polite
    def write(
        event: gr.EventData, request: gr.Request, selection: Any, tab: str, shown: Any, *asked: Any
    ) -> Iterator[tuple[Any, ...]]:
        follows = event.target is not None and event.target._id in followed
        question = dict(zip(QUESTION, [*chosen(selection), *asked], strict=True))
        if follows and (tab != "sample" or question["run"] is None or _answered(shown, question)):
            yield (gr.skip(),) * 5
        else:
            yield from _write(ctx, request.session_hash, question)

    # First what is under way ends, then the newest question is written: always_last keeps one stream at a time. (The
    # write that it starts late comes with the event of an earlier one, so an unfinished text always counts as open.)
    gr.on([*asking, *following, parts.stop.click], call_off, **QUIET, **EACH)
    gr.on(
        [*asking, *following],
        write,
        [ctx.selection, ctx.tab, parts.output, parts.prompt, parts.temperature, parts.top_k, parts.length, parts.seed],
        [parts.output, parts.about, parts.problem, parts.drop, parts.stop],
        trigger_mode="always_last",
        concurrency_id="write",
        concurrency_limit=ctx.settings.writers,
        show_progress="hidden",
        api_visibility="private",
    )

    @polite
    def drop_unknown(selection: Any, prompt: str) -> str:
        unknown = ctx.models.get(*chosen(selection)).tokenizer.unknown(prompt)
        return "".join(character for character in prompt if character not in unknown)

    parts.drop.click(drop_unknown, [ctx.selection, parts.prompt], parts.prompt, api_visibility="private").success(
        None, js="() => document.getElementById('sample-write').click()"
    )
    parts.mood.input(None, parts.mood, [parts.temperature, parts.top_k], js=f"(mood) => ({_moods()})[mood]")
    for slider in (parts.temperature, parts.top_k):
        slider.input(None, None, parts.mood, js="() => null")
    parts.bring.click(lambda: ctx.show("corpus"), None, ctx.tabs, **QUIET)
    ctx.linked(parts.prompt, "prompt")


def _answered(shown: Any, question: dict[str, Any]) -> bool:
    """Whether the text on the page is the whole answer to this question."""
    return isinstance(shown, dict) and shown.get("answers") == question


def _write(ctx: Context, session: str | None, question: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Updates for output, about, problem, drop and stop, about twenty a second."""
    no_drop, no_stop = gr.Button(visible=False), gr.Button(interactive=False)
    prompt = question["prompt"]
    try:
        loaded = ctx.models.get(question["run"], question["step"])
    except InputError as error:
        yield written(note=str(error)), "", "", no_drop, no_stop
        return
    try:
        dials = {name: question[name] for name in ("temperature", "top_k", "max_length", "seed")}
        pen = Pen(stream_text(loaded.model, loaded.tokenizer, prompt, **dials))
    except InputError as error:
        yield gr.skip(), "", str(error), gr.Button(visible=bool(loaded.tokenizer.unknown(prompt))), no_stop
        return
    parameters = f"{loaded.info.model_config.num_parameters:,} parameters"
    called_off = ctx.desks.begin(session, PLACE)
    yield written(prompt), parameters, "", no_drop, gr.Button(interactive=True)
    try:
        for _ in together([pen], called_off):
            yield written(prompt, pen.text), gr.skip(), gr.skip(), gr.skip(), gr.skip()
    finally:
        ctx.desks.end(session, PLACE, called_off)
    whole = written(prompt, pen.text, answers=question if pen.finished else None)
    yield whole, f"{parameters}, {pen.speed:,.0f} characters a second", "", no_drop, no_stop


def _moods() -> str:
    """The moods as a JavaScript object."""
    return "{" + ", ".join(f"{name}: {list(dials)}" for name, dials in MOODS.items()) + "}"
