"""Rank all heads by how much the loss rises without each: the bars beside the heads in the grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from playground.attention import sentences
from playground.attention.components import attention_grid
from playground.attention.components.attention_grid import ranking_value
from playground.attention.view_frame import SharedInputs
from playground.components import text_fetch
from playground.components.format import signed
from playground.context import Context
from playground.handlers import UNQUEUED, error_message, report_errors

if TYPE_CHECKING:
    from nanollm.explain.ablation import HeadEffect
    from playground.services.inspections import View

PLACE = "ranking"
NOISE_ERRORS = 2.0  # effects within this many standard errors of 0 count as noise


@dataclass
class Parts:
    found: gr.HTML
    rank: gr.Button
    cancel: gr.Button
    fetching: text_fetch.Parts


def layout(ctx: Context) -> Parts:
    found = attention_grid.ranking(elem_id="attention-ranking")
    with gr.Row(elem_classes="button-row"):
        rank = gr.Button(sentences.RANK, size="sm", elem_id="attention-rank")
        cancel = gr.Button(sentences.CANCEL, size="sm", visible=False, elem_id="attention-rank-cancel")
    offer = text_fetch.layout("attention")
    return Parts(found, rank, cancel, offer)


def known_value(ctx: Context, view: View) -> dict[str, Any]:
    """Return the value of the bars from an earlier ranking, or one that says that there is none."""
    found = ctx.inspections.ranking(view)
    return _finished(view, *found) if found else ranking_value(text=sentences.NOT_RANKED, stamp=view.stamp)


def update(ctx: Context, view: View, session: str | None) -> tuple[dict[str, Any] | None, Any]:
    """Return known_value() and the Rank button; None while the session is ranking this very view.

    Cancels a ranking of the session for any other view, because its bars do not belong to what is shown now.
    """
    if ctx.inspections.ranked_now.get(session) == ctx.inspections.key(view):
        return None, gr.skip()
    ctx.active_streams.cancel(session, PLACE)
    return known_value(ctx, view), gr.Button(interactive=not ctx.inspections.ranking(view))


def wire(ctx: Context, parts: Parts, shared: SharedInputs) -> None:
    @report_errors
    @ctx.fair_queue.limit
    def rank(selection: Any, text: Any, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        buttons = gr.Button(interactive=False), gr.Button(visible=True)
        yield gr.skip(), *buttons
        for value in bars(ctx, ctx.inspections.view(selection, text), request.session_hash):
            yield value, *buttons

    def settle(selection: Any, text: Any, request: gr.Request) -> tuple[Any, ...]:
        """However the ranking ended, show what is known about the current view."""
        try:
            found, button = update(ctx, ctx.inspections.view(selection, text), request.session_hash)
        except Exception as error:
            error_message(error)  # logs unexpected errors; others are shown beside the text
            found, button = ranking_value(), gr.Button(interactive=True)
        return found or gr.skip(), button, gr.Button(visible=False)

    def cancel(request: gr.Request) -> None:
        ctx.active_streams.cancel(request.session_hash, PLACE)

    inputs, outputs = [ctx.selection, shared.text], [parts.found, parts.rank, parts.cancel]
    parts.rank.click(
        rank, inputs, outputs, api_visibility="private", show_progress="hidden", concurrency_id="rank",
        concurrency_limit=2,
    ).then(settle, inputs, outputs, **UNQUEUED)  # fmt: skip
    parts.cancel.click(cancel, None, None, api_visibility="private", queue=False)
    text_fetch.wire(ctx, parts.fetching)


def bars(ctx: Context, view: View, session: str | None) -> Iterator[dict[str, Any]]:
    """Yield values of the bars, head by head, until all are ranked or the ranking is cancelled."""
    from nanollm.explain.ablation import rank_heads  # imports torch, which takes a second

    ids, source = ctx.inspections.judged_by(view)
    means, no_means = ctx.inspections.means(view)
    source += sentences.RANKED_BY_ZERO if no_means else ""
    total = view.loaded.model.config.num_layers * view.loaded.model.config.heads
    effects: list[HeadEffect] = []
    cancelled = ctx.active_streams.begin(session, PLACE)
    ctx.inspections.ranked_now[session] = ctx.inspections.key(view)
    try:
        yield _progress(view, effects, total)
        for effect in rank_heads(view.loaded.model, ids, means):
            if cancelled.is_set():
                return
            effects.append(effect)
            yield _progress(view, effects, total)
        ctx.inspections.keep_ranking(view, effects, source)
    finally:
        ctx.active_streams.end(session, PLACE, cancelled)
        ctx.inspections.ranked_now.pop(session, None)


def _progress(view: View, effects: list[HeadEffect], total: int) -> dict[str, Any]:
    text = sentences.RANKING_PROGRESS.format(done=len(effects), total=total)
    return ranking_value(effects, total, text, view.stamp)


def _finished(view: View, effects: list[HeadEffect], source: str) -> dict[str, Any]:
    """Return the value of a complete ranking, with a summary."""
    largest = max(effects, key=lambda effect: effect.increase)
    error = f" ± {largest.error:.3f}" if np.isfinite(largest.error) else ""
    text = sentences.RANKED.format(
        text=source, head=largest.part.label, increase=signed(largest.increase), error=error
    )  # fmt: skip
    return ranking_value(effects, len(effects), f"{text} {_noise(effects)}".rstrip(), view.stamp)


def _noise(effects: list[HeadEffect]) -> str:
    """Say how many effects are within the noise."""
    if not all(np.isfinite(effect.error) for effect in effects):
        return sentences.NO_ERRORS
    count = sum(abs(effect.increase) <= NOISE_ERRORS * effect.error for effect in effects)
    return sentences.WITHIN_NOISE.format(count=count, total=len(effects)) if count else ""
