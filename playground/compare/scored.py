"""Same text scored: each model's loss on one text, and where exactly one of them finds it easier than another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.compare.columns import Column, models_request, parse_columns
from playground.compare.compare_difference import Score, difference, scored
from playground.compare.texts import Parts as Columns
from playground.components import text_fetch
from playground.components.text import line
from playground.context import Context
from playground.handlers import error_message, report_errors

MOST = 5_000  # characters
EXAMPLE = 600
NOTE = "Paste a few lines, or take some that none of these models has learned from. Then press Score this text."
UNSEEN = "Take one that was held out"
# Whoever stands before an empty field while a text arrives was waiting for it.
TAKE = """() => {
  const { tab, compare } = document.body.dataset;
  const typed = document.querySelector("#compare-score-text textarea")?.value;
  if (tab === "compare" && compare === "scored" && !typed) document.getElementById("compare-take").click();
}"""


@dataclass
class Parts:
    text: gr.Textbox
    score: gr.Button
    take: gr.Button
    fetching: text_fetch.Parts
    problem: gr.HTML
    shown: gr.HTML


def layout(ctx: Context) -> Parts:
    with gr.Column(elem_classes="compare-view when-scored", min_width=0):
        text = gr.Textbox(label="Text", lines=3, max_lines=8, elem_id="compare-score-text", elem_classes="mono")
        with gr.Row(elem_classes="score-row"):
            score = gr.Button("Score this text", variant="primary", elem_id="compare-score", scale=0)
            take = gr.Button(UNSEEN, elem_id="compare-take", scale=0)
        offer = text_fetch.layout("compare", follows="")
        problem = line("compare-score-problem", elem_classes="problem")
        shown = difference("compare-difference", NOTE)
    return Parts(text, score, take, offer, problem, shown)


def wire(ctx: Context, parts: Parts, columns: Columns) -> None:
    inputs = [parts.text, columns.count, *columns.models]

    @report_errors
    @ctx.fair_queue.limit
    def score(text: Any, count: Any, *models: Any) -> tuple[Any, str]:
        columns = parse_columns(ctx, models_request(count, models))
        scores = score_all(ctx, columns, _shown(text))
        problems = [column.problem for column in columns if column.problem]
        return scored(_shown(text), scores) if scores else gr.skip(), " ".join(dict.fromkeys(problems))

    # Another moment or model may come while one is scored: the last one counts.
    parts.score.click(
        score, inputs, [parts.shown, parts.problem], show_progress="hidden", trigger_mode="always_last",
        api_visibility="private", **ctx.generation_concurrency,
    )  # fmt: skip

    @report_errors
    def take(count: Any, *models: Any) -> str:
        return held_out(ctx, parse_columns(ctx, models_request(count, models)))

    parts.take.click(take, inputs[1:], parts.text, show_progress="hidden", api_visibility="private").success(
        None, js="() => document.getElementById('compare-score').click()"
    )
    text_fetch.wire(ctx, parts.fetching, [columns.count, *columns.models])
    parts.fetching.offer.arrived(None, js=TAKE)


def score_all(ctx: Context, columns: list[Column], text: str) -> list[Score]:
    """Everybody's bits for each character of a text; who cannot read it gets a problem instead."""
    from nanollm.explain.surprisal import surprisal  # torch is only worth its second when somebody scores

    scores = []
    for column in columns:
        if column.run is None or column.snapshot is None:
            continue
        try:
            loaded = ctx.models.at(column.snapshot)
            bits = surprisal(loaded.model, loaded.tokenizer, text).bits
            scores.append(Score(column.run, column.snapshot.step, ctx.catalogue.slot(column.run.id), bits))
        except InputError as error:
            column.problem = f"{column.run.title}: {error_message(error)}" if text else error_message(error)
    return scores


def held_out(ctx: Context, columns: list[Column]) -> str:
    """Some lines of a text that one of the models was never trained on. Raises InputError where none is here."""
    problem = InputError("There is no model in the columns yet.")
    for column in columns:
        if column.run is None or column.snapshot is None:
            continue
        try:
            loaded = ctx.models.at(column.snapshot)
            ids = ctx.inspections.held_out(column.run, loaded)
            return loaded.tokenizer.decode(ids[:EXAMPLE]).strip()
        except InputError as error:
            problem = error
    raise problem


def _shown(text: Any) -> str:
    return text[:MOST] if isinstance(text, str) else ""
