"""Is it copying? The longest verbatim copies underlined, with held-out text as a control. Part of Sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr

from nanollm.data.builtin import missing_builtin
from nanollm.data.corpus import split
from nanollm.errors import InputError
from nanollm.explain.memorization import MIN_LENGTH, Memorization, TrainingText, memorization
from playground.components import text_fetch
from playground.context import Context
from playground.handlers import MULTIPLE, error_message
from playground.sample.copies import copies
from playground.selection import parse_selection
from playground.services.generation_request import MAX_PROMPT
from playground.services.gradio_internals import event_data

TEXTS = 2  # training texts kept ready to be searched: 8 bytes a character and their own
UNKNOWN = "The text that this model learned from is not known here: there is nothing to compare with."
LACKING = "The text that this model learned from is not here yet. Once it is, copies of it show here."


@dataclass
class Parts:
    fold: gr.Accordion
    copies: gr.HTML
    fetching: text_fetch.Parts


def layout(place: str) -> Parts:
    with gr.Accordion("Is it copying?", open=False, elem_classes="fold", elem_id="copies-fold") as fold:
        found = copies("sample-copies", place)
        offer = text_fetch.layout("copies")
    return Parts(fold, found, offer)


def wire(ctx: Context, parts: Parts) -> None:
    @lru_cache(maxsize=TEXTS)
    def prepared(sha256: str, validation_fraction: float) -> tuple[TrainingText, str]:
        text: Any = ctx.all_corpora.read(sha256)  # cut as its ids were when it was learned from
        learned, held_out = split(text, validation_fraction)
        return TrainingText(learned), held_out

    def check(selection: Any, event: gr.EventData) -> dict[str, Any]:
        asked = event_data(event)
        stamp = asked.get("stamp")
        try:
            run, _ = ctx.models.find(*parse_selection(selection))
            if not run.corpus:
                raise InputError(UNKNOWN)
            if missing_builtin(ctx.all_corpora, run.corpus["sha256"]):
                raise InputError(LACKING)
            prompt, written = _written(asked)
            training, held_out = prepared(run.corpus["sha256"], run.train_config.validation_fraction)
            return {"stamp": stamp, **_value(memorization(training, written, held_out), prompt)}
        except Exception as error:
            return {"stamp": stamp, "said": error_message(error), "rows": [], "spans": []}

    parts.copies.check(
        check, ctx.selection, parts.copies, concurrency_id="copies", show_progress="hidden",
        api_visibility="private", **MULTIPLE,
    )  # fmt: skip
    seen = "() => { setTimeout(() => document.dispatchEvent(new Event('nano:copies')), 100); }"
    parts.fold.expand(None, None, None, js=seen, api_visibility="private")
    text_fetch.wire(ctx, parts.fetching, [ctx.selection])
    again = "() => { document.dispatchEvent(new CustomEvent('nano:copies', { detail: { anew: true } })); }"
    parts.fetching.offer.arrived(None, None, None, js=again, api_visibility="private")


def _written(asked: dict[str, Any]) -> tuple[int, str]:
    """Length of the prompt, and what was written after it. It comes from a browser."""
    text, prompt = asked.get("text"), asked.get("prompt")
    if not isinstance(text, str) or not isinstance(prompt, int) or not 0 <= prompt <= len(text) <= 2 * MAX_PROMPT:
        raise InputError("There is no text to look for: let the model write some.")
    return prompt, text[prompt:]


def _value(found: Memorization, prompt: int) -> dict[str, Any]:
    usual = found.control_novelty()
    spans = [[prompt + copy.start, prompt + copy.start + copy.length] for copy in found.text.copies]
    rows = [[str(n), _share(share), _share(usual[n])] for n, share in found.text.novelty.items()]
    return {"said": said(found), "rows": rows, "spans": spans}


def said(found: Memorization) -> str:
    """The longest match, and what to make of it."""
    longest, control = found.text.longest, found.control_longest()
    beside = "" if math.isnan(control) else f" Real text that was held out: {control:.0f}."
    share = float(found.text.covered.mean())
    copied = f" Underlined, {_share(share)}: copies of at least {MIN_LENGTH}." if share else ""
    return f"The longest stretch that stands word for word in the training text: {longest} characters.{beside}{copied}"


def _share(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"
