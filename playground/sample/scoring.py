"""Score my text, a fold of the Sample tab: any text, colored by its surprisal for the chosen snapshot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.components.factory import browser_call
from playground.components.sampling_controls import problem_row, wire_drop
from playground.components.text import line
from playground.components.text_view.shaded_text import shaded_text
from playground.context import Context
from playground.handlers import error_message, report_errors
from playground.sample import sentences
from playground.selection import parse_selection
from playground.services.generation import score_text, scored_value

MAX_TEXT = 5_000  # characters; each is sent with its alternatives


@dataclass
class Parts:
    fold: gr.Accordion
    text: gr.Textbox
    score: gr.Button
    problem: gr.HTML
    drop: gr.Button
    shown: gr.HTML
    about: gr.HTML


def layout(panel: str) -> Parts:
    with gr.Accordion(sentences.SCORE_TITLE, open=False, elem_classes="fold", elem_id="score-fold") as fold:
        text = gr.Textbox(label=sentences.SCORE_INPUT, lines=3, max_lines=12, elem_id="score-text", elem_classes="mono")
        score = gr.Button(sentences.SCORE_BUTTON, elem_id="score-button", scale=0)
        problem, drop = problem_row("score")
        about = line("score-about")
        shown = shaded_text("score-shown", sentences.SCORE_LABEL, panel=panel, note=sentences.SCORE_NOTE)
    return Parts(fold, text, score, problem, drop, shown, about)


def wire(ctx: Context, parts: Parts) -> None:
    @report_errors
    @ctx.fair_queue.limit
    def score(selection: Any, text: Any) -> tuple[Any, ...]:
        loaded = ctx.models.get(*parse_selection(selection))
        text = text if isinstance(text, str) else ""
        try:
            loaded.tokenizer.encode(text)  # reports unknown characters even beyond MAX_TEXT
            scores = score_text(loaded, text[:MAX_TEXT])
        except InputError as error:
            unknown = bool(loaded.tokenizer.unknown(text))
            return gr.skip(), "", error_message(error), gr.Button(visible=unknown)
        about = _summary(scores.bits_per_character, len(text))
        return scored_value(loaded, text[:MAX_TEXT], scores), about, "", gr.Button(visible=False)

    parts.score.click(
        score,
        [ctx.selection, parts.text],
        [parts.shown, parts.about, parts.problem, parts.drop],
        **ctx.generation_concurrency,
        show_progress="hidden",
        trigger_mode="always_last",  # the step may change while a text is scored
        api_visibility="private",
    )
    again = browser_call("sample/scoring.js", "scoreAgain")
    parts.fold.expand(None, None, None, js=again, api_visibility="private")
    wire_drop(ctx, parts.text, parts.drop, "score-button")


def _summary(bits: float, length: int) -> str:
    """Describe a score as perplexity and as a loss in nats."""
    summary = sentences.SCORE.format(perplexity=2**bits, loss=bits * math.log(2))
    truncated = sentences.SCORE_TRUNCATED.format(limit=MAX_TEXT, length=length) if length > MAX_TEXT else ""
    return f"{summary} {truncated}".rstrip()
