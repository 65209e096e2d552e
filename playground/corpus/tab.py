"""Corpus: bring a text or take one of ours, see what is in it, and take it to Train."""

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
from playground.components.text import line
from playground.context import Context
from playground.corpus.text_card import described, outlook, text_card, text_outlook
from playground.corpus.text_list import listed, text_list
from playground.handlers import MULTIPLE, UNQUEUED, error_message, report_errors, warn
from playground.services.fetching import FETCHING, brought
from playground.services.gradio_internals import event_data

INVITATION = "Drop a .txt, paste something, or take one of ours. 100,000 characters are plenty."
# Several visitors at once: one may be waiting for a large file.
PRIVATE: dict[str, Any] = dict(api_visibility="private", show_progress="hidden", concurrency_limit=4)
PACE_SECONDS = 4  # between two looks at what is known by now of this machine
NAME = 40  # characters of a pasted text that become its name


@dataclass
class Parts:
    upload: gr.File
    pasted: gr.Textbox
    use: gr.Button
    problem: gr.HTML
    readings: gr.Radio  # how else the file that was refused might be read
    refused: gr.State  # its path
    fetching: gr.HTML
    texts: gr.HTML
    card: gr.HTML
    outlook: gr.HTML
    train: gr.Button
    timer: gr.Timer


def layout(ctx: Context) -> Parts:
    line("corpus-lead", INVITATION)
    with gr.Row(elem_classes="split-view corpus-view"):
        with gr.Column(scale=1, min_width=280, elem_classes="sources"):
            upload = gr.File(label="A text file", elem_id="corpus-upload", height=132, type="filepath")
            problem = line("corpus-problem", elem_classes="problem")
            others = gr.Radio(
                [], label="Which line reads right?", visible=False, elem_id="corpus-readings", elem_classes="list"
            )
            pasted = gr.Textbox(
                label="Or paste", lines=3, max_lines=6, placeholder="Anything you like", elem_id="corpus-paste"
            )
            use = gr.Button("Use this text", size="sm", elem_id="corpus-use")
            fetching = line("corpus-fetching")
            texts = text_list("corpus-texts")
        with gr.Column(scale=2, min_width=320, elem_classes="about-text"):
            card = text_card("corpus-card")
            expected = text_outlook("corpus-outlook")
            with gr.Row(elem_classes="footer-row"):
                train = gr.Button("Train on this text →", variant="primary", elem_id="corpus-train", scale=0)
    timer = gr.Timer(PACE_SECONDS, active=False)
    return Parts(upload, pasted, use, problem, others, gr.State(None), fetching, texts, card, expected, train, timer)


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    _wire_sources(ctx, parts)
    _wire_list(ctx, parts)
    _wire_card(ctx, parts, page)
    _wire_pace(ctx, parts)


def _wire_sources(ctx: Context, parts: Parts) -> None:
    """A file, a pasted text: kept and shown, or refused with the reason and, where that may help, other readings."""

    def kept(bring: Callable[[], CorpusInfo], path: str | None = None) -> dict[Any, Any]:
        try:
            return _shown(ctx, parts, bring()) | _settled(parts) | {parts.upload: None}
        except Exception as error:
            message = error_message(error)
            others = likely_encodings(path) if path and isinstance(error, WrongEncodingError) else []
            choices = [(f"{one.excerpt}\n{one.label}", one.encoding) for one in others]
            return {
                parts.problem: message,
                parts.readings: gr.Radio(choices=choices, value=None, visible=bool(choices)),
                parts.refused: path if choices else None,
                parts.upload: None,  # a file that was refused leaves the drop zone; a pasted text stays to be mended
            }

    def upload(path: str | None) -> dict[Any, Any]:
        return kept(lambda: ctx.corpora.add_file(str(path)), path)

    def reread(encoding: str | None, path: str | None) -> dict[Any, Any]:
        if path is None:
            return _settled(parts)
        return kept(lambda: ctx.corpora.add_file(path, encoding=encoding), path)

    def paste(text: str) -> dict[Any, Any]:
        outcome = kept(lambda: ctx.corpora.add_text(text, " ".join(text.split())[:NAME]))
        return outcome if parts.card not in outcome else outcome | {parts.pasted: ""}

    outcome = [
        parts.texts, parts.card, parts.problem, parts.readings, parts.refused, parts.upload, parts.pasted
    ]  # fmt: skip
    _counting(ctx, parts, parts.upload.upload(upload, parts.upload, outcome, **PRIVATE))
    _counting(ctx, parts, parts.readings.input(reread, [parts.readings, parts.refused], outcome, **PRIVATE))
    _counting(ctx, parts, parts.use.click(paste, parts.pasted, outcome, **PRIVATE))


