"""Compare: two to four snapshots, of any runs, write from one prompt and one seed at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.checkpoint import LoadedModel
from nanollm.inference.generate import stream_text
from nanollm.runs.store import Run
from playground.components.text import line, numbers, writing, written
from playground.components.time_bar import time_bar
from playground.context import EACH, QUIET, Context, chosen, polite, sentence
from playground.streaming import Pen, together

COLUMNS = 4
FEWEST = 2
PROMPT = "The "
NO_MODEL = "Nothing to compare yet. One trained model is enough: at two moments of its training."
WAITING = "Press Write all."
PLACE = "compare"
TOGETHER = "(chosen, tab, ...models) => (tab === 'compare' ? window.nano.together(chosen, models) : models)"


@dataclass
class Column:
    box: gr.Column
    model: gr.HTML
    output: gr.HTML
    facts: gr.HTML


@dataclass
class Parts:
    prompt: gr.Textbox
    write: gr.Button
    stop: gr.Button
    caution: gr.HTML
    temperature: gr.Slider
    top_k: gr.Slider
    seed: gr.Number
    length: gr.Slider
    columns: list[Column]
    shown: gr.State
    add: gr.Button
    remove: gr.Button
    bring: gr.Button


@dataclass
class Seat:
    """One column while it writes: its pen, or the sentence that says why it has none."""

    run: Run | None = None
    loaded: LoadedModel | None = None
    pen: Pen | None = None
    problem: str = ""


def layout(ctx: Context) -> Parts:
    with gr.Column(elem_id="compare-empty", elem_classes="when-no-runs"):
        line("compare-none", NO_MODEL, "lead")
        bring = gr.Button("Bring a text →", variant="primary", elem_id="compare-bring")
    with gr.Column(elem_id="compare-main", elem_classes="when-runs"):
        with gr.Row(elem_classes="ask"):
            prompt = gr.Textbox(PROMPT, label="Prompt", lines=1, max_lines=4, elem_id="compare-prompt", scale=1)
            write = gr.Button("Write all", variant="primary", elem_id="compare-write", scale=0)
            stop = gr.Button("Stop", elem_id="compare-stop", scale=0, interactive=False)
        caution = line("compare-caution", elem_classes="caution")
        with gr.Row(elem_classes="dials"):
            temperature = gr.Slider(0, 2, 0.8, step=0.05, label="Temperature", elem_id="compare-temperature")
            top_k = gr.Slider(1, 100, 40, step=1, label="Top-k", elem_id="compare-top-k")
        with gr.Row(elem_classes="columns"):
            columns = [_column(index) for index in range(COLUMNS)]
        shown = gr.State(FEWEST)
        with gr.Row(elem_classes="footer-row"):
            remove = gr.Button("Remove the last", size="sm", elem_id="compare-remove", scale=0, visible=False)
            add = gr.Button("Add a model", size="sm", elem_id="compare-add", scale=0)
        with gr.Accordion("Seed, length", open=False, elem_classes="fold"), gr.Row():
            seed = gr.Number(42, label="Seed", precision=0, elem_id="compare-seed")
            length = gr.Slider(50, 5000, 300, step=50, label="Characters", elem_id="compare-length")
    return Parts(
        prompt, write, stop, caution, temperature, top_k, seed, length, columns, shown, add, remove, bring
    )  # fmt: skip


def _column(index: int) -> Column:
    name = f"compare-{index + 1}"
    with gr.Column(visible=index < FEWEST, min_width=200, elem_id=name, elem_classes="compared") as box:
        model = time_bar(f"{name}-model", rank=index, elem_classes="compact")
        output = writing(f"{name}-text", WAITING)
        facts = numbers(f"{name}-facts")
    return Column(box, model, output, facts)


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    columns = parts.columns
    models = [column.model for column in columns]
    outputs = [*(c.output for c in columns), *(c.facts for c in columns), parts.caution, parts.stop]
    asked = [parts.shown, parts.prompt, parts.length, parts.temperature, parts.top_k, parts.seed, *models]

    def call_off(request: gr.Request) -> None:
        ctx.desks.call_off(request.session_hash, PLACE)

    @polite
    def write(
        request: gr.Request,
        shown: int,
        prompt: str,
        length: Any,
        temperature: Any,
        top_k: Any,
        seed: Any,
        *selections: Any,
    ) -> Iterator[list[Any]]:
        sampling = dict(max_length=length, temperature=temperature, top_k=top_k, seed=seed)
        seats = [_seat(ctx, selection, prompt, sampling) for selection in selections[:shown]]
        yield from _write(ctx, request.session_hash, seats, prompt)

    asking = [parts.write.click, parts.prompt.submit]
    gr.on([*asking, parts.stop.click], call_off, **QUIET, **EACH)
    gr.on(
        asking,
        write,
        asked,
        outputs,
        trigger_mode="always_last",
        concurrency_id="write",
        show_progress="hidden",
        api_visibility="private",
    )

    def resize(by: int) -> Any:
        def handler(shown: int) -> list[Any]:
            count = min(max(shown + by, FEWEST), COLUMNS)
            boxes = [gr.Column(visible=index < count) for index in range(COLUMNS)]
            return [count, *boxes, gr.Button(visible=count < COLUMNS), gr.Button(visible=count > FEWEST)]

        return handler

    resized = [parts.shown, *(column.box for column in columns), parts.add, parts.remove]
    parts.add.click(resize(+1), parts.shown, resized, **QUIET)
    parts.remove.click(resize(-1), parts.shown, resized, **QUIET)
    ctx.selection.change(None, [ctx.selection, ctx.tab, *models], models, js=TOGETHER, api_visibility="private", **EACH)
    parts.bring.click(lambda: ctx.show("corpus"), None, ctx.tabs, **QUIET)


def _write(ctx: Context, session: str | None, seats: list[Seat], prompt: str) -> Iterator[list[Any]]:
    """Updates for the columns' texts and facts, the line of caution, and Stop."""
    pens = [seat.pen for seat in seats if seat.pen]
    called_off = ctx.desks.begin(session, PLACE)
    yield [*_texts(seats, prompt), *_facts(seats), _caution(seats), gr.Button(interactive=bool(pens))]
    try:
        for _ in together(pens, called_off):
            yield [*_texts(seats, prompt), *[gr.skip()] * COLUMNS, gr.skip(), gr.skip()]
    finally:
        ctx.desks.end(session, PLACE, called_off)
    yield [*_texts(seats, prompt), *_facts(seats, over=True), gr.skip(), gr.Button(interactive=False)]


