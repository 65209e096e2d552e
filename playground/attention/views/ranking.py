"""Rank all heads: how much the loss on held-out text rises without each, for the bars beside the thumbnails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from nanollm.explain.ablation import HeadEffect, rank_heads
from playground.attention.components import attention_grid
from playground.attention.components.attention_grid import ranked
from playground.attention.lens import Around
from playground.components import text_fetch
from playground.components.format import signed
from playground.context import Context
from playground.handlers import UNQUEUED, error_message, report_errors
from playground.services.inspections import View

UNRANKED = "The bar beside each head says how much the model misses it. Still empty: the heads are not ranked yet."
PLACE = "ranking"
CLEAR = 2.0  # standard errors that an effect must be away from nothing to be told from it


@dataclass
class Parts:
    found: gr.HTML
    rank: gr.Button
    cancel: gr.Button
    fetching: text_fetch.Parts


def layout(ctx: Context) -> Parts:
    found = attention_grid.ranking(elem_id="attention-ranking")
    with gr.Row(elem_classes="rank-row"):
        rank = gr.Button("Rank all heads", size="sm", elem_id="attention-rank")
        cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="attention-rank-cancel")
    offer = text_fetch.layout("attention")
    return Parts(found, rank, cancel, offer)


def told(ctx: Context, view: View) -> dict[str, Any]:
    """What is known of a snapshot's heads from an earlier ranking."""
    found = ctx.inspections.ranking(view)
    return finished(view, *found) if found else ranked(said=UNRANKED, stamp=view.stamp)


def known(ctx: Context, view: View, session: str | None) -> tuple[dict[str, Any] | None, Any]:
    """The same, None while that very ranking is under way, and the button that asks for one.

    A ranking of something else that is under way is called off: its bars are not for what is looked at now.
    """
    if ctx.inspections.ranked_now.get(session) == ctx.inspections.key(view):
        return None, gr.skip()
    ctx.active_streams.cancel(session, PLACE)
    return told(ctx, view), gr.Button(interactive=not ctx.inspections.ranking(view))


def wire(ctx: Context, parts: Parts, around: Around) -> None:
    @report_errors
    @ctx.fair_queue.limit
    def rank(selection: Any, text: Any, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        busy = gr.Button(interactive=False), gr.Button(visible=True)
        yield gr.skip(), *busy
        for value in bars(ctx, ctx.inspections.view(selection, text), request.session_hash):
            yield value, *busy

    def settle(selection: Any, text: Any, request: gr.Request) -> tuple[Any, ...]:
        """However it ended: what is known of what is looked at now."""
        try:
            found, button = known(ctx, ctx.inspections.view(selection, text), request.session_hash)
        except Exception as error:
            error_message(error)  # what is wrong with the question is said beside the text
            found, button = ranked(), gr.Button(interactive=True)
        return found or gr.skip(), button, gr.Button(visible=False)

    def cancel(request: gr.Request) -> None:
        ctx.active_streams.cancel(request.session_hash, PLACE)

    asked, shown = [ctx.selection, around.text], [parts.found, parts.rank, parts.cancel]
    parts.rank.click(
        rank, asked, shown, api_visibility="private", show_progress="hidden", concurrency_id="rank",
        concurrency_limit=2,
    ).then(settle, asked, shown, **UNQUEUED)  # fmt: skip
    parts.cancel.click(cancel, None, None, api_visibility="private", queue=False)
    text_fetch.wire(ctx, parts.fetching)


def bars(ctx: Context, view: View, session: str | None) -> Iterator[dict[str, Any]]:
    """Values of the bars, head by head, until all are ranked or the visitor wants something else."""
    ids, where = ctx.inspections.judged_by(view)
    means, no_means = ctx.inspections.means(view)
    where += ", each silenced rather than held at its average" if no_means else ""
    total = view.loaded.model.config.num_layers * view.loaded.model.config.heads
    effects: list[HeadEffect] = []
    cancelled = ctx.active_streams.begin(session, PLACE)
    ctx.inspections.ranked_now[session] = ctx.inspections.key(view)
    try:
        yield ranked((), total, f"0 of {total} heads", view.stamp)
        for effect in rank_heads(view.loaded.model, ids, means):
            if cancelled.is_set():
                return
            effects.append(effect)
            yield ranked(effects, total, f"{len(effects)} of {total} heads", view.stamp)
        ctx.inspections.keep_ranking(view, effects, where)
    finally:
        ctx.active_streams.end(session, PLACE, cancelled)
        ctx.inspections.ranked_now.pop(session, None)


def finished(view: View, effects: list[HeadEffect], where: str) -> dict[str, Any]:
    """A whole ranking, and in a sentence what it says."""
    most = max(effects, key=lambda effect: effect.increase)
    error = f" ± {most.error:.3f}" if np.isfinite(most.error) else ""
    said = (
        f"Bars: how much the model misses each head, judged by {where}. "
        f"Missed most: {most.part.label}. Without it the loss changes by {signed(most.increase)}{error} nats."
    )
    return ranked(effects, len(effects), said + _apart(effects), view.stamp)


def _apart(effects: list[HeadEffect]) -> str:
    """How many heads cannot be told from ones that do not matter; nothing where no error is known."""
    if not all(np.isfinite(effect.error) for effect in effects):
        return " On so little text, none can be told from nothing."
    unclear = sum(abs(effect.increase) <= CLEAR * effect.error for effect in effects)
    return f" Pale bars, {unclear} of {len(effects)}, cannot be told from nothing." if unclear else ""
