"""Who sits in the columns of Compare: models at a moment of their training, each with what is to be known of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nanollm.errors import InputError
from nanollm.runs.store import Run, Snapshot
from playground.context import Context
from playground.handlers import error_message
from playground.selection import parse_selection
from playground.services.generation_request import GenerationRequest
from playground.services.streaming import TokenStream

COLUMNS = 4
FEWEST = 2
NOT_LOSSES = "compare how they write, not their losses."


@dataclass
class Seat:
    """One column: its model, or the sentence that says why there is none; while it writes, its pen."""

    run: Run | None = None
    snapshot: Snapshot | None = None
    pen: TokenStream[str] | None = None
    problem: str = ""
    unknown: str = ""  # characters of the prompt that the model has never seen

    @property
    def text(self) -> str:
        """What it has written so far."""
        return "".join(self.pen.generated) if self.pen else ""


def seats(ctx: Context, asked: Any) -> list[Seat]:
    """A seat for each of the models in a browser's question; a model that cannot be had leaves the others alone.

    Raises InputError where that is no question, or one of more models than there are columns.
    """
    models = asked.get("models") if isinstance(asked, dict) else None
    if not isinstance(models, list) or len(models) > COLUMNS:
        raise InputError(f"A list of up to {COLUMNS} models is expected.")
    if not models:
        raise InputError("There is no model to compare yet: the first appears as soon as training begins.")
    return [_seat(ctx, model) for model in models]


def in_columns(count: Any, models: Sequence[Any]) -> dict[str, Any]:
    """The beginning of such a question: as many of the models as there are columns."""
    return {"models": list(models[:count] if isinstance(count, int) else models)}


def take_pens(ctx: Context, asked: dict[str, Any], taken: Sequence[Seat]) -> None:
    """Make everybody ready to write from the question's prompt, by its dials; who cannot says why."""
    for seat in taken:
        if seat.run is None or seat.snapshot is None:
            continue
        try:
            question = GenerationRequest.of({**asked, "run": seat.run.id, "step": seat.snapshot.step})
            seat.pen = _pen(ctx, seat, question)
        except Exception as error:
            seat.problem = error_message(error)


def facts(seat: Seat, speed: str = "–") -> list[list[str]]:
    """The four facts under a column."""
    if seat.run is None or seat.snapshot is None:
        return []
    return [
        ["parameters", f"{seat.run.model_config.num_parameters:,}"],
        ["steps", f"{seat.snapshot.step:,}"],
        ["validation loss", _loss(seat.snapshot.val_loss)],
        ["characters a second", speed],
    ]


def caution(runs: Iterable[Run | None]) -> str:
    """What keeps the losses of these runs from being compared; empty if nothing does.

    Of one text, all vocabularies of one size are the same; a run that goes on from another one's model may know more.
    """
    present = [run for run in runs if run]
    texts = {run.corpus.get("sha256") for run in present}
    different_characters = len({run.model_config.vocab_size for run in present}) > 1
    if len(texts) > 1 and None in texts:
        return f"It is not known whether these models learned from the same text: {NOT_LOSSES}"
    if len(texts) > 1:
        characters = ", of different characters" if different_characters else ""
        return f"These models learned from different texts{characters}: {NOT_LOSSES}"
    return f"These models choose among different characters: {NOT_LOSSES}" if different_characters else ""


def _seat(ctx: Context, model: Any) -> Seat:
    try:
        return Seat(*ctx.models.find(*parse_selection(model)))
    except Exception as error:
        return Seat(problem=error_message(error))


def _pen(ctx: Context, seat: Seat, question: GenerationRequest) -> TokenStream[str]:
    from nanollm.inference.generate import stream_text  # torch is only worth its second when somebody writes

    assert seat.snapshot is not None
    ctx.limits.require_generation(question.full_prompt, question.max_length)
    loaded = ctx.models.at(seat.snapshot)
    seat.unknown = "".join(loaded.tokenizer.unknown(question.prompt))
    return TokenStream(stream_text(loaded.model, loaded.tokenizer, question.prompt, **question.sampling))


def _loss(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.2f}" if loss < 1000 else f"{loss:.1e}"