def _seat(ctx: Context, selection: Any, prompt: str, sampling: dict[str, Any]) -> Seat:
    """A column ready to write; a column that cannot says why and leaves the others alone."""
    try:
        run, snapshot = ctx.models.find(*chosen(selection))
        loaded = ctx.models.at(snapshot)
        return Seat(run, loaded, Pen(stream_text(loaded.model, loaded.tokenizer, prompt, **sampling)))
    except Exception as error:
        return Seat(problem=sentence(error))


def _texts(seats: list[Seat], prompt: str) -> list[Any]:
    texts = [written(prompt, seat.pen.text) if seat.pen else written(note=seat.problem) for seat in seats]
    return [*texts, *[gr.skip()] * (COLUMNS - len(seats))]


def _facts(seats: list[Seat], over: bool = False) -> list[Any]:
    return [*(_numbers(seat, over) for seat in seats), *[gr.skip()] * (COLUMNS - len(seats))]


def _numbers(seat: Seat, over: bool) -> list[list[str]]:
    """The four facts under a column."""
    if not seat.loaded or not seat.pen:
        return []
    info = seat.loaded.info
    return [
        ["parameters", f"{info.model_config.num_parameters:,}"],
        ["steps", f"{info.step:,}"],
        ["loss, validation / training", f"{_loss(info.val_loss)} / {_loss(info.train_loss)}"],
        ["characters a second", f"{seat.pen.speed:,.0f}" if over else "…"],
    ]


def _loss(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.2f}" if loss < 1000 else f"{loss:.1e}"


def _caution(seats: list[Seat]) -> str:
    """A caution where the columns' models learned from different texts, so that their losses cannot be compared."""
    texts = {seat.run.corpus.get("sha256") for seat in seats if seat.run and seat.run.corpus}
    if len(texts) < 2:
        return ""
    return "These models learned from different texts: compare how they write, not their losses."
