"""Texts: up to four models generate at the same time, from one prompt and seed with the same sampling settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from playground.compare import sentences
from playground.compare.columns import (
    MAX_COLUMNS,
    Column,
    comparison_warning,
    facts,
    models_request,
    parse_columns,
    start_streams,
)
from playground.components import sampling_controls
from playground.components.factory import browser_call, component
from playground.components.text import line, numbers, writing, writing_value
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, report_errors
from playground.services.gradio_internals import event_data
from playground.services.streaming import run_streams
from playground.shell.components import time_bar

PLACE = "compare"
PROMPT = "The "
LENGTH = 300
COLUMN_COUNT = """
<div class="column-count">
  <p class="second" hidden>{second}</p>
  <p class="share" hidden>{share}</p>
  <div class="footer-row">
    <button type="button" class="small remove">{remove}</button>
    <button type="button" class="small add">{add}</button>
  </div>
</div>
"""


@dataclass
class ColumnParts:
    model: gr.HTML
    output: gr.HTML
    facts: gr.HTML


@dataclass
class Parts:
    prompt_row: sampling_controls.PromptRow
    sampling: sampling_controls.SamplingControls
    caution: gr.HTML
    columns: list[ColumnParts]
    count: gr.HTML
    fold: sampling_controls.SeedControls

    @property
    def models(self) -> list[gr.HTML]:
        return [column.model for column in self.columns]

    @property
    def request(self) -> list[Any]:
        """The components of a generation request, in the order in which `wire` names them."""
        sampling, fold = self.sampling, self.fold
        settings = [sampling.temperature, sampling.top_k, fold.length, fold.seed]
        return [self.count, self.prompt_row.prompt, *settings, *self.models]


def layout(ctx: Context) -> Parts:
    with gr.Column(elem_classes="compare-view compare-prompt when-texts when-blind", min_width=0):
        prompt_row = sampling_controls.prompt_row(PLACE, PROMPT, sentences.GENERATE_ALL)
        sampling = sampling_controls.sampling_controls(PLACE)
    warning = line("compare-caution", elem_classes="caution")
    with gr.Row(elem_classes="columns compare-view when-texts when-scored when-blind"):
        columns = [_column(index) for index in range(MAX_COLUMNS)]
    count = _column_count("compare-count")
    with gr.Column(elem_classes="compare-view when-texts", min_width=0):
        fold = sampling_controls.seed_controls(PLACE, LENGTH, ctx.limits.max_length)
    return Parts(prompt_row, sampling, warning, columns, count, fold)


def _column(index: int) -> ColumnParts:
    name = f"compare-{index + 1}"
    with gr.Column(min_width=200, elem_id=name, elem_classes="compared"):
        model = time_bar(f"{name}-model", rank=index, elem_classes="compact")
        label = sentences.COLUMN_TEXT_LABEL.format(number=index + 1)
        output = writing(f"{name}-text", label, sentences.PRESS_GENERATE)
        return ColumnParts(model, output, numbers(f"{name}-facts"))


def _column_count(elem_id: str) -> gr.HTML:
    """The number of columns; None until the number of models is known.

    With a payload {"models": [{"run", "step"}, …], "prompt", "temperature", "top_k", "max_length", "seed"} it triggers
    `generate` when the columns should generate, and `models_changed` when only the facts about them changed.
    """
    return component(
        "compare/texts.js",
        COLUMN_COUNT,
        events=("generate", "models_changed"),
        elem_id=elem_id,
        second=sentences.SECOND_MODEL,
        share=sentences.SAME_SHARE,
        remove=sentences.REMOVE_MODEL,
        add=sentences.ADD_MODEL,
    )


def wire(ctx: Context, parts: Parts, view: gr.Radio) -> None:
    sampling_controls.wire_sampling(parts.sampling)
    sampling_controls.wire_seed(parts.fold, PLACE)
    _wire_drop(ctx, parts)
    _wire_requests(ctx, parts, view)
    prompt_row = parts.prompt_row

    def update_facts(event: gr.EventData) -> list[Any]:
        columns = parse_columns(ctx, event_data(event))
        return [*_each_column(map(facts, columns)), comparison_warning(column.run for column in columns)]

    fact_outputs = [column.facts for column in parts.columns]
    parts.count.models_changed(update_facts, None, [*fact_outputs, parts.caution], **UNQUEUED, **MULTIPLE)

    @report_errors
    def generate(request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        yield from _generate(ctx, request.session_hash, event_data(event))

    parts.count.generate(
        generate,
        None,
        [
            *(column.output for column in parts.columns), *fact_outputs,
            parts.caution, prompt_row.problem, prompt_row.drop, prompt_row.stop,
        ],
        **ctx.generation_concurrency,
        show_progress="hidden",
        api_visibility="private",
        **MULTIPLE,
    )  # fmt: skip

    def cancel(request: gr.Request) -> None:
        ctx.active_streams.cancel(request.session_hash, PLACE)

    prompt_row.stop.click(cancel, **UNQUEUED, **MULTIPLE)


def _wire_requests(ctx: Context, parts: Parts, view: gr.Radio) -> None:
    """Let the browser decide what to generate and when: one move of the time bar changes all columns in one request."""
    changes = [ctx.tab.change, view.change, *(part.change for part in (parts.count, *parts.models))]
    names = ["count", "prompt", "temperature", "top_k", "max_length", "seed", "...models"]
    follow = browser_call("compare/texts.js", "follow", "tab", "view", *names)
    press = browser_call("compare/texts.js", "generate", *names)
    gr.on(changes, None, [ctx.tab, view, *parts.request], None, js=follow, api_visibility="private", **MULTIPLE)
    gr.on(parts.prompt_row.submitted, None, parts.request, None, js=press, api_visibility="private", **MULTIPLE)


def _wire_drop(ctx: Context, parts: Parts) -> None:
    """Remove the characters that any of the models does not know from the prompt, then generate."""

    @report_errors
    def without_unknown(prompt: str, count: Any, *models: Any) -> str:
        request = {"prompt": prompt, "temperature": 0, "top_k": 1, "max_length": 1, "seed": 0}
        columns = parse_columns(ctx, models_request(count, models))
        start_streams(ctx, request, columns)
        unknown = {character for column in columns for character in column.unknown}
        return "".join(character for character in prompt if character not in unknown)

    parts.prompt_row.drop.click(
        without_unknown,
        [parts.prompt_row.prompt, parts.count, *parts.models],
        parts.prompt_row.prompt,
        api_visibility="private",
    ).success(None, js=f"() => document.getElementById('{PLACE}-write').click()")


def _generate(ctx: Context, session: str | None, request: Any) -> Iterator[list[Any]]:
    """Yield updates for the columns' texts and facts, the warning, the problem, its button, and Stop."""
    cancelled = ctx.active_streams.begin(session, PLACE)
    try:
        columns = parse_columns(ctx, request)
        start_streams(ctx, request, columns)
        streams = [column.stream for column in columns if column.stream]
        unknown, prompt = any(column.unknown for column in columns), request.get("prompt")
        warning = comparison_warning(column.run for column in columns)
        notes = [warning, sentences.UNKNOWN_CHARACTERS if unknown else "", gr.Button(visible=unknown)]
        speeds = _each_column(facts(column, "…" if column.stream else "–") for column in columns)
        rest = [*speeds, *notes, gr.Button(interactive=bool(streams))]
        yield [*_texts(columns, prompt), *rest]
        for _ in run_streams(streams, cancelled):
            yield [*_texts(columns, prompt), *rest]
        speeds = _each_column(facts(column, _speed(column)) for column in columns)
        yield [*_texts(columns, prompt), *speeds, *notes, gr.Button(interactive=False)]
    finally:
        ctx.active_streams.end(session, PLACE, cancelled)


def _speed(column: Column) -> str:
    return f"{column.stream.tokens_per_second:,.0f}" if column.stream else "–"


def _texts(columns: list[Column], prompt: Any) -> list[Any]:
    return _each_column(
        writing_value(prompt, column.text) if column.stream else writing_value(note=column.problem)
        for column in columns
    )


def _each_column(values: Any) -> list[Any]:
    """Return an update for every column; columns without a value stay as they are."""
    values = list(values)
    return [*values, *(gr.skip(),) * (MAX_COLUMNS - len(values))]
