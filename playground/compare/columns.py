"""The columns of Compare: each holds one snapshot of a run, with the facts about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nanollm.errors import InputError
from nanollm.inference.generate import stream_text
from nanollm.runs.store import Run, Snapshot
from playground.compare import sentences
from playground.context import Context
from playground.handlers import error_message
from playground.selection import parse_selection
from playground.services.generation_request import GenerationRequest
from playground.services.streaming import TokenStream

MAX_COLUMNS = 4
MIN_COLUMNS = 2


@dataclass
class Column:
    """One column: its snapshot and, while it generates, the stream; or the problem why there is none."""

    run: Run | None = None
    snapshot: Snapshot | None = None
    stream: TokenStream[str] | None = None
    problem: str = ""
    unknown: str = ""  # characters of the prompt that are not in the model's vocabulary

    @property
    def text(self) -> str:
        """The text generated so far."""
        return "".join(self.stream.generated) if self.stream else ""


def parse_columns(ctx: Context, request: Any) -> list[Column]:
    """Return a column for each of the `models` in a browser's request.

    A model that does not exist gets a problem and does not affect the others. Raises InputError if the request is
    malformed or has too many models.
    """
    models = request.get("models") if isinstance(request, dict) else None
    if not isinstance(models, list) or len(models) > MAX_COLUMNS:
        raise InputError(sentences.NOT_MODELS.format(limit=MAX_COLUMNS))
    if not models:
        raise InputError(sentences.NO_COLUMNS)
    return [_column(ctx, model) for model in models]


def models_request(count: Any, models: Sequence[Any]) -> dict[str, Any]:
    """Start a request with the models of the first `count` columns."""
    return {"models": list(models[:count] if isinstance(count, int) else models)}


def start_streams(ctx: Context, request: dict[str, Any], columns: Sequence[Column]) -> None:
    """Give each column a stream for the request's prompt and sampling settings, or the problem why it has none."""
    for column in columns:
        if column.run is None or column.snapshot is None:
            continue
        try:
            snapshot = {"run": column.run.id, "step": column.snapshot.step}
            column.stream = _stream(ctx, column, GenerationRequest.of({**request, **snapshot}))
        except Exception as error:
            column.problem = error_message(error)


def facts(column: Column, speed: str = "–") -> dict[str, str]:
    """Return the four facts below a column by name."""
    if column.run is None or column.snapshot is None:
        return {}
    return {
        "parameters": f"{column.run.model_config.num_parameters:,}",
        "steps": f"{column.snapshot.step:,}",
        "validation loss": _loss(column.snapshot.val_loss),
        "characters per second": speed,
    }


def comparison_warning(runs: Iterable[Run | None]) -> str:
    """Return why the losses of these runs are not comparable; empty if they are.

    Runs on the same text have vocabularies of the same size, except a fork, which keeps its parent's vocabulary.
    """
    present = [run for run in runs if run]
    corpora = {run.corpus.get("sha256") for run in present}
    different_vocabularies = len({run.model_config.vocab_size for run in present}) > 1
    if len(corpora) > 1 and None in corpora:
        return sentences.UNKNOWN_CORPORA
    if len(corpora) > 1:
        return sentences.BOTH_DIFFERENT if different_vocabularies else sentences.DIFFERENT_CORPORA
    return sentences.DIFFERENT_VOCABULARIES if different_vocabularies else ""


def _column(ctx: Context, model: Any) -> Column:
    try:
        return Column(*ctx.models.find(*parse_selection(model)))
    except Exception as error:
        return Column(problem=error_message(error))


def _stream(ctx: Context, column: Column, request: GenerationRequest) -> TokenStream[str]:
    assert column.snapshot is not None
    ctx.limits.require_generation(request.full_prompt, request.max_length)
    loaded = ctx.models.at(column.snapshot)
    column.unknown = "".join(loaded.tokenizer.unknown(request.prompt))
    return TokenStream(stream_text(loaded.model, loaded.tokenizer, request.prompt, request.sampling))


def _loss(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.2f}" if loss < 1000 else f"{loss:.1e}"
