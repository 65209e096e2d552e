"""The public endpoints, for gradio_client and curl: what the page does, as plain functions of plain values."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from nanollm.explain.attention import attention_map
from nanollm.explain.surprisal import surprisal
from nanollm.inference.generate import stream_text
from nanollm.inference.sampling import check_candidates
from playground.compare.columns import Seat, caution, seats, take_pens
from playground.context import Context
from playground.handlers import report_errors
from playground.services.streaming import TokenStream, run_streams

MOST_TOLD = 100_000  # candidates in one answer: while it is put into words, nobody else is answered


def publish(ctx: Context) -> None:
    """Add the endpoints to the page under construction. Their InputErrors reach the caller as they are."""

    def runs() -> list[dict[str, Any]]:
        """All runs, newest first: id, title, state, step, loss (lowest validation loss), steps (of its snapshots)."""
        shown = ("id", "title", "state", "reason", "step", "num_steps", "created", "loss", "steps")
        return [{name: row[name] for name in shown} for row in ctx.catalogue.rows(fresh=True)]

    def texts() -> list[dict[str, Any]]:
        """All texts to train on: sha256, name, characters, vocab_size."""
        return [_about(info) for info in ctx.corpora.list()]

    def corpus(text: str, name: str = "text") -> dict[str, Any]:
        """Keep a text to train on, and describe it: sha256, name, characters, vocab_size, frequencies."""
        info = ctx.corpora.add_text(_text(text), _text(name))
        return {**_about(info), "frequencies": [list(pair) for pair in ctx.corpora.frequencies(info.sha256)]}

    def start_run(text: str, preset: str = "nano", settings: dict[str, Any] | None = None) -> dict[str, Any]:
        """Train a preset on the text with this sha256, with `settings` over the preset's; returns run and state."""
        if settings is not None and not isinstance(settings, dict):
            raise InputError('settings must be an object such as {"num_steps": 500}.')
        with ctx.run_creation_lock:
            run = ctx.runs.create(settings=settings or {}, corpus=ctx.corpora.get(text), preset=preset)
        ctx.launcher.start(run.id)
        return _state(run.id)

    def stop_run(run: str) -> dict[str, Any]:
        """End a run's training and keep what it learned; returns run and state."""
        ctx.launcher.stop(run)
        return _state(run)

    def sample(
        run: str,
        prompt: str = "",
        step: int | None = None,
        max_length: int = 200,
        temperature: float = 0.8,
        top_k: int = 40,
        seed: int = 42,
    ) -> Iterator[str]:
        """The text so far, prompt included, again and again until it is whole. Without a step: the last snapshot.

        max_length: new characters. temperature: below 1 likely characters are drawn more often, above 1 unlikely ones;
        0 takes the likeliest. top_k: only so many of the likeliest are ever drawn. seed: the same one, the same text.
        """
        loaded = ctx.models.get(run, _step(step))
        dials: dict[str, Any] = dict(max_length=max_length, temperature=temperature, top_k=top_k, seed=seed)
        pen = TokenStream(stream_text(loaded.model, loaded.tokenizer, _text(prompt), **dials))
        ctx.limits.require_generation(prompt, max_length)
        with ctx.active_streams.at(None, secrets.token_hex(8)) as cancelled:
            for _ in run_streams([pen], cancelled):
                yield prompt + "".join(pen.generated)

    def score(run: str, text: str, step: int | None = None, candidates: int = 0) -> dict[str, Any]:
        """How surprising each character of a text is: loss (nats a character), and by character its bits, probability
        and rank (1: the model's likeliest), and so many of the likeliest as [character, probability]."""
        ctx.limits.require_generation(_text(text))
        loaded = ctx.models.get(run, _step(step))
        check_candidates(candidates)
        if len(text) * min(candidates, loaded.tokenizer.vocab_size) > MOST_TOLD:
            raise InputError(f"More than {MOST_TOLD:,} candidates: ask for fewer, or score a shorter text.")
        scores = surprisal(loaded.model, loaded.tokenizer, text, candidates=candidates)
        characters, rows = loaded.tokenizer.characters, (scores.candidate_ids, scores.candidate_probabilities)
        likeliest = [zip(*row, strict=True) for row in zip(*(array.tolist() for array in rows), strict=True)]
        return {
            "loss": scores.bits_per_character * math.log(2),
            "bits": scores.bits.round(4).tolist(),
            "probabilities": scores.probabilities.tolist(),
            "ranks": scores.ranks.tolist(),
            "candidates": [[[characters[id], probability] for id, probability in row] for row in likeliest],
        }

    def compare(
        runs: list[str],
        prompt: str = "",
        steps: list[int] | None = None,
        max_length: int = 200,
        temperature: float = 0.8,
        top_k: int = 40,
        seed: int = 42,
    ) -> Iterator[dict[str, Any]]:
        """Up to four runs writing at the same time from one prompt and seed, again and again until all are whole.

        models: run, step, parameters, val_loss (nats a character), text (prompt included) and characters_per_second of
        each. caution: why their losses cannot be compared, or "". steps: a snapshot of each (default: the last ones).
        max_length, temperature, top_k and seed as in /sample, the same for all.
        """
        taken = _seats(ctx, runs, steps)
        dials = {"max_length": max_length, "temperature": temperature, "top_k": top_k, "seed": seed}
        take_pens(ctx, {"prompt": _text(prompt), **dials}, taken)
        if problem := next((seat.problem for seat in taken if seat.problem), ""):
            raise InputError(problem)
        warning = caution(seat.run for seat in taken)
        with ctx.active_streams.at(None, secrets.token_hex(8)) as cancelled:
            for _ in run_streams([seat.pen for seat in taken if seat.pen], cancelled):
                yield {"models": [_compared(seat, prompt) for seat in taken], "caution": warning}

    def attention(run: str, text: str, layer: int = 1, head: int = 1, step: int | None = None) -> dict[str, Any]:
        """One head's weights over the end of a text: weights[t][s] from character t to s; layers and heads from 1."""
        loaded = ctx.models.get(run, _step(step))
        weights = (found := attention_map(loaded.model, loaded.tokenizer, _text(text))).weights
        for name, number, count in (("layer", layer, weights.shape[0]), ("head", head, weights.shape[1])):
            if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= count:
                raise InputError(f"{name} must be a whole number from 1 to {count}.")
        rows = weights[layer - 1, head - 1].round(5).tolist()
        return {"characters": found.characters, "skipped": found.skipped, "weights": rows}

    def _state(run_id: str) -> dict[str, Any]:
        return {"run": run_id, "state": ctx.runs.get(run_id).status().state}

    for endpoint in (runs, texts, corpus, start_run, stop_run):
        gr.api(report_errors(endpoint), api_name=endpoint.__name__)
    for endpoint in (sample, compare, ctx.fair_queue.fair(score), ctx.fair_queue.fair(attention)):
        gr.api(report_errors(endpoint), api_name=endpoint.__name__, **ctx.generation_concurrency)


