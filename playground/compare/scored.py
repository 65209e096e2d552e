"""Score a text: each model's loss on one text, and which of two models predicts each character better."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from nanollm.errors import InputError
from nanollm.runs.store import Run
from playground.compare import sentences
from playground.compare.columns import Column, models_request, parse_columns
from playground.compare.texts import Parts as TextsParts
from playground.components import text_fetch
from playground.components.factory import component
from playground.components.format import perplexity
from playground.components.text import line
from playground.context import Context
from playground.handlers import error_message, report_errors
from playground.services.wire_format import BIT_STEPS, MAX_UINT16

MAX_TEXT = 5_000  # characters
EXAMPLE = 600  # characters of held-out text
# After a download, fill the field if the user is looking at it and it is empty.
TAKE = """() => {
  const { tab, compare } = document.body.dataset;
  const typed = document.querySelector("#compare-score-text textarea")?.value;
  if (tab === "compare" && compare === "scored" && !typed) document.getElementById("compare-take").click();
}"""
TEMPLATE = """
<div class="difference">
  <p class="quiet note">{note}</p>
  <div class="found" hidden>
    <table class="losses">
      <thead><tr><th>{model}</th><th>{loss}</th><th>{perplexity}</th></tr></thead>
      <tbody></tbody>
    </table>
    <div class="two" hidden>
      <p class="pair"><span>{easier}</span>
        <label class="easier first"><i aria-hidden="true"></i><select aria-label="{first}"></select></label>
        <span>{other}</span>
        <label class="easier second"><i aria-hidden="true"></i><select aria-label="{second}"></select></label></p>
      <div class="writing" tabindex="0" role="group" aria-label="{text}"><span class="letters"></span></div>
      <p class="said" aria-live="polite"></p>
      <table class="where"><caption class="quiet"></caption>
        <thead><tr><th>{where}</th><th>{characters}</th><th>{difference}</th></tr></thead><tbody></tbody></table>
    </div>
  </div>
</div>
"""


@dataclass(frozen=True)
class Score:
    """One model's surprisal on a text: bits (N,) of each character."""

    run: Run
    step: int
    slot: int  # the run's color
    bits: np.ndarray


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
        text = gr.Textbox(
            label=sentences.TEXT_LABEL, lines=3, max_lines=8, elem_id="compare-score-text", elem_classes="mono"
        )
        with gr.Row(elem_classes="button-row"):
            score = gr.Button(sentences.SCORE, variant="primary", elem_id="compare-score", scale=0)
            take = gr.Button(sentences.TAKE_HELD_OUT, elem_id="compare-take", scale=0)
        offer = text_fetch.layout("compare", follows="")
        problem = line("compare-score-problem", elem_classes="problem")
        shown = _difference("compare-difference")
    return Parts(text, score, take, offer, problem, shown)


def _difference(elem_id: str) -> gr.HTML:
    """The scored text. The value is None or from `score_value`; the two models to compare are chosen in it."""
    where, characters, difference = sentences.WHERE_COLUMNS
    return component(
        "compare/scored.js",
        TEMPLATE,
        elem_id=elem_id,
        note=sentences.SCORE_NOTE,
        model=sentences.MODEL_COLUMN,
        loss=sentences.LOSS_COLUMN,
        perplexity=sentences.PERPLEXITY_COLUMN,
        easier=sentences.EASIER_FOR,
        other=sentences.OR_FOR,
        first=sentences.FIRST_MODEL,
        second=sentences.SECOND_MODEL_CHOICE,
        text=sentences.TEXT_ARROWS,
        where=where,
        characters=characters,
        difference=difference,
    )


def wire(ctx: Context, parts: Parts, texts: TextsParts) -> None:
    inputs = [parts.text, texts.count, *texts.models]

    @report_errors
    @ctx.fair_queue.limit
    def score(text: Any, count: Any, *models: Any) -> tuple[Any, str]:
        columns = parse_columns(ctx, models_request(count, models))
        text = text[:MAX_TEXT] if isinstance(text, str) else ""
        scores = score_all(ctx, columns, text)
        problems = [column.problem for column in columns if column.problem]
        return score_value(text, scores) if scores else gr.skip(), " ".join(dict.fromkeys(problems))

    # If the step or a model changes while a text is scored, it is scored again afterwards.
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
    text_fetch.wire(ctx, parts.fetching, [texts.count, *texts.models])
    parts.fetching.offer.arrived(None, js=TAKE)


def score_all(ctx: Context, columns: list[Column], text: str) -> list[Score]:
    """Score a text with every column's model; a model that cannot read it gets a problem instead."""
    from nanollm.explain.surprisal import surprisal  # imports torch, which takes a second

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
    """Return a part of the validation split of one of the models. Raises InputError if none is available."""
    problem = InputError(sentences.NO_MODEL_YET)
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


def score_value(text: str, scores: Sequence[Score]) -> dict[str, Any]:
    """Build the component's value: the text, and for each model its loss and packed surprisals (u16, little-endian)."""
    return {"text": text, "parts": BIT_STEPS, "models": [_model_value(score) for score in scores]}


def _model_value(score: Score) -> dict[str, Any]:
    loss = float(score.bits.mean()) * math.log(2)
    packed = np.minimum(np.rint(score.bits * BIT_STEPS), MAX_UINT16).astype("<u2")
    return {
        "title": score.run.title,
        "step": score.step,
        "slot": score.slot,
        "parameters": score.run.model_config.num_parameters,
        "loss": f"{loss:.3f}",
        "choices": perplexity(loss),
        "bits": base64.b64encode(packed.tobytes()).decode("ascii"),
    }
