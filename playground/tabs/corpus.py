"""Corpus: bring a text, see what is in it, and take it to Train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.config import TrainConfig
from nanollm.corpus import CorpusInfo, read_file, split
from nanollm.errors import InputError
from nanollm.plaintext import Survey
from nanollm.tokenizer import visible
from playground.components.text import line, text_card
from playground.context import Context, polite, sentence, warn

PAGE = 20_000  # characters of a text shown at once
MOST = 60  # rows of the frequency table
INVITATION = "Drop a .txt, paste something, or take one of ours. 100,000 characters are plenty."


@dataclass
class Parts:
    upload: gr.File
    pasted: gr.Textbox
    use: gr.Button
    problem: gr.HTML
    latin: gr.Button
    offered: gr.State
    texts: gr.Radio
    delete: gr.Button
    card: gr.HTML
    train: gr.Button


def layout(ctx: Context) -> Parts:
    line("corpus-lead", INVITATION)
    with gr.Row(elem_classes="split-view"):
        with gr.Column(scale=1, min_width=280, elem_classes="sources"):
            upload = gr.File(label="A text file", elem_id="corpus-upload", height=132, type="filepath")
            pasted = gr.Textbox(
                label="Or paste", lines=3, max_lines=6, placeholder="Anything you like", elem_id="corpus-paste"
            )
            use = gr.Button("Use this text", size="sm", elem_id="corpus-use")
            problem = line("corpus-problem", elem_classes="problem")
            latin = gr.Button("Read it as Latin-1", size="sm", visible=False, elem_id="corpus-latin")
            offered = gr.State(None)
            texts = gr.Radio([], label="Texts", elem_id="corpus-texts", elem_classes="list")
        with gr.Column(scale=2, min_width=320):
            card = text_card("corpus-card")
            with gr.Row(elem_classes="footer-row"):
                delete = gr.Button("Delete this text", size="sm", elem_id="corpus-delete", scale=0, visible=False)
                train = gr.Button("Train on this text →", variant="primary", elem_id="corpus-train", scale=0)
    return Parts(upload, pasted, use, problem, latin, offered, texts, delete, card, train)


def wire(ctx: Context, parts: Parts, page: dict[str, Any]) -> None:
    shown = [parts.texts, parts.card, parts.delete, parts.problem]
    private: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")

    def opened(sha256: str | None, problem: str = "") -> tuple[Any, ...]:
        infos = ctx.corpora.list()
        info = next((one for one in infos if one.sha256 == sha256), infos[0])
        choices = [(f"{one.name}  ·  {one.characters:,} characters", one.sha256) for one in infos]
        return (
            gr.Radio(choices=choices, value=info.sha256),
            describe(ctx, info),
            gr.Button(visible=not info.bundled),
            problem,
        )

    def kept(add: Callable[[], CorpusInfo], emptied: Any, path: str | None = None) -> tuple[Any, ...]:
        """Keep a text and show it, or say what is wrong with it, offering Latin-1 where that would help."""
        try:
            return *opened(add().sha256), emptied, None, gr.Button(visible=False)
        except Exception as error:
            message = sentence(error)
            warn(message)
            offer = path if path and latin_1_would_help(error, path) else None
            # A file that was refused leaves the drop zone, a pasted text stays to be mended.
            emptied = None if path else gr.skip()
            return gr.skip(), gr.skip(), gr.skip(), message, emptied, offer, gr.Button(visible=offer is not None)

    def bring(path: str | None) -> tuple[Any, ...]:
        return kept(lambda: ctx.corpora.add_file(str(path)), None, path)

    def bring_latin_1(path: str | None) -> tuple[Any, ...]:
        if path is None:
            return (gr.skip(),) * len(brought)
        return kept(lambda: ctx.corpora.add_file(path, encoding="latin-1"), None)

    def paste(text: str) -> tuple[Any, ...]:
        return kept(lambda: ctx.corpora.add_text(text, " ".join(text.split())[:40]), "")

    @polite
    def choose(sha256: str | None) -> tuple[Any, ...]:
        return opened(sha256)

    @polite
    def forget(sha256: str) -> tuple[Any, ...]:
        ctx.corpora.delete(sha256, needed_by=ctx.store.needing(sha256))
        return opened(None)

    @polite
    def turn(sha256: str, event: gr.EventData) -> dict[str, Any]:
        wanted = event._data.get("page") if isinstance(event._data, dict) else 0
        return describe(ctx, ctx.corpora.get(sha256), wanted if isinstance(wanted, int) else 0)

    @polite
    def lead_to_training(sha256: str) -> tuple[Any, Any]:
        ctx.corpora.get(sha256)
        choices = [(one.name, one.sha256) for one in ctx.corpora.list()]
        return gr.Dropdown(choices=choices, value=sha256), ctx.show("train")

    brought = [*shown, parts.upload, parts.offered, parts.latin]
    parts.upload.upload(bring, parts.upload, brought, **private)
    parts.latin.click(bring_latin_1, parts.offered, brought, **private)
    parts.use.click(paste, parts.pasted, [*shown, parts.pasted, parts.offered, parts.latin], **private)
    parts.texts.input(choose, parts.texts, shown, **private)
    parts.delete.click(forget, parts.texts, shown, **private)
    parts.card.turn(turn, parts.texts, parts.card, **private)
    parts.train.click(lead_to_training, parts.texts, [page["train"].corpus, ctx.tabs], **private)
    ctx.demo.load(choose, parts.texts, shown, **private)


def describe(ctx: Context, info: CorpusInfo, page: int = 0) -> dict[str, Any]:
    """What the text card shows of a text, at one page of it. Raises InputError if the text is gone."""
    pages = max(1, -(-info.characters // PAGE))
    page = min(max(page, 0), pages - 1)
    train, validation = split(range(info.characters), TrainConfig().validation_fraction)
    return {
        "facts": info.sentence(),
        "text": ctx.corpora.page(info.sha256, page * PAGE, PAGE),
        "page": page,
        "pages": pages,
        "train": len(train),
        "validation": len(validation),
        "frequencies": [(visible(c), count) for c, count in ctx.corpora.frequencies(info.sha256)[:MOST]],
    }


def latin_1_would_help(error: Exception, path: str) -> bool:
    """Whether a file was refused only because it is not UTF-8, and is a text where every byte is a character."""
    if not isinstance(error.__cause__, UnicodeError):
        return False
    try:
        Survey(read_file(path, encoding="latin-1")).require_text()
    except InputError:
        return False
    return True