def _seats(ctx: Context, runs: Any, steps: Any) -> list[Seat]:
    """A seat for each run. Raises InputError for odd lists, and where a run or a snapshot cannot be had."""
    if not isinstance(runs, list) or not (steps is None or (isinstance(steps, list) and len(steps) == len(runs))):
        raise InputError("runs must be a list of ids, and steps as long a list of whole numbers, or null.")
    moments = zip(runs, steps or [None] * len(runs), strict=True)
    return seats(ctx, {"models": [{"run": _text(run), "step": _step(step)} for run, step in moments]})


def _compared(seat: Seat, prompt: str) -> dict[str, Any]:
    assert seat.run and seat.snapshot and seat.pen, "who has no pen has a problem, and that was told"
    return {
        "run": seat.run.id,
        "step": seat.snapshot.step,
        "parameters": seat.run.model_config.num_parameters,
        "val_loss": seat.snapshot.val_loss,
        "text": prompt + seat.text,
        "characters_per_second": round(seat.pen.tokens_per_second, 1),
    }


def _about(info: Any) -> dict[str, Any]:
    return {name: getattr(info, name) for name in ("sha256", "name", "characters", "vocab_size")}


def _text(value: Any) -> str:
    """What claims to be a text, if it is one."""
    if not isinstance(value, str):
        raise InputError("A text is expected here.")
    return value


def _step(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InputError("step must be a whole number, or null for the last snapshot.")
    return value