def _wire_list(ctx: Context, parts: Parts) -> None:
    """The texts at hand: choose, bring one of ours, rename, delete."""
    shown = [parts.texts, parts.card, parts.problem, parts.readings, parts.refused, parts.fetching]

    @report_errors
    def pick(event: gr.EventData) -> dict[Any, Any]:
        return _shown(ctx, parts, ctx.corpora.get(_asked(event).get("sha256", ""))) | _settled(parts)

    def bring(event: gr.EventData) -> Iterator[dict[Any, Any]]:
        try:
            builtin = builtin_by_id(_asked(event).get("builtin"))
            if builtin is None:
                raise InputError("This text is not one of ours.")
            for news in brought(ctx, builtin):
                if isinstance(news, CorpusInfo):
                    yield _shown(ctx, parts, news) | _settled(parts) | {parts.fetching: ""}
                else:
                    yield {parts.fetching: news}
        except Exception as error:
            warn(message := error_message(error))
            yield {parts.problem: message, parts.fetching: ""}

    @report_errors
    def rename(texts: Any, event: gr.EventData) -> dict[Any, Any]:
        asked = _asked(event)
        ctx.corpora.rename(asked.get("sha256", ""), str(asked.get("name", "")))
        return _shown(ctx, parts, _chosen(ctx, texts))

    @report_errors
    def remove(texts: Any, event: gr.EventData) -> dict[Any, Any]:
        ctx.delete_text(_asked(event).get("sha256", ""))
        return _shown(ctx, parts, _chosen(ctx, texts))

    @report_errors
    def arrive(texts: Any) -> dict[Any, Any]:
        return _shown(ctx, parts, _chosen(ctx, texts))

    def refresh(tab: str, texts: Any) -> Any:
        """Texts may have come or gone while another tab was open, the chosen one among them."""
        if tab != "corpus":
            return gr.skip(), gr.skip()
        info = _chosen(ctx, texts)
        stays = isinstance(texts, dict) and texts.get("chosen") == info.sha256
        return listed(ctx.corpora.list(), info.sha256), gr.skip() if stays else described(ctx.corpora, info)

    _counting(ctx, parts, parts.texts.pick(pick, None, shown[:-1], **PRIVATE))
    _counting(ctx, parts, parts.texts.bring(bring, None, shown, **FETCHING))
    parts.texts.rename(rename, parts.texts, shown[:2], **PRIVATE)
    _counting(ctx, parts, parts.texts.remove(remove, parts.texts, shown[:2], **PRIVATE))
    _counting(ctx, parts, ctx.demo.load(arrive, parts.texts, shown[:2], **PRIVATE))
    ctx.tab.change(refresh, [ctx.tab, parts.texts], shown[:2], **UNQUEUED, **MULTIPLE)


def _wire_card(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    @report_errors
    def turn(texts: Any, event: gr.EventData) -> dict[str, Any]:
        wanted = _asked(event).get("page")
        return described(ctx.corpora, _chosen(ctx, texts), wanted if isinstance(wanted, int) else 0)

    @report_errors
    def lead_to_training(texts: Any) -> tuple[Any, Any]:
        info = _chosen(ctx, texts)
        choices = [(one.name, one.sha256) for one in ctx.corpora.list()]
        return gr.Dropdown(choices=choices, value=info.sha256), ctx.open_tab("train")

    parts.card.turn(turn, parts.texts, parts.card, **PRIVATE)
    parts.train.click(lead_to_training, parts.texts, [page["train"].form.corpus, ctx.tabs], **PRIVATE)


def _counting(ctx: Context, parts: Parts, shown: Any) -> None:
    """After a text was shown, what to expect of it: counting the largest takes seconds, and is then remembered."""

    def count(texts: Any) -> Iterator[dict[str, Any] | None]:
        try:
            info = _chosen(ctx, texts)
            entropy, seconds = ctx.corpora.entropy(info.sha256), ctx.step_times.get(info.vocab_size)
            yield outlook(info, entropy, None, seconds)
            baselines = ctx.corpora.baselines(info.sha256, TrainConfig().validation_fraction)
            yield outlook(info, entropy, baselines, seconds)
        except Exception as error:
            error_message(error)  # logs a defect of ours; what is wrong with the text was said when it was to be shown
            yield None

    shown.success(count, parts.texts, parts.outlook, concurrency_id="count", **PRIVATE)


def _wire_pace(ctx: Context, parts: Parts) -> None:
    """How long each size takes here, as soon as that is measured."""

    def paced(tab: Any, texts: Any, told: Any) -> tuple[Any, Any]:
        if tab != "corpus":
            return gr.skip(), gr.skip()
        info = _chosen(ctx, texts)
        seconds, counted = ctx.step_times.get(info.vocab_size), ctx.baselines.get(info.sha256, patience=0)
        if counted is None or told == (now := [info.sha256, seconds]):
            return gr.skip(), gr.skip()
        return outlook(info, ctx.corpora.entropy(info.sha256), counted, seconds), now

    told = gr.State(None)
    ctx.tab.change(lambda tab: gr.Timer(active=tab == "corpus"), ctx.tab, parts.timer, **UNQUEUED, **MULTIPLE)
    parts.timer.tick(paced, [ctx.tab, parts.texts, told], [parts.outlook, told], **UNQUEUED, **MULTIPLE)


def _shown(ctx: Context, parts: Parts, info: CorpusInfo) -> dict[Any, Any]:
    """The text chosen in the list, and on the card."""
    return {parts.texts: listed(ctx.corpora.list(), info.sha256), parts.card: described(ctx.corpora, info)}


def _settled(parts: Parts) -> dict[Any, Any]:
    """Nothing is wrong with the last text that was brought."""
    return {parts.problem: "", parts.readings: gr.Radio(choices=[], value=None, visible=False), parts.refused: None}


def _chosen(ctx: Context, texts: Any) -> CorpusInfo:
    """The text that the list's value marks; where that is gone, or none was chosen yet, the one that came along."""
    try:
        return ctx.corpora.get(texts["chosen"])
    except (InputError, TypeError, KeyError):
        return ctx.corpora.list()[0]


def _asked(event: gr.EventData) -> dict[str, Any]:
    """What an event of our own components carries. It comes from a browser, so anything odd counts as nothing."""
    return event_data(event)
