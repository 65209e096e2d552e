"""Public endpoints that inspect a model: the views of the Attention tab as plain values."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from nanollm.errors import InputError
from playground.api import parameters, sentences
from playground.attention.components.switches import part_named
from playground.context import Context
from playground.handlers import report_errors
from playground.services.generation_request import MAX_PROMPT
from playground.services.models import version

if TYPE_CHECKING:
    from nanollm.explain.ablation import HeadEffect, Predictions
    from playground.services.inspections import View

KINDS = ("mean", "zero")
NEXT_CHARACTERS = 10  # most likely next characters in an answer


def publish_inspection(ctx: Context) -> None:
    """Add the endpoints to the page that is being built. Clients receive the message of an InputError."""
    limit = ctx.fair_queue.limit
    ablation, rank, names, lens = _endpoints(ctx)
    for endpoint in (limit(ablation), rank, limit(names), limit(lens)):
        gr.api(report_errors(endpoint), api_name=endpoint.__name__, **ctx.generation_concurrency)


def _endpoints(ctx: Context) -> tuple[Any, ...]:
    def ablation(run: str, text: str, parts: list[str], kind: str = "mean", step: int | None = None) -> dict[str, Any]:
        """Score a text without some parts (L1: layer, L1·H2: head, L1·FF: feed-forward block), together and alone.

        untouched, together and each of alone have loss (nats per character) and next (the most likely next characters).
        kind: replace a part's output by its "mean" or by "zero".
        """
        from nanollm.explain.ablation import measure_ablation  # imports torch, which takes a second

        if not isinstance(parts, list):
            raise InputError(sentences.NOT_PARTS)
        if kind not in KINDS:
            raise InputError(sentences.NOT_A_KIND.format(value=reprlib.repr(kind)))
        view = _view(ctx, run, step, text)
        means = ctx.inspections.means(view)[0] if kind == "mean" else None
        off = [part_named(label) for label in parts]
        found = measure_ablation(view.loaded.model, view.loaded.tokenizer, view.typed, off, means)
        characters = view.loaded.tokenizer.characters
        return {
            "text": found.text,
            "skipped": found.skipped,
            "parts": [part.label for part in found.parts],
            "kind": "zero" if means is None else "mean",
            "untouched": _reading(found.original, characters),
            "together": _reading(found.together, characters),
            "alone": [_reading(reading, characters) for reading in found.alone],
        }

    def rank(run: str, step: int | None = None) -> list[dict[str, Any]]:
        """Rank all heads by how much the loss on held-out text rises without each: head, increase and error in nats."""
        view = _view(ctx, run, step, None)
        findings = ctx.inspections.findings(view)
        effects = findings.effects if findings else _rank_now(ctx, view)
        ranked = sorted(effects, key=lambda effect: -effect.increase)
        return [{"head": e.part.label, "increase": _number(e.increase), "error": _number(e.error)} for e in ranked]

    def names(run: str, text: str | None = None, step: int | None = None) -> dict[str, Any]:
        """Name the type of each head: names[layer][head] (null: none recognized), its scores for each of patterns, and
        the scores expected by chance. Without a text: measured on the run's held-out text."""
        from nanollm.explain.head_types import PATTERNS, head_scores

        view = _view(ctx, run, step, text)
        model, tokenizer = view.loaded.model, view.loaded.tokenizer
        found = ctx.inspections.head_scores(view)[0] if text is None else head_scores(model, tokenizer, view.typed)
        return {
            "patterns": list(PATTERNS),
            "names": found.names,
            "scores": _numbers(found.scores),
            "by_chance": _numbers(found.baseline),
        }

    def lens(
        run: str, text: str, place: int = -1, character: str | None = None, step: int | None = None
    ) -> dict[str, Any]:
        """Apply the logit lens after position `place` of the window: layers are each layer's most likely characters,
        contributions add up to the logit of a character (default: the most likely one)."""
        from nanollm.explain.context_window import require_index
        from nanollm.explain.logit_lens import contributions, logit_lens

        view = _view(ctx, run, step, text)
        model, tokenizer = view.loaded.model, view.loaded.tokenizer
        if character is not None and not isinstance(character, str):
            raise InputError(sentences.NOT_A_CHARACTER.format(value=reprlib.repr(character)))
        found = logit_lens(model, tokenizer, view.typed)
        layers = found.probabilities[:, require_index(place, len(found.text))]  # (L + 1, V)
        most_likely = tokenizer.characters[int(layers[-1].argmax())]
        shares = contributions(model, tokenizer, view.typed, most_likely if character is None else character, place)
        parts = {
            f"L{layer}·H{head}": _number(value)
            for layer, heads in enumerate(shares.heads, 1)
            for head, value in enumerate(heads, 1)
        }
        parts |= {f"L{layer}·FF": _number(value) for layer, value in enumerate(shares.feed_forwards, 1)}
        return {
            "text": shares.text,
            "skipped": shares.skipped,
            "place": shares.index,
            "layers": [_most_likely(probabilities, tokenizer.characters) for probabilities in layers],
            "character": shares.character,
            "logit": _number(shares.logit),
            "contributions": {
                "embedding": _number(shares.embedding),
                "position": _number(shares.position),
                **parts,
                "biases": _number(shares.attention_biases.sum()),
            },
        }

    return ablation, rank, names, lens


def _view(ctx: Context, run: Any, step: Any, text: Any) -> View:
    """Return the snapshot with the text, or with an empty one. Raises InputError for malformed parameters."""
    from playground.services.inspections import View

    run, step = parameters.run_id(run), parameters.step(step)
    if text is None:
        found, snapshot = ctx.models.find(run, step)
        return View(found, snapshot, ctx.models.at(snapshot), version(snapshot), "", "")
    if len(parameters.text(text)) > MAX_PROMPT:
        raise InputError(sentences.TEXT_TOO_LONG.format(length=len(text), limit=MAX_PROMPT))
    return ctx.inspections.view({"run": run, "step": step}, text)


def _rank_now(ctx: Context, view: View) -> Iterable[HeadEffect]:
    """Measure the effect of each head on the run's held-out text. Raises InputError if that is not available."""
    from nanollm.explain.ablation import rank_heads

    ids = ctx.inspections.held_out(view.run, view.loaded)
    return ctx.fair_queue.iterate(rank_heads(view.loaded.model, ids, ctx.inspections.means(view)[0]))


def _reading(reading: Predictions, characters: tuple[str, ...]) -> dict[str, Any]:
    return {"loss": _number(reading.loss), "next": _most_likely(reading.next_probabilities, characters)}


def _most_likely(probabilities: np.ndarray, characters: tuple[str, ...]) -> dict[str, float | None]:
    return {characters[id]: _number(probabilities[id]) for id in np.argsort(-probabilities)[:NEXT_CHARACTERS]}


def _number(value: Any) -> float | None:
    """Round a number for JSON, which has no NaN and no infinity: null instead."""
    return round(float(value), 6) if np.isfinite(value) else None


def _numbers(array: np.ndarray) -> Any:
    return [_numbers(each) for each in array] if array.ndim else _number(array)
