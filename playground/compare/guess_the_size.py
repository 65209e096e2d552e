"""Blind round: the same models in an order that nobody is told. Which is the larger? Then the reveal."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from playground.compare.columns import MIN_COLUMNS, Column, facts, models_request, parse_columns, start_streams
from playground.compare.compare_blind import blind, cards
from playground.compare.texts import PLACE
from playground.compare.texts import Parts as Columns
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, report_errors
from playground.services.gradio_internals import event_data
from playground.services.streaming import run_streams

LENGTH = 400  # characters at most: who guesses has read enough by then
ALIKE = "These models are of one size and have learned for equally long: choose others in Texts."


@dataclass
class Parts:
    round: gr.HTML
    secret: gr.State


@dataclass
class Round:
    """What one visitor is guessing, and how well they have done so far. It stays with us until they have guessed."""

    prompt: str
    question: str
    right: int  # index of the answer
    names: list[dict[str, Any]]  # of the models, in the order of their texts
    texts: list[str] = field(default_factory=list)
    open: bool = False  # whether a guess counts
    guessed: int = 0  # rounds
    correct: int = 0

    def cards(self, over: bool = False, chosen: int | None = None) -> dict[str, Any]:
        """As the browser shows it; it learns the names with the answer to a guess."""
        names, right = (None, None) if chosen is None else (self.names, self.right)
        score = f"{self.correct} of {self.guessed} right." if self.guessed else ""
        return cards(self.prompt, self.texts, self.question, over, names, chosen, right, score)


def layout(ctx: Context) -> Parts:
    with gr.Column(elem_classes="compare-view when-blind", min_width=0):
        return Parts(blind("compare-blind"), gr.State(None))


def wire(ctx: Context, parts: Parts, columns: Columns) -> None:
    stop = columns.ask.stop
    said = [parts.round, parts.secret, stop]
    writing: dict[str, Any] = dict(show_progress="hidden", api_visibility="private")

    @report_errors
    def begin(
        request: gr.Request, before: Round | None, count: Any, prompt: Any, temperature: Any, top_k: Any,
        length: Any, *models: Any,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        asked = models_request(count, models) | {"prompt": prompt, "temperature": temperature, "top_k": top_k}
        asked |= {"max_length": length, "seed": secrets.randbelow(100_000)}
        yield from _write(ctx, request.session_hash, asked, before)

    question = [part for part in columns.question if part is not columns.fold.seed]
    parts.round.begin(
        begin, [parts.secret, *question], said, **ctx.generation_concurrency, **writing, **MULTIPLE,
    )  # fmt: skip

    def guess(event: gr.EventData, now: Round | None) -> tuple[Any, Any]:
        chosen = event_data(event).get("choice")
        if now is None or not now.open or chosen not in range(len(now.texts)):
            return gr.skip(), gr.skip()
        now.open = False
        now.guessed += 1
        now.correct += chosen == now.right
        return now.cards(over=True, chosen=chosen), now

    parts.round.guess(guess, parts.secret, [parts.round, parts.secret], **UNQUEUED, **MULTIPLE)


def riddle(columns: Sequence[Column]) -> tuple[str, int]:
    """A question about these models that has one answer, and the index of the answer.

    Raises InputError where they are of one size and one age.
    """
    several = len(columns) > MIN_COLUMNS
    runs = [(column.run, column.snapshot) for column in columns if column.run and column.snapshot]
    sizes = [run.model_config.num_parameters for run, _ in runs]
    steps = [snapshot.step for _, snapshot in runs]
    for amounts, question in (
        (sizes, "Which is the largest?" if several else "Which is the larger?"),
        (steps, "Which has learned for longest?" if several else "Which has learned for longer?"),
    ):
        if amounts.count(max(amounts)) == 1:
            return question, amounts.index(max(amounts))
    raise InputError(ALIKE)


def _write(ctx: Context, session: str | None, asked: dict[str, Any], before: Round | None) -> Iterator[tuple[Any, ...]]:
    """Updates for the cards, the secret and Stop."""
    cancelled = ctx.active_streams.begin(session, PLACE)
    try:
        columns = parse_columns(ctx, asked)
        random.SystemRandom().shuffle(columns)
        now = _begun(ctx, asked, columns)
        if before:
            now.guessed, now.correct = before.guessed, before.correct
        now.texts = _level(columns)
        stop = gr.Button(interactive=True)
        yield now.cards(), now, stop
        for _ in run_streams([column.stream for column in columns if column.stream], cancelled):
            now.texts = _level(columns)
            yield now.cards(), gr.skip(), stop
        now.open = True
        yield now.cards(over=True), now, gr.Button(interactive=False)
    finally:
        ctx.active_streams.end(session, PLACE, cancelled)


def _begun(ctx: Context, asked: dict[str, Any], columns: list[Column]) -> Round:
    """A round about these models, each with its pen. Raises InputError where one of them cannot write."""
    if len(columns) < MIN_COLUMNS:
        raise InputError("Add a second model to compare.")
    long = asked.get("max_length")
    brief = min(long, LENGTH) if isinstance(long, (int, float)) else long  # what is no length is refused with the rest
    start_streams(ctx, {**asked, "max_length": brief}, columns)
    if problem := next((column.problem for column in columns if column.problem), ""):
        raise InputError(problem)
    question, right = riddle(columns)
    names = [
        {"title": column.run.title, "slot": ctx.catalogue.slot(column.run.id), "facts": _size_and_age(column)}
        for column in columns
        if column.run
    ]
    return Round(asked["prompt"], question, right, names)


def _size_and_age(column: Column) -> str:
    return ", ".join(f"{number} {name}" for name, number in facts(column)[:2])


def _level(columns: list[Column]) -> list[str]:
    """What they have written, as far as the slowest has come: a large model writes slowly, which would tell."""
    length = min(len(column.stream.generated) for column in columns if column.stream)
    return [column.text[:length] for column in columns]
