"""Sample: the chosen snapshot writes on from a prompt. The home of the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.components import sampling_controls
from playground.components.factory import browser_call
from playground.components.no_model import empty
from playground.components.text import line
from playground.components.text_view.choice_panel import choice_panel
from playground.components.text_view.shaded_text import shaded_text
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, error_message, report_errors
from playground.sample import copying, scoring
from playground.services.generation import Generation
from playground.services.generation_request import GenerationRequest
from playground.services.gradio_internals import event_data
from playground.services.streaming import run_streams

NO_MODEL = "No model has been trained here yet. Bring a text, train one on it, and it writes here."
WAITING = "First words in a moment. They will appear by themselves."
PROMPT = "The "
LENGTH = 400
PLACE = "sample"
TEXT = "sample-text"
PANEL = "sample-choices"
ASKED = ("prompt", "temperature", "top_k", "max_length", "seed")  # fields of a question besides the selection
LABEL = "The writing: arrow keys go from character to character, Enter to what else could have stood there"


@dataclass
class Parts:
    ask: sampling_controls.PromptRow
    sampling: sampling_controls.SamplingControls
    fold: sampling_controls.SeedControls
    output: gr.HTML
    about: gr.HTML
    panel: gr.HTML
    copying: copying.Parts
    score: scoring.Parts
    python: gr.Accordion
    call: gr.Textbox

    @property
    def prompt(self) -> gr.Textbox:
        return self.ask.prompt

    @property
    def asked(self) -> list[Any]:
        """What a question is made of besides the selection, in the order of ASKED."""
        return [self.ask.prompt, self.sampling.temperature, self.sampling.top_k, self.fold.length, self.fold.seed]


def layout(ctx: Context) -> Parts:
    empty(ctx, PLACE, NO_MODEL)
    with gr.Column(elem_id="sample-main", elem_classes="when-runs"), gr.Row(elem_classes="sample-view"):
        with gr.Column(elem_classes="sample-writing", min_width=0):
            ask = sampling_controls.prompt_row(PLACE, PROMPT)
            sampling = sampling_controls.sampling_controls(PLACE)
            output = shaded_text(TEXT, LABEL, panel=PANEL, note=WAITING, frame=_frame(ctx))
            about = line("sample-about")
            fold = sampling_controls.seed_controls(PLACE, LENGTH, ctx.limits.max_length)
            copied = copying.layout(TEXT)
            score = scoring.layout(PANEL)
            python, call = _in_python()
        # Beside all of it: what is looked at may be a character of the text that is scored.
        with gr.Column(elem_classes="sample-aside", min_width=0):
            panel = choice_panel(PANEL)
    return Parts(ask, sampling, fold, output, about, panel, copied, score, python, call)


def _in_python() -> tuple[gr.Accordion, gr.Textbox]:
    with gr.Accordion("The same in Python", open=False, elem_classes="fold", elem_id="sample-python") as fold:
        call = gr.Textbox(
            show_label=False, container=False, interactive=False, lines=7, max_lines=12, buttons=["copy"],
            elem_id="sample-call", elem_classes="mono",
        )  # fmt: skip
    return fold, call


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    _wire_writing(ctx, parts)
    ask, sampling = parts.ask, parts.sampling
    sampling_controls.wire_sampling(sampling)
    sampling_controls.wire_seed(parts.fold, PLACE)
    sampling_controls.wire_drop(ctx, ask.prompt, ask.drop, f"{PLACE}-write")
    turned = "(temperature, top_k) => ({ temperature, top_k })"
    for slider in (sampling.temperature, sampling.top_k):
        slider.change(None, [sampling.temperature, sampling.top_k], parts.panel, js=turned, **MULTIPLE)
    ctx.link_to_url(ask.prompt, "prompt", "sample")
    copying.wire(ctx, parts.copying)
    scoring.wire(ctx, parts.score)

    def call(asked: Any) -> str:
        try:
            return _call(ctx, GenerationRequest.of(asked)) if asked else ""
        except Exception as error:
            return f"# {error_message(error)}"

    # After what the text does at these moments: only it knows what was settled in it by choosing.
    asking = browser_call("components/text_view/texts.js", "question", returns=True, place=f"'{TEXT}'")
    for moment in (parts.python.expand, ctx.selection.change, parts.output.settle):
        moment(call, ctx.selection, parts.call, js=asking, **UNQUEUED, **MULTIPLE)


def _wire_writing(ctx: Context, parts: Parts) -> None:
    """Answer the requests that the text makes in the browser (components/text_view/followed_text.js)."""
    now = [ctx.selection, ctx.tab, *parts.asked]
    here = {"place": f"'{TEXT}'", "tab": "'sample'"}
    follow = browser_call("services/requests.js", "follow", "selection", "open", *ASKED, **here)
    press = browser_call("services/requests.js", "press", "selection", *ASKED, **here)
    gr.on([ctx.selection.change, ctx.tab.change], None, now, None, js=follow, api_visibility="private", **MULTIPLE)
    gr.on(
        parts.ask.submitted, None, [ctx.selection, *parts.asked], None, js=press, api_visibility="private", **MULTIPLE
    )

    @report_errors
    def write(request: gr.Request, event: gr.EventData) -> Iterator[tuple[Any, ...]]:
        yield from _write(ctx, request.session_hash, event_data(event))

    parts.output.ask(
        write,
        None,
        [parts.output, parts.about, parts.ask.problem, parts.ask.drop, parts.ask.stop, parts.call],
        **ctx.generation_concurrency,
        show_progress="hidden",
        api_visibility="private",
        **MULTIPLE,
    )

    def cancel(request: gr.Request) -> None:
        ctx.active_streams.cancel(request.session_hash, PLACE)

    for moment in (parts.ask.stop.click, parts.output.leave):
        moment(cancel, **UNQUEUED, **MULTIPLE)

    def settle(event: gr.EventData) -> list[Any]:
        question = GenerationRequest.of(event_data(event))
        return [question.prompt, question.temperature, question.top_k, question.max_length, question.seed]

    parts.output.settle(settle, None, parts.asked, **UNQUEUED, **MULTIPLE)


def _write(ctx: Context, session: str | None, asked: Any) -> Iterator[tuple[Any, ...]]:
    """Updates for output, about, problem, drop, stop and call, about twenty a second; each brings what was added."""
    no_drop, no_stop = gr.Button(visible=False), gr.Button(interactive=False)
    cancelled = ctx.active_streams.begin(session, PLACE)
    try:
        question = GenerationRequest.of(asked)
        ctx.limits.require_generation(question.full_prompt, question.max_length)
        try:
            loaded = ctx.models.get(question.run, question.step)
        except InputError as error:
            yield [{"note": str(error)}], "", "", no_drop, no_stop, ""
            return
        try:
            generation = Generation(loaded, question)
        except InputError as error:
            unknown = bool(loaded.tokenizer.unknown(question.full_prompt))
            yield gr.skip(), gr.skip(), str(error), gr.Button(visible=unknown), no_stop, gr.skip()
            return
        about = f"{loaded.info.model_config.num_parameters:,} parameters"
        stop = gr.Button(interactive=True)
        yield generation.value(), about, "", no_drop, stop, _call(ctx, question)
        for _ in run_streams([generation.stream], cancelled):
            yield generation.value(), gr.skip(), gr.skip(), no_drop, stop, gr.skip()
        # Gradio repeats the last update when a generator ends: not the whole text.
        told = f"{about}, {generation.stream.tokens_per_second:,.0f} characters a second"
        yield gr.skip(), told, gr.skip(), no_drop, no_stop, gr.skip()
    finally:
        ctx.active_streams.end(session, PLACE, cancelled)


def _frame(ctx: Context) -> Any:
    """What the page calls for the frames of the time bar. It can be called from anywhere: nothing is taken on trust."""

    async def frame(asked: Any) -> list[dict[str, Any]]:
        try:
            return await ctx.frames.frame(GenerationRequest.of(asked))
        except Exception as error:
            return [{"note": error_message(error)}]

    return frame


def _call(ctx: Context, question: GenerationRequest) -> str:
    """What to type to have this very text in a notebook."""
    _, snapshot = ctx.models.find(question.run, question.step)
    path = snapshot.path.relative_to(ctx.settings.home)
    names = ("temperature", "top_k", "max_length", "seed")
    dials = "\n".join(f"    {name}={getattr(question.remaining_sampling, name)!r}," for name in names)
    return (
        "from nanollm import generate_text, load_model\n\n"
        f"loaded = load_model({path.as_posix()!r})\n"
        f"print(generate_text(\n    loaded.model, loaded.tokenizer, {question.full_prompt!r},\n{dials}\n))\n"
    )
