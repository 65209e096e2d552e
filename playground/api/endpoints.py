"""Public endpoints: the page's functions with plain values as parameters and results."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr

from nanollm.errors import InputError
from nanollm.inference.generate import stream_text
from nanollm.inference.sampling import SamplingOptions, check_candidates
from playground.api import parameters, sentences
from playground.compare.columns import Column, comparison_warning, parse_columns, start_streams
from playground.context import Context
from playground.handlers import report_errors
from playground.services.streaming import TokenStream, run_streams

MAX_CANDIDATES = 100_000  # per answer: serializing them blocks all other requests


def publish(ctx: Context) -> None:
    """Add the endpoints to the page that is being built. Clients receive the message of an InputError."""
    for endpoint in _run_endpoints(ctx):
        gr.api(report_errors(endpoint), api_name=endpoint.__name__)
    for endpoint in (*_generation_endpoints(ctx), *map(ctx.fair_queue.limit, _scoring_endpoints(ctx))):
        gr.api(report_errors(endpoint), api_name=endpoint.__name__, **ctx.generation_concurrency)


def _run_endpoints(ctx: Context) -> tuple[Any, ...]:
    def runs() -> list[dict[str, Any]]:
        """List all runs, newest first: id, title, state, step, loss (lowest validation loss), steps (of snapshots)."""
        names = ("id", "title", "state", "reason", "step", "num_steps", "created", "loss", "steps")
        return [{name: row[name] for name in names} for row in ctx.catalogue.rows(fresh=True)]

    def texts() -> list[dict[str, Any]]:
        """List all texts that runs can train on: sha256, name, characters, vocab_size."""
        return [_text_facts(info) for info in ctx.corpora.list()]

    def corpus(text: str, name: str = "text") -> dict[str, Any]:
        """Store a text to train on. Returns its sha256, name, characters, vocab_size and character frequencies."""
        info = ctx.corpora.add_text(parameters.text(text), parameters.text(name))
        return {**_text_facts(info), "frequencies": [list(pair) for pair in ctx.corpora.frequencies(info.sha256)]}

    def start_run(text: str, preset: str = "nano", settings: dict[str, Any] | None = None) -> dict[str, Any]:
        """Train a preset on the text with this sha256. `settings` override the preset. Returns run and state."""
        if settings is not None and not isinstance(settings, dict):
            raise InputError(sentences.NOT_AN_OBJECT)
        with ctx.run_creation_lock:
            run = ctx.runs.create(settings=settings or {}, corpus=ctx.corpora.get(text), preset=preset)
        ctx.launcher.start(run.id)
        return state(run.id)

    def stop_run(run: str) -> dict[str, Any]:
        """Stop training a run and keep its snapshots. Returns run and state."""
        ctx.launcher.stop(run)
        return state(run)

    def state(run_id: str) -> dict[str, Any]:
        return {"run": run_id, "state": ctx.runs.get(run_id).status().state}

    return runs, texts, corpus, start_run, stop_run


def _generation_endpoints(ctx: Context) -> tuple[Any, ...]:
    def sample(
        run: str,
        prompt: str = "",
        step: int | None = None,
        max_length: int = 200,
        temperature: float = 0.8,
        top_k: int = 40,
        seed: int = 42,
    ) -> Iterator[str]:
        """Generate text. Streams the prompt with the text generated so far. Without a step: from the last snapshot.

        max_length: number of new characters. temperature: below 1 favors likely characters, above 1 unlikely ones; 0
        always takes the most likely one. top_k: sample only from the k most likely characters. seed: random seed; the
        same seed reproduces the text.
        """
        loaded = ctx.models.get(run, parameters.step(step))
        options = SamplingOptions(max_length, temperature, top_k, seed)
        stream = TokenStream(stream_text(loaded.model, loaded.tokenizer, parameters.text(prompt), options))
        ctx.limits.require_generation(prompt, max_length)
        with ctx.active_streams.at(None, secrets.token_hex(8)) as cancelled:
            for _ in run_streams([stream], cancelled):
                yield prompt + "".join(stream.generated)

    def compare(
        runs: list[str],
        prompt: str = "",
        steps: list[int] | None = None,
        max_length: int = 200,
        temperature: float = 0.8,
        top_k: int = 40,
        seed: int = 42,
    ) -> Iterator[dict[str, Any]]:
        """Generate with up to four runs at the same time, from one prompt and seed. Streams the texts so far.

        models: run, step, parameters, val_loss (nats per character), text (prompt included) and characters_per_second
        of each. caution: why their losses are not comparable, or "". steps: a snapshot of each (default: the last
        ones). max_length, temperature, top_k and seed as in /sample, the same for all.
        """
        columns = _columns(ctx, runs, steps)
        sampling = {"max_length": max_length, "temperature": temperature, "top_k": top_k, "seed": seed}
        start_streams(ctx, {"prompt": parameters.text(prompt), **sampling}, columns)
        if problem := next((column.problem for column in columns if column.problem), ""):
            raise InputError(problem)
        warning = comparison_warning(column.run for column in columns)
        with ctx.active_streams.at(None, secrets.token_hex(8)) as cancelled:
            for _ in run_streams([column.stream for column in columns if column.stream], cancelled):
                yield {"models": [_compared(column, prompt) for column in columns], "caution": warning}

    return sample, compare


def _scoring_endpoints(ctx: Context) -> tuple[Any, ...]:
    def score(run: str, text: str, step: int | None = None, candidates: int = 0) -> dict[str, Any]:
        """Score a text: loss (nats per character), and for each character its surprisal in bits, its probability, its
        rank (1: the most likely) and the given number of most likely candidates as [character, probability]."""
        from nanollm.explain.surprisal import surprisal  # imports torch, which takes a second

        ctx.limits.require_generation(parameters.text(text))
        loaded = ctx.models.get(run, parameters.step(step))
        check_candidates(candidates)
        if len(text) * min(candidates, loaded.tokenizer.vocab_size) > MAX_CANDIDATES:
            raise InputError(sentences.TOO_MANY_CANDIDATES.format(limit=MAX_CANDIDATES))
        scores = surprisal(loaded.model, loaded.tokenizer, text, candidates=candidates)
        characters, arrays = loaded.tokenizer.characters, (scores.candidate_ids, scores.candidate_probabilities)
        most_likely = [zip(*row, strict=True) for row in zip(*(array.tolist() for array in arrays), strict=True)]
        return {
            "loss": scores.bits_per_character * math.log(2),
            "bits": scores.bits.round(4).tolist(),
            "probabilities": scores.probabilities.tolist(),
            "ranks": scores.ranks.tolist(),
            "candidates": [[[characters[id], probability] for id, probability in row] for row in most_likely],
        }

    def attention(run: str, text: str, layer: int = 1, head: int = 1, step: int | None = None) -> dict[str, Any]:
        """Return one head's attention over the end of a text: weights[t][s] is the attention of character t to
        character s. Layers and heads count from 1; skipped is the number of characters before the window."""
        from nanollm.explain.attention import attention_map

        loaded = ctx.models.get(run, parameters.step(step))
        found = attention_map(loaded.model, loaded.tokenizer, parameters.text(text))
        layers, heads = found.weights.shape[:2]
        layer, head = parameters.number("layer", layer, layers), parameters.number("head", head, heads)
        weights = found.weights[layer - 1, head - 1].round(5).tolist()
        return {"characters": found.characters, "skipped": found.skipped, "weights": weights}

    return score, attention


def _columns(ctx: Context, runs: Any, steps: Any) -> list[Column]:
    """Return a column per run. Raises InputError for malformed lists."""
    if not isinstance(runs, list) or not (steps is None or (isinstance(steps, list) and len(steps) == len(runs))):
        raise InputError(sentences.NOT_LISTS)
    pairs = zip(runs, steps or [None] * len(runs), strict=True)
    models = [{"run": parameters.text(run), "step": parameters.step(step)} for run, step in pairs]
    return parse_columns(ctx, {"models": models})


def _compared(column: Column, prompt: str) -> dict[str, Any]:
    assert column.run and column.snapshot and column.stream, "a column without a stream has a problem, raised before"
    return {
        "run": column.run.id,
        "step": column.snapshot.step,
        "parameters": column.run.model_config.num_parameters,
        "val_loss": column.snapshot.val_loss,
        "text": prompt + column.text,
        "characters_per_second": round(column.stream.tokens_per_second, 1),
    }


def _text_facts(info: Any) -> dict[str, Any]:
    return {name: getattr(info, name) for name in ("sha256", "name", "characters", "vocab_size")}
