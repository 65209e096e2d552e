"""Score my text: any text, as surprising as the chosen snapshot finds it. Part of Sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.components.sampling_controls import problem_row, wire_drop
from playground.components.text import line
from playground.components.text_view.shaded_text import shaded_text
from playground.context import Context
from playground.handlers import MULTIPLE, error_message, report_errors
from playground.selection import parse_selection

MOST = 5_000  # characters that are shown; each brings along what else could have stood there
# Like all that looks inside, a text that was scored follows the time bar: at once where it is seen, else once it is.
AGAIN = """() => void setTimeout(() => {
  const letter = document.querySelector("#score-shown .letters span");
  if (letter?.offsetParent) document.getElementById("score-button").click();
}, 100)"""
NOTE = "Paste a few lines: your own, the model's, or from a text that it has never seen."


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
    with gr.Accordion("Score my text", open=False, elem_classes="fold", elem_id="score-fold") as fold:
        text = gr.Textbox(label="Text", lines=3, max_lines=12, elem_id="score-text", elem_classes="mono")
        score = gr.Button("Score this text", elem_id="score-button", scale=0)
        problem, drop = problem_row("score")
        about = line("score-about")
        shown = shaded_text("score-shown", "Your text, shaded by surprise", panel=panel, note=NOTE)
    return Parts(fold, text, score, problem, drop, shown, about)


def wire(ctx: Context, parts: Parts) -> None:
    from playground.services.generation import score_text, scored_value

    @report_errors
    @ctx.fair_queue.limit
    def score(selection: Any, text: Any) -> tuple[Any, ...]:
        loaded = ctx.models.get(*parse_selection(selection))
        text = text if isinstance(text, str) else ""
        try:
            loaded.tokenizer.encode(text)  # an unknown character is named even where it would not be shown
            scores = score_text(loaded, text[:MOST])
        except InputError as error:
            unknown = bool(loaded.tokenizer.unknown(text))
            return gr.skip(), "", error_message(error), gr.Button(visible=unknown)
        about = told(scores.bits_per_character, len(text))
        return scored_value(loaded, text[:MOST], scores), about, "", gr.Button(visible=False)

    parts.score.click(
        score,
        [ctx.selection, parts.text],
        [parts.shown, parts.about, parts.problem, parts.drop],
        **ctx.generation_concurrency,
        show_progress="hidden",
        trigger_mode="always_last",  # another moment may come while one is scored
        api_visibility="private",
    )
    for moment in (ctx.selection.change, ctx.tab.change, parts.fold.expand):
        moment(None, js=AGAIN, api_visibility="private", **MULTIPLE)
    wire_drop(ctx, parts.text, parts.drop, "score-button")


def told(bits: float, length: int) -> str:
    """What a text costs, as a number of choices and in nats."""
    first = f" Shown and counted: the first {MOST:,} of {length:,} characters." if length > MOST else ""
    return f"As hard as choosing among {2**bits:.1f} characters each time: a loss of {bits * math.log(2):.2f}.{first}"
