"""The Corpus tab: add a text or choose a built-in one, view it, and train on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.config import TrainConfig
from nanollm.data.builtin import builtin_by_id
from nanollm.data.corpus import CorpusInfo
from nanollm.data.decoding import WrongEncodingError
from nanollm.data.encodings import likely_encodings
from nanollm.errors import InputError
from playground.components import sentences as shared
from playground.components.text import line
from playground.components.text_fetch import FETCHING, download
from playground.context import Context
from playground.corpus import sentences
from playground.corpus.text_card import outlook_value, text_card, text_card_value, text_outlook
from playground.corpus.text_list import text_list, text_list_value
from playground.handlers import MULTIPLE, UNQUEUED, error_message, report_errors, warn
from playground.services.gradio_internals import event_data

# Several visitors at once: one of them may be uploading a large file.
PRIVATE: dict[str, Any] = dict(api_visibility="private", show_progress="hidden", concurrency_limit=4)
STEP_TIME_SECONDS = 4  # between two checks for new step times
NAME_LENGTH = 40  # characters of a pasted text that become its name


@dataclass
class Parts:
    upload: gr.File
    pasted: gr.Textbox
    use: gr.Button
    problem: gr.HTML
    encodings: gr.Radio  # how the rejected file may be decoded
    rejected: gr.State  # its path
    fetching: gr.HTML
    texts: gr.HTML
    card: gr.HTML
    outlook: gr.HTML
    train: gr.Button
    timer: gr.Timer


def layout(ctx: Context) -> Parts:
    line("corpus-lead", sentences.INVITATION)
    with gr.Row(elem_classes="split-view corpus-view"):
        with gr.Column(scale=1, min_width=280, elem_classes="sources"):
            upload = gr.File(label=sentences.UPLOAD, elem_id="corpus-upload", height=132, type="filepath")
            problem = line("corpus-problem", elem_classes="problem")
            encodings = gr.Radio(
                [], label=sentences.WHICH_ENCODING, visible=False, elem_id="corpus-readings", elem_classes="list"
            )
            pasted = gr.Textbox(
                label=sentences.PASTE, lines=3, max_lines=6, placeholder=sentences.PASTE_HINT, elem_id="corpus-paste"
            )
            use = gr.Button(sentences.USE_TEXT, size="sm", elem_id="corpus-use")
            fetching = line("corpus-fetching")
            texts = text_list("corpus-texts")
        with gr.Column(scale=2, min_width=320, elem_classes="about-text"):
            card = text_card("corpus-card")
            expected = text_outlook("corpus-outlook")
            with gr.Row(elem_classes="footer-row"):
                train = gr.Button(sentences.TRAIN_ON_TEXT, variant="primary", elem_id="corpus-train", scale=0)
    timer = gr.Timer(STEP_TIME_SECONDS, active=False)
    return Parts(upload, pasted, use, problem, encodings, gr.State(None), fetching, texts, card, expected, train, timer)


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    _wire_sources(ctx, parts)
    _wire_list(ctx, parts)
    _wire_card(ctx, parts, page)
    _wire_step_times(ctx, parts)


def _wire_sources(ctx: Context, parts: Parts) -> None:
    """Uploads and pasted texts: stored and shown, or rejected with the reason and, if possible, other encodings."""

    def store(add: Callable[[], CorpusInfo], path: str | None = None) -> dict[Any, Any]:
        try:
            return _shown(ctx, parts, add()) | _cleared(parts) | {parts.upload: None}
        except Exception as error:
            message = error_message(error)
            others = likely_encodings(path) if path and isinstance(error, WrongEncodingError) else []
            choices = [(f"{one.excerpt}\n{one.label}", one.encoding) for one in others]
            return {
                parts.problem: message,
                parts.encodings: gr.Radio(choices=choices, value=None, visible=bool(choices)),
                parts.rejected: path if choices else None,
                parts.upload: None,  # clears the drop zone; a pasted text stays so that it can be edited
            }

    def upload(path: str | None) -> dict[Any, Any]:
        return store(lambda: ctx.corpora.add_file(str(path)), path)

    def reread(encoding: str | None, path: str | None) -> dict[Any, Any]:
        if path is None:
            return _cleared(parts)
        return store(lambda: ctx.corpora.add_file(path, encoding=encoding), path)

    def paste(text: str) -> dict[Any, Any]:
        outcome = store(lambda: ctx.corpora.add_text(text, " ".join(text.split())[:NAME_LENGTH]))
        return outcome if parts.card not in outcome else outcome | {parts.pasted: ""}

    outcome = [
        parts.texts, parts.card, parts.problem, parts.encodings, parts.rejected, parts.upload, parts.pasted
    ]  # fmt: skip
    _update_outlook(ctx, parts, parts.upload.upload(upload, parts.upload, outcome, **PRIVATE))
    _update_outlook(ctx, parts, parts.encodings.input(reread, [parts.encodings, parts.rejected], outcome, **PRIVATE))
    _update_outlook(ctx, parts, parts.use.click(paste, parts.pasted, outcome, **PRIVATE))


def _wire_list(ctx: Context, parts: Parts) -> None:
    """The list of texts: select, download a built-in one, rename, delete."""
    shown = [parts.texts, parts.card, parts.problem, parts.encodings, parts.rejected, parts.fetching]

    @report_errors
    def pick(event: gr.EventData) -> dict[Any, Any]:
        return _shown(ctx, parts, ctx.corpora.get(event_data(event).get("sha256", ""))) | _cleared(parts)

    def download_builtin(event: gr.EventData) -> Iterator[dict[Any, Any]]:
        try:
            builtin = builtin_by_id(event_data(event).get("builtin"))
            if builtin is None:
                raise InputError(shared.NOT_BUILT_IN)
            for news in download(ctx, builtin):
                if isinstance(news, CorpusInfo):
                    yield _shown(ctx, parts, news) | _cleared(parts) | {parts.fetching: ""}
                else:
                    yield {parts.fetching: news}
        except Exception as error:
            warn(message := error_message(error))
            yield {parts.problem: message, parts.fetching: ""}

    @report_errors
    def rename(texts: Any, event: gr.EventData) -> dict[Any, Any]:
        row = event_data(event)
        ctx.corpora.rename(row.get("sha256", ""), str(row.get("name", "")))
        return _shown(ctx, parts, _selected_text(ctx, texts))

    @report_errors
    def remove(texts: Any, event: gr.EventData) -> dict[Any, Any]:
        ctx.delete_text(event_data(event).get("sha256", ""))
        return _shown(ctx, parts, _selected_text(ctx, texts))

    @report_errors
    def arrive(texts: Any) -> dict[Any, Any]:
        return _shown(ctx, parts, _selected_text(ctx, texts))

    def refresh(tab: str, texts: Any) -> Any:
        """Update the list when the tab is opened: texts may have been added or deleted meanwhile."""
        if tab != "corpus":
            return gr.skip(), gr.skip()
        info = _selected_text(ctx, texts)
        stays = isinstance(texts, dict) and texts.get("chosen") == info.sha256
        return text_list_value(ctx.corpora.list(), info.sha256), gr.skip() if stays else text_card_value(
            ctx.corpora, info
        )

    _update_outlook(ctx, parts, parts.texts.pick(pick, None, shown[:-1], **PRIVATE))
    _update_outlook(ctx, parts, parts.texts.download(download_builtin, None, shown, **FETCHING))
    parts.texts.rename(rename, parts.texts, shown[:2], **PRIVATE)
    _update_outlook(ctx, parts, parts.texts.remove(remove, parts.texts, shown[:2], **PRIVATE))
    _update_outlook(ctx, parts, ctx.demo.load(arrive, parts.texts, shown[:2], **PRIVATE))
    ctx.tab.change(refresh, [ctx.tab, parts.texts], shown[:2], **UNQUEUED, **MULTIPLE)


def _wire_card(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    @report_errors
    def turn(texts: Any, event: gr.EventData) -> dict[str, Any]:
        number = event_data(event).get("page")
        return text_card_value(ctx.corpora, _selected_text(ctx, texts), number if isinstance(number, int) else 0)

    @report_errors
    def lead_to_training(texts: Any) -> tuple[Any, Any]:
        info = _selected_text(ctx, texts)
        choices = [(one.name, one.sha256) for one in ctx.corpora.list()]
        return gr.Dropdown(choices=choices, value=info.sha256), ctx.open_tab("train")

    parts.card.turn(turn, parts.texts, parts.card, **PRIVATE)
    parts.train.click(lead_to_training, parts.texts, [page["train"].form.corpus, ctx.tabs], **PRIVATE)


def _update_outlook(ctx: Context, parts: Parts, shown: Any) -> None:
    """Compute the outlook after a text is shown: n-gram counts of a large text take seconds and are then cached."""

    def count(texts: Any) -> Iterator[dict[str, Any] | None]:
        try:
            info = _selected_text(ctx, texts)
            entropy, seconds = ctx.corpora.entropy(info.sha256), ctx.step_times.get(info.vocab_size)
            yield outlook_value(info, entropy, None, seconds)
            baselines = ctx.corpora.baselines(info.sha256, TrainConfig().validation_fraction)
            yield outlook_value(info, entropy, baselines, seconds)
        except Exception as error:
            error_message(error)  # logs unexpected errors; the handler that showed the text has reported the others
            yield None

    shown.success(count, parts.texts, parts.outlook, concurrency_id="count", **PRIVATE)


def _wire_step_times(ctx: Context, parts: Parts) -> None:
    """Update the training times as soon as step times are measured."""

    def update(tab: Any, texts: Any, shown: Any) -> tuple[Any, Any]:
        if tab != "corpus":
            return gr.skip(), gr.skip()
        info = _selected_text(ctx, texts)
        seconds, counted = ctx.step_times.get(info.vocab_size), ctx.baselines.get(info.sha256, patience=0)
        if counted is None or shown == (now := [info.sha256, seconds]):
            return gr.skip(), gr.skip()
        return outlook_value(info, ctx.corpora.entropy(info.sha256), counted, seconds), now

    shown = gr.State(None)
    ctx.tab.change(lambda tab: gr.Timer(active=tab == "corpus"), ctx.tab, parts.timer, **UNQUEUED, **MULTIPLE)
    parts.timer.tick(update, [ctx.tab, parts.texts, shown], [parts.outlook, shown], **UNQUEUED, **MULTIPLE)


def _shown(ctx: Context, parts: Parts, info: CorpusInfo) -> dict[Any, Any]:
    """Updates that select a text in the list and show it on the card."""
    return {
        parts.texts: text_list_value(ctx.corpora.list(), info.sha256),
        parts.card: text_card_value(ctx.corpora, info),
    }


def _cleared(parts: Parts) -> dict[Any, Any]:
    """Updates that clear the error of the last added text."""
    return {parts.problem: "", parts.encodings: gr.Radio(choices=[], value=None, visible=False), parts.rejected: None}


def _selected_text(ctx: Context, texts: Any) -> CorpusInfo:
    """The text selected in the list, or the bundled one if nothing is selected or the text was deleted."""
    try:
        return ctx.corpora.get(texts["chosen"])
    except (InputError, TypeError, KeyError):
        return ctx.corpora.list()[0]
