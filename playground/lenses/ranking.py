"""Rank all heads: how much the loss on held-out text rises without each, for the bars beside the thumbnails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from nanollm.explain.ablation import HeadEffect, rank_heads
from playground import fetching
from playground.components import attention_grid
from playground.components.attention_grid import ranked
from playground.components.bars import signed
from playground.components.lens import Around
from playground.context import QUIET, Context, polite
from playground.inside import View

UNRANKED = "The bar beside each head says how much the model misses it. Still empty: the heads are not ranked yet."
PLACE = "ranking"


@dataclass
class Parts:
    found: gr.HTML
    rank: gr.Button
    cancel: gr.Button
    fetching: fetching.Parts


def layout(ctx: Context) -> Parts:
    found = attention_grid.ranking(elem_id="attention-ranking")
    with gr.Row(elem_classes="rank-row"):
        rank = gr.Button("Rank all heads", size="sm", elem_id="attention-rank")
        cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="attention-rank-cancel")
    offer = fetching.layout("attention")
    return Parts(found, rank, cancel, offer)


def known(ctx: Context, view: View) -> dict[str, Any]:
    """What is known of a snapshot's heads from an earlier ranking."""
    effects = ctx.inside.rankings.peek(view.file)
    return _finished(*effects) if effects else ranked(said=UNRANKED)


def wire(ctx: Context, parts: Parts, around: Around) -> None:
    def buttons(ranking: bool) -> tuple[gr.Button, gr.Button]:
        return gr.Button(interactive=not ranking), gr.Button(visible=ranking)

    def call_off(request: gr.Request) -> None:
        ctx.desks.call_off(request.session_hash, PLACE)

    @polite
    def rank(selection: Any, text: Any, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        view = ctx.inside.view(selection, text)
        ids, where = ctx.inside.judged_by(view)
        means, no_means = ctx.inside.means(view)
        where = f"judged by {where}" + (", silenced rather than held at its average" if no_means else "")
        called_off = ctx.desks.begin(request.session_hash, PLACE)
        effects: list[HeadEffect] = []
        config = view.loaded.model.config
        total = config.num_layers * config.heads
        yield ranked((), total, f"0 of {total} heads"), *buttons(ranking=True)
        try:
            for effect in rank_heads(view.loaded.model, ids, means):
                effects.append(effect)
                if called_off.is_set():
                    break
                yield ranked(effects, total, f"{len(effects)} of {total} heads"), gr.skip(), gr.skip()
        finally:
            ctx.desks.end(request.session_hash, PLACE, called_off)
        whole = len(effects) == total
        if whole:
            ctx.inside.rankings.put(view.file, (effects, where))
        yield (
            _finished(effects, where) if whole else ranked(said=UNRANKED),
            gr.Button(interactive=True),
            gr.Button(visible=False),
        )

    parts.rank.click(
        rank, [ctx.selection, around.text], [parts.found, parts.rank, parts.cancel], api_visibility="private",
        show_progress="hidden", concurrency_id="rank", concurrency_limit=2,
    ).failure(lambda: buttons(ranking=False), None, [parts.rank, parts.cancel], **QUIET)  # fmt: skip
    parts.cancel.click(call_off, None, None, api_visibility="private", queue=False)
    fetching.wire(ctx, parts.fetching, [ctx.selection])


def _finished(effects: list[HeadEffect], where: str) -> dict[str, Any]:
    most = max(effects, key=lambda effect: effect.increase)
    error = f" ± {most.error:.3f}" if np.isfinite(most.error) else ""
    said = (
        f"Missed most: {most.part.label}. Without it the loss changes by {signed(most.increase)}{error} nats, {where}."
    )
    return ranked(effects, len(effects), said)
