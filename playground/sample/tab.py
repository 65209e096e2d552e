"""The Sample tab, where the page opens: the chosen snapshot continues a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.components import sampling_controls
from playground.components.factory import browser_call
from playground.components.text import line, no_model
from playground.components.text_view.shaded_text import choice_panel, shaded_text
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, error_message, report_errors
from playground.sample import copying, scoring, sentences
from playground.services.generation import Generation
from playground.services.generation_request import GenerationRequest
from playground.services.gradio_internals import event_data
from playground.services.streaming import run_streams

PROMPT = "The "
LENGTH = 400
PLACE = "sample"
TEXT = "sample-text"
PANEL = "sample-choices"
REQUEST_FIELDS = ("prompt", "temperature", "top_k", "max_length", "seed")  # besides the selection


@dataclass
class Parts:
    prompt_row: sampling_controls.PromptRow
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
        return self.prompt_row.prompt

    @property
    def request(self) -> list[Any]:
        """The components of a generation request besides the selection, in the order of REQUEST_FIELDS."""
        return [
            self.prompt_row.prompt,
            self.sampling.temperature,
            self.sampling.top_k,
            self.fold.length,
            self.fold.seed,
        ]


def layout(ctx: Context) -> Parts:
    no_model(ctx, PLACE, sentences.NO_MODEL)
    with gr.Column(elem_id="sample-main", elem_classes="when-runs"), gr.Row(elem_classes="sample-view"):
        with gr.Column(elem_classes="sample-writing", min_width=0):
            prompt_row = sampling_controls.prompt_row(PLACE, PROMPT)
            sampling = sampling_controls.sampling_controls(PLACE)
            output = shaded_text(
                TEXT,
                sentences.TEXT_LABEL,
                panel=PANEL,
                note=sentences.WAITING,
                tab="sample",
                frame=_frame_function(ctx),
            )
            about = line("sample-about")
            fold = sampling_controls.seed_controls(PLACE, LENGTH, ctx.limits.max_length)
            copied = copying.layout(TEXT)
            score = scoring.layout(PANEL)
            python, call = _in_python()
        # Beside everything else, because the clicked character may belong to the scored text.
        with gr.Column(elem_classes="sample-side", min_width=0):
            panel = choice_panel(PANEL)
    return Parts(prompt_row, sampling, fold, output, about, panel, copied, score, python, call)


def _in_python() -> tuple[gr.Accordion, gr.Textbox]:
    with gr.Accordion(sentences.PYTHON_TITLE, open=False, elem_classes="fold", elem_id="sample-python") as fold:
        call = gr.Textbox(
            show_label=False, container=False, interactive=False, lines=7, max_lines=12, buttons=["copy"],
            elem_id="sample-call", elem_classes="mono",
        )  # fmt: skip
    return fold, call


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    _wire_writing(ctx, parts)
    prompt_row, sampling = parts.prompt_row, parts.sampling
    sampling_controls.wire_sampling(sampling)
    sampling_controls.wire_seed(parts.fold, PLACE)
    sampling_controls.wire_drop(ctx, prompt_row.prompt, prompt_row.drop, f"{PLACE}-write")
    turned = "(temperature, top_k) => ({ temperature, top_k })"
    for slider in (sampling.temperature, sampling.top_k):
        slider.change(None, [sampling.temperature, sampling.top_k], parts.panel, js=turned, **MULTIPLE)
    ctx.link_to_url(prompt_row.prompt, "prompt", "sample")
    copying.wire(ctx, parts.copying)
    scoring.wire(ctx, parts.score)

    def call(request: Any) -> str:
        try:
            return _python(ctx, GenerationRequest.of(request)) if request else ""
        except Exception as error:
            return f"# {error_message(error)}"

    # The request comes from the text component, which knows the characters that the user has chosen in it.
    current = browser_call("components/text_view/texts.js", "currentRequest", returns=True, place=f"'{TEXT}'")
    for event in (parts.python.expand, parts.output.cached, parts.output.restore):
        event(call, ctx.selection, parts.call, js=current, **UNQUEUED, **MULTIPLE)


def _wire_writing(ctx: Context, parts: Parts) -> None:
    """Answer the requests that the text component sends from the browser."""
    follow = browser_call("components/text_view/texts.js", "follow", *REQUEST_FIELDS, place=f"'{TEXT}'")
    press = browser_call("components/text_view/texts.js", "generate", *REQUEST_FIELDS, place=f"'{TEXT}'")
    parts.output.follow(None, parts.request, None, js=follow, api_visibility="private", **MULTIPLE)
    gr.on(parts.prompt_row.submitted, None, parts.request, None, js=press, api_visibility="private", **MULTIPLE)

    @report_errors
    def generate(request: gr.Request, event: gr.EventData) -> Iterator[tuple[Any, ...]]:
        yield from _generate(ctx, request.session_hash, event_data(event))

    parts.output.generate(
        generate,
        None,
        [parts.output, parts.about, parts.prompt_row.problem, parts.prompt_row.drop, parts.prompt_row.stop, parts.call],
        **ctx.generation_concurrency,
        show_progress="hidden",
        api_visibility="private",
        **MULTIPLE,
    )

    def cancel(request: gr.Request) -> None:
        ctx.active_streams.cancel(request.session_hash, PLACE)

    for event in (parts.prompt_row.stop.click, parts.output.cancel):
        event(cancel, **UNQUEUED, **MULTIPLE)

    def restore(event: gr.EventData) -> list[Any]:
        request = GenerationRequest.of(event_data(event))
        return [getattr(request, name) for name in REQUEST_FIELDS]

    parts.output.restore(restore, None, parts.request, **UNQUEUED, **MULTIPLE)


def _generate(ctx: Context, session: str | None, values: Any) -> Iterator[tuple[Any, ...]]:
    """Yield updates for output, about, problem, drop, stop and call; each sends only the new characters."""
    no_drop, no_stop = gr.Button(visible=False), gr.Button(interactive=False)
    cancelled = ctx.active_streams.begin(session, PLACE)
    try:
        request = GenerationRequest.of(values)
        ctx.limits.require_generation(request.full_prompt, request.max_length)
        try:
            loaded = ctx.models.get(request.run, request.step)
        except InputError as error:
            yield [{"note": str(error)}], "", "", no_drop, no_stop, ""
            return
        try:
            generation = Generation(loaded, request)
        except InputError as error:
            unknown = bool(loaded.tokenizer.unknown(request.full_prompt))
            yield gr.skip(), gr.skip(), str(error), gr.Button(visible=unknown), no_stop, gr.skip()
            return
        about = sentences.PARAMETERS.format(count=loaded.info.model_config.num_parameters)
        stop = gr.Button(interactive=True)
        yield generation.value(), about, "", no_drop, stop, _python(ctx, request)
        for _ in run_streams([generation.stream], cancelled):
            yield generation.value(), gr.skip(), gr.skip(), no_drop, stop, gr.skip()
        # Gradio repeats the last update when a generator ends, so it must not contain the whole text.
        speed = sentences.SPEED.format(parameters=about, speed=generation.stream.tokens_per_second)
        yield gr.skip(), speed, gr.skip(), no_drop, no_stop, gr.skip()
    finally:
        ctx.active_streams.end(session, PLACE, cancelled)


def _frame_function(ctx: Context) -> Any:
    """Return the server function that returns frames of the time bar to the browser. Its argument can be anything."""

    async def frame(request: Any) -> list[dict[str, Any]]:
        try:
            return await ctx.frames.frame(GenerationRequest.of(request))
        except Exception as error:
            return [{"note": error_message(error)}]

    return frame


def _python(ctx: Context, request: GenerationRequest) -> str:
    """Return Python code that generates the same text."""
    _, snapshot = ctx.models.find(request.run, request.step)
    path = snapshot.path.relative_to(ctx.settings.home)
    names = ("temperature", "top_k", "max_length", "seed")
    sampling = "\n".join(f"    {name}={getattr(request.remaining_sampling, name)!r}," for name in names)
    return (
        "from nanollm import generate_text, load_model\n\n"
        f"loaded = load_model({path.as_posix()!r})\n"
        f"print(generate_text(\n    loaded.model, loaded.tokenizer, {request.full_prompt!r},\n{sampling}\n))\n"
    )
