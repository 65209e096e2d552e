"""Downloading built-in training texts on request, with progress, without blocking other events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.data.builtin import SHAKESPEARE_BYTES, add, builtin_by_id
from nanollm.data.corpus import CorpusInfo
from nanollm.errors import InputError
from playground.components import sentences
from playground.components.factory import component
from playground.components.text import line
from playground.context import Context
from playground.handlers import MULTIPLE, QUEUED, error_message, warn
from playground.services.gradio_internals import event_data

OFFER = sentences.FETCH_OFFER.format(megabytes=SHAKESPEARE_BYTES / 1e6)
TEMPLATE = f'<button type="button" class="small" data-follows="{{follows}}" hidden>{OFFER}</button>'
UPDATE_SECONDS = 0.2  # between two progress updates
# An own concurrency id: waiting for another server must not delay other events, and only a few may wait at a time.
FETCHING: dict[str, Any] = dict(concurrency_id="fetch", concurrency_limit=4, **QUEUED)
IN_COLUMNS = "(count, ...models) => ({ runs: models.slice(0, count).map((model) => model?.run) })"


@dataclass
class Parts:
    offer: gr.HTML  # fires `arrived` once the text has been downloaded
    progress: gr.HTML


def layout(name: str, follows: str = "selection") -> Parts:
    """A button that downloads the training text of the selected run, hidden while the text is available.

    With `follows` empty, it offers the texts of the runs in the columns that `wire` is given.
    """
    with gr.Row(elem_classes="fetch-row"):
        offer = component(
            "components/fetch_offer.js", TEMPLATE, {"runs": []}, events=("arrived", "fetch"), elem_id=f"{name}-fetch",
            follows=follows,
        )  # fmt: skip
        progress = line(f"{name}-fetching")
    return Parts(offer, progress)


def wire(ctx: Context, parts: Parts, columns: Sequence[Any] = ()) -> None:
    """Download the text on request. `columns`: the number of columns, then their models."""
    if columns:
        moments = [column.change for column in columns]
        gr.on(moments, None, list(columns), parts.offer, js=IN_COLUMNS, api_visibility="private", **MULTIPLE)

    def fetch(event: gr.EventData) -> Iterator[str]:
        try:
            for progress in download(ctx, event_data(event).get("builtin")):
                yield "" if isinstance(progress, CorpusInfo) else progress
        except Exception as error:
            warn(message := error_message(error))
            yield message

    parts.offer.fetch(fetch, None, parts.progress, **FETCHING)


def download(ctx: Context, name: Any) -> Iterator[str | CorpusInfo]:
    """Download a built-in text by id, for all visitors; yields progress sentences, then the text's facts.

    Raises InputError if the text is unknown or the download fails.
    """
    builtin = builtin_by_id(name)
    if builtin is None:
        raise InputError(sentences.NOT_BUILT_IN)
    progress = sentences.FETCHING.format(title=builtin.title)

    def report(received: int, size: int) -> None:
        nonlocal progress
        progress = sentences.FETCH_PROGRESS.format(title=builtin.title, share=received / size)

    pool = ThreadPoolExecutor(max_workers=1)
    try:
        job = pool.submit(add, ctx.all_corpora, builtin, report)
        while wait([job], UPDATE_SECONDS).not_done:
            yield progress
        yield job.result()
    finally:
        pool.shutdown(wait=False)  # the download continues if the visitor leaves
