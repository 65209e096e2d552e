"""Texts that are fetched when somebody asks for one: with news on how far that is, and in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.data.builtin import SHAKESPEARE_BYTES, Builtin, add, builtin_by_id
from nanollm.data.corpus import CorpusInfo
from nanollm.errors import InputError
from playground.components.factory import component
from playground.components.text import line
from playground.context import Context
from playground.handlers import MULTIPLE, error_message, warn
from playground.services.gradio_internals import event_data

OFFER = f"Fetch its training text ({SHAKESPEARE_BYTES / 1e6:.1f} MB)"
OFFER_TEMPLATE = '<button type="button" class="small" data-follows="{follows}" hidden>{offer}</button>'
NEWS_SECONDS = 0.2  # between two words on how far a download is
# Whoever waits for a server elsewhere holds up no other event, and only so many wait at a time.
FETCHING: dict[str, Any] = dict(
    concurrency_id="fetch", concurrency_limit=4, api_visibility="private", show_progress="hidden"
)
IN_COLUMNS = "(count, ...models) => ({ runs: models.slice(0, count).map((model) => model?.run) })"


@dataclass
class Parts:
    offer: gr.HTML  # fires `arrived` once the text has come: what needed it listens
    news: gr.HTML


def layout(name: str, follows: str = "selection") -> Parts:
    """The offer to fetch the training text of the selected run, hidden while that is here.

    With `follows` empty, `wire` is told which components hold the runs.
    """
    with gr.Row(elem_classes="fetch-row"):
        offer = component(
            "components/fetch_offer.js",
            OFFER_TEMPLATE,
            {"runs": []},
            events=("arrived", "fetch"),
            elem_id=f"{name}-fetch",
            offer=OFFER,
            follows=follows,
        )
        news = line(f"{name}-fetching")
    return Parts(offer, news)


def wire(ctx: Context, parts: Parts, columns: Sequence[Any] = ()) -> None:
    """Fetch the text on request. `columns`: a component with a number of models, then components that hold models."""
    if columns:
        moments = [column.change for column in columns]
        gr.on(moments, None, list(columns), parts.offer, js=IN_COLUMNS, api_visibility="private", **MULTIPLE)

    def fetch(event: gr.EventData) -> Iterator[str]:
        builtin = builtin_by_id(event_data(event).get("builtin"))
        try:
            if builtin is None:
                raise InputError("This text is not one of ours.")
            for news in brought(ctx, builtin):
                yield "" if isinstance(news, CorpusInfo) else news
        except Exception as error:
            warn(message := error_message(error))
            yield message

    parts.offer.fetch(fetch, None, parts.news, **FETCHING)


def brought(ctx: Context, builtin: Builtin) -> Iterator[str | CorpusInfo]:
    """Bring one of our texts: a sentence on how far it is now and then, and what is known of it in the end."""
    far = {"now": f"Fetching {builtin.title}…"}

    def tell(received: int, size: int) -> None:
        far["now"] = f"Fetching {builtin.title}: {100 * received / size:.0f} %"

    pool = ThreadPoolExecutor(max_workers=1)
    try:
        job = pool.submit(add, ctx.all_corpora, builtin, tell)  # for everybody
        while wait([job], NEWS_SECONDS).not_done:
            yield far["now"]
        yield job.result()
    finally:
        pool.shutdown(wait=False)  # who leaves meanwhile is not waited for
