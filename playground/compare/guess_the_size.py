"""Guess the size: the models generate once more, in a hidden order. Which one is larger?"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.compare import sentences
from playground.compare.columns import MIN_COLUMNS, Column, facts, models_request, parse_columns, start_streams
from playground.compare.texts import PLACE
from playground.compare.texts import Parts as TextsParts
from playground.components.factory import component
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, report_errors
from playground.services.gradio_internals import event_data
from playground.services.streaming import run_streams

MAX_LENGTH = 400  # characters: enough to guess
TEMPLATE = """
<div class="blind">
  <p class="introduction">{introduction}</p>
  <div class="cards"></div>
  <div class="blind-row"><button type="button" class="small action begin">{start}</button>
    <p class="verdict" role="status"></p></div>
</div>
"""


@dataclass
class Parts:
    round: gr.HTML
    state: gr.State


@dataclass
class Round:
    """One round of a visitor and their score so far. It stays on the server, because it contains the answer."""

    prompt: str
    question: str
    right: int  # index of the answer
    names: list[dict[str, Any]]  # of the models, in the order of their texts
    texts: list[str] = field(default_factory=list)
    open: bool = False  # whether a guess counts
    guessed: int = 0  # rounds
    correct: int = 0

    def cards(self, over: bool = False, chosen: int | None = None) -> dict[str, Any]:
        """Build the value of the component. It contains the names and the answer only once a guess was made.

        `over` means that all texts are complete, so that the user may guess.
        """
        names, right = (None, None) if chosen is None else (self.names, self.right)
        score = sentences.SCORE_SO_FAR.format(correct=self.correct, guessed=self.guessed) if self.guessed else ""
        return {
            "prompt": self.prompt, "texts": list(self.texts), "question": self.question, "over": over,
            "names": names, "chosen": chosen, "right": right, "score": score,
        }  # fmt: skip


def layout(ctx: Context) -> Parts:
    with gr.Column(elem_classes="compare-view when-blind", min_width=0):
        cards = component(
            "compare/guess_the_size.js",
            TEMPLATE,
            events=("begin", "guess"),
            elem_id="compare-blind",
            introduction=sentences.GUESS_INTRODUCTION,
            start=sentences.START_ROUND,
        )
        return Parts(cards, gr.State(None))


def wire(ctx: Context, parts: Parts, texts: TextsParts) -> None:
    @report_errors
    def begin(
        request: gr.Request, before: Round | None, count: Any, prompt: Any, temperature: Any, top_k: Any,
        length: Any, *models: Any,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        sampling = {
            "temperature": temperature,
            "top_k": top_k,
            "max_length": length,
            "seed": secrets.randbelow(100_000),
        }
        generation = models_request(count, models) | {"prompt": prompt, **sampling}
        yield from _generate(ctx, request.session_hash, generation, before)

    parts.round.begin(
        begin,
        [parts.state, *(part for part in texts.request if part is not texts.fold.seed)],
        [parts.round, parts.state, texts.prompt_row.stop],
        show_progress="hidden",
        api_visibility="private",
        **ctx.generation_concurrency,
        **MULTIPLE,
    )

    def guess(event: gr.EventData, current: Round | None) -> tuple[Any, Any]:
        chosen = event_data(event).get("choice")
        if current is None or not current.open or chosen not in range(len(current.texts)):
            return gr.skip(), gr.skip()
        current.open = False
        current.guessed += 1
        current.correct += chosen == current.right
        return current.cards(over=True, chosen=chosen), current

    parts.round.guess(guess, parts.state, [parts.round, parts.state], **UNQUEUED, **MULTIPLE)


def choose_question(columns: Sequence[Column]) -> tuple[str, int]:
    """Return a question about these models that has exactly one answer, and the index of the answer.

    Raises InputError if neither the largest nor the longest trained model is unique.
    """
    several = len(columns) > MIN_COLUMNS
    models = [(column.run, column.snapshot) for column in columns if column.run and column.snapshot]
    sizes = [run.model_config.num_parameters for run, _ in models]
    steps = [snapshot.step for _, snapshot in models]
    for amounts, questions in ((sizes, sentences.LARGER), (steps, sentences.LONGER)):
        if amounts.count(max(amounts)) == 1:
            return questions[several], amounts.index(max(amounts))
    raise InputError(sentences.SAME_SIZE)


def _generate(
    ctx: Context, session: str | None, request: dict[str, Any], before: Round | None
) -> Iterator[tuple[Any, ...]]:
    """Yield updates for the cards, the state and Stop."""
    cancelled = ctx.active_streams.begin(session, PLACE)
    try:
        columns = parse_columns(ctx, request)
        random.SystemRandom().shuffle(columns)
        current = _start_round(ctx, request, columns)
        if before:
            current.guessed, current.correct = before.guessed, before.correct
        current.texts = _equal_lengths(columns)
        stop = gr.Button(interactive=True)
        yield current.cards(), current, stop
        for _ in run_streams([column.stream for column in columns if column.stream], cancelled):
            current.texts = _equal_lengths(columns)
            yield current.cards(), gr.skip(), stop
        current.open = True
        yield current.cards(over=True), current, gr.Button(interactive=False)
    finally:
        ctx.active_streams.end(session, PLACE, cancelled)


def _start_round(ctx: Context, request: dict[str, Any], columns: list[Column]) -> Round:
    """Start the streams of a round. Raises InputError if any of the models cannot generate."""
    if len(columns) < MIN_COLUMNS:
        raise InputError(sentences.TOO_FEW)
    length = request.get("max_length")  # an invalid one is rejected by start_streams()
    length = min(length, MAX_LENGTH) if isinstance(length, (int, float)) else length
    start_streams(ctx, {**request, "max_length": length}, columns)
    if problem := next((column.problem for column in columns if column.problem), ""):
        raise InputError(problem)
    question, right = choose_question(columns)
    names = [
        {"title": column.run.title, "slot": ctx.catalogue.slot(column.run.id), "facts": _size_and_steps(column)}
        for column in columns
        if column.run
    ]
    return Round(request["prompt"], question, right, names)


def _size_and_steps(column: Column) -> str:
    return ", ".join(f"{number} {name}" for name, number in list(facts(column).items())[:2])


def _equal_lengths(columns: list[Column]) -> list[str]:
    """Return the texts, cut to the length of the shortest: large models are slower, which would give them away."""
    length = min(len(column.stream.generated) for column in columns if column.stream)
    return [column.text[:length] for column in columns]
