"""The public endpoints that look inside a model: what the lenses of Attention show, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gradio as gr
import numpy as np

from nanollm.errors import InputError
from nanollm.explain.ablation import HeadEffect, Reading, rank_heads, switch_off
from nanollm.explain.context_window import require_place
from nanollm.explain.head_types import PATTERNS, head_scores
from nanollm.explain.logit_lens import contributions, logit_lens
from playground.attention.components.switches import part_named
from playground.context import Context
from playground.handlers import report_errors
from playground.services.generation_request import MAX_PROMPT
from playground.services.inspections import View
from playground.services.models import version

KINDS = ("mean", "zero")
LIKELIEST = 10  # next characters told


def publish_inside(ctx: Context) -> None:
    """Add the endpoints to the page under construction. Their InputErrors reach the caller as they are."""

    def ablation(run: str, text: str, parts: list[str], kind: str = "mean", step: int | None = None) -> dict[str, Any]:
        """A text read without some parts (L1 a layer, L1·H2 a head, L1·FF a feed-forward block), together and alone.

        Each reading has loss (nats a character) and next (the likeliest next characters). kind: held at their "mean",
        or "zero".
        """
        if not isinstance(parts, list):
            raise InputError('parts must be a list such as ["L1·H2", "L3·FF"].')
        if kind not in KINDS:
            raise InputError('kind must be "mean" or "zero".')
        view = _view(ctx, run, step, text)
        means = ctx.inspections.means(view)[0] if kind == "mean" else None
        off = [part_named(label) for label in parts]
        found = switch_off(view.loaded.model, view.loaded.tokenizer, view.typed, off, means)
        tell = lambda reading: _reading(reading, view.loaded.tokenizer.characters)  # noqa: E731
        return {
            "text": found.text,
            "skipped": found.skipped,
            "parts": [part.label for part in found.parts],
            "kind": "zero" if means is None else "mean",
            "untouched": tell(found.untouched),
            "together": tell(found.together),
            "alone": [tell(reading) for reading in found.alone],
        }

    def rank(run: str, step: int | None = None) -> list[dict[str, Any]]:
        """Every head, the most missed first: how much the loss on held-out text rises without it, ± error, in nats."""
        view = _view(ctx, run, step, None)
        kept = ctx.inspections.findings(view)
        effects = kept.effects if kept else _ranked(ctx, view)
        found = sorted(effects, key=lambda effect: -effect.increase)
        return [{"head": e.part.label, "increase": _number(e.increase), "error": _number(e.error)} for e in found]

    def names(run: str, text: str | None = None, step: int | None = None) -> dict[str, Any]:
        """What each head is: names[layer][head] (null: nothing recognisable), its scores for each of patterns, and what
        chance would give. Without a text: on what the run held out."""
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
        """What each layer would say after `place` of the window, and who speaks for a character (the likeliest if none
        is named): the contributions come to its logit."""
        view = _view(ctx, run, step, text)
        model, tokenizer = view.loaded.model, view.loaded.tokenizer
        if character is not None and not isinstance(character, str):
            raise InputError("character must be one character, or null for the likeliest.")
        read = logit_lens(model, tokenizer, view.typed)
        seen = read.probabilities[:, require_place(place, len(read.text))]  # (L + 1, V)
        likeliest = tokenizer.characters[int(seen[-1].argmax())]
        shares = contributions(model, tokenizer, view.typed, likeliest if character is None else character, place)
        parts = {
            f"L{layer}·H{head}": _number(value)
            for layer, heads in enumerate(shares.heads, 1)
            for head, value in enumerate(heads, 1)
        }
        parts |= {f"L{layer}·FF": _number(value) for layer, value in enumerate(shares.feed_forwards, 1)}
        return {
            "text": shares.text,
            "skipped": shares.skipped,
            "place": shares.place,
            "layers": [_likeliest(says, tokenizer.characters) for says in seen],
            "character": shares.character,
            "logit": _number(shares.logit),
            "contributions": {
                "embedding": _number(shares.embedding),
                "position": _number(shares.position),
                **parts,
                "biases": _number(shares.attention_biases.sum()),
            },
        }

    fair = ctx.fair_queue.fair
    for endpoint in (fair(ablation), rank, fair(names), fair(lens)):
        gr.api(report_errors(endpoint), api_name=endpoint.__name__, **ctx.generation_concurrency)


def _view(ctx: Context, run: Any, step: Any, text: Any) -> View:
    """The snapshot, and the text if there is one. Raises InputError for what is none."""
    if not isinstance(run, str):
        raise InputError("run must be the id of a run.")
    if step is not None and (not isinstance(step, int) or isinstance(step, bool)):
        raise InputError("step must be a whole number, or null for the last snapshot.")
    if text is None:
        found, snapshot = ctx.models.find(run, step)
        return View(found, snapshot, ctx.models.at(snapshot), version(snapshot), "", "")
    if not isinstance(text, str):
        raise InputError("A text is expected here.")
    if len(text) > MAX_PROMPT:
        raise InputError(f"A text of at most {MAX_PROMPT:,} characters is expected.")
    return ctx.inspections.view({"run": run, "step": step}, text)


def _ranked(ctx: Context, view: View) -> Iterable[HeadEffect]:
    """Measured now, on what the run held out. Raises InputError where that is not here."""
    ids = ctx.inspections.held_out(view.run, view.loaded)
    return ctx.fair_queue.each(rank_heads(view.loaded.model, ids, ctx.inspections.means(view)[0]))


def _reading(reading: Reading, characters: tuple[str, ...]) -> dict[str, Any]:
    return {"loss": _number(reading.loss), "next": _likeliest(reading.next_character, characters)}


def _likeliest(probabilities: np.ndarray, characters: tuple[str, ...]) -> dict[str, float | None]:
    return {characters[id]: _number(probabilities[id]) for id in np.argsort(-probabilities)[:LIKELIEST]}


def _number(value: Any) -> float | None:
    """A number as JSON has it: NaN, which it lacks, as null."""
    return round(float(value), 6) if np.isfinite(value) else None


def _numbers(array: np.ndarray) -> Any:
    return [_numbers(each) for each in array] if array.ndim else _number(array)
