"""Is it copying?, a fold of the Sample tab: passages copied from the training text, with held-out text as a control."""

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
from playground.components.factory import browser_call, component
from playground.context import Context
from playground.handlers import MULTIPLE, QUEUED, error_message
from playground.sample import sentences
from playground.selection import parse_selection
from playground.services.generation_request import MAX_PROMPT
from playground.services.gradio_internals import event_data

COLUMNS = "".join(f'<th scope="col">{title}</th>' for title in sentences.COPIES_COLUMNS)
TEMPLATE = f"""
<div class="copies" data-place="{{place}}">
  <p class="line said" aria-live="polite"></p>
  <table hidden>
    <caption>{sentences.COPIES_CAPTION}</caption>
    <thead><tr>{COLUMNS}</tr></thead>
    <tbody></tbody>
  </table>
</div>
"""
CACHED_TEXTS = 2  # indexed training texts: 8 bytes per character in addition to the text


@dataclass
class Parts:
    fold: gr.Accordion
    copies: gr.HTML
    fetching: text_fetch.Parts


def layout(place: str) -> Parts:
    with gr.Accordion(sentences.COPYING_TITLE, open=False, elem_classes="fold", elem_id="copies-fold") as fold:
        found = _copies("sample-copies", place)
        offer = text_fetch.layout("copies")
    return Parts(fold, found, offer)


def _copies(elem_id: str, place: str) -> gr.HTML:
    """Checks the shaded_text with the id `place` whenever that is finished and this component is visible.

    It then triggers `check` with {"text", "prompt", "stamp"}, where `prompt` is the length of the prompt. The value is
    None or {"stamp", "summary", "rows": [{"length": n, "generated": share, "held_out": share}, …], "spans": [[start,
    end], …]}; the spans of the text are underlined.
    """
    return component("sample/copies.js", TEMPLATE, events=("check",), elem_id=elem_id, place=place)


def wire(ctx: Context, parts: Parts) -> None:
    @lru_cache(maxsize=CACHED_TEXTS)
    def prepared(sha256: str, validation_fraction: float) -> tuple[TrainingText, str]:
        text: Any = ctx.all_corpora.read(sha256)  # split like the ids in training
        learned, held_out = split(text, validation_fraction)
        return TrainingText(learned), held_out

    def check(selection: Any, event: gr.EventData) -> dict[str, Any]:
        request = event_data(event)
        stamp = request.get("stamp")
        try:
            run, _ = ctx.models.find(*parse_selection(selection))
            if not run.corpus:
                raise InputError(sentences.UNKNOWN_CORPUS)
            if missing_builtin(ctx.all_corpora, run.corpus["sha256"]):
                raise InputError(sentences.MISSING_CORPUS)
            prompt, generated = _generated(request)
            training, held_out = prepared(run.corpus["sha256"], run.train_config.validation_fraction)
            return {"stamp": stamp, **_value(memorization(training, generated, held_out), prompt)}
        except Exception as error:
            return {"stamp": stamp, "summary": error_message(error), "rows": [], "spans": []}

    parts.copies.check(check, ctx.selection, parts.copies, concurrency_id="copies", **QUEUED, **MULTIPLE)
    seen = browser_call("sample/copies.js", "recheck")
    parts.fold.expand(None, None, None, js=seen, api_visibility="private")
    text_fetch.wire(ctx, parts.fetching)
    again = browser_call("sample/copies.js", "recheck", force="true")
    parts.fetching.offer.arrived(None, None, None, js=again, api_visibility="private")


def _generated(request: dict[str, Any]) -> tuple[int, str]:
    """Return the length of the prompt and the generated text after it. Raises InputError for malformed requests."""
    text, prompt = request.get("text"), request.get("prompt")
    if not isinstance(text, str) or not isinstance(prompt, int) or not 0 <= prompt <= len(text) <= 2 * MAX_PROMPT:
        raise InputError(sentences.NO_TEXT)
    return prompt, text[prompt:]


def _value(found: Memorization, prompt: int) -> dict[str, Any]:
    control = found.control_novelty()
    spans = [[prompt + copy.start, prompt + copy.start + copy.length] for copy in found.text.copies]
    rows = [
        {"length": str(n), "generated": _share(share), "held_out": _share(control[n])}
        for n, share in found.text.novelty.items()
    ]
    return {"summary": _summary(found), "rows": rows, "spans": spans}


def _summary(found: Memorization) -> str:
    """Describe the longest copied passage, the control, and the share of copied text."""
    control, share = found.control_longest(), float(found.text.covered.mean())
    parts = [sentences.LONGEST_COPY.format(longest=found.text.longest)]
    if not math.isnan(control):
        parts.append(sentences.CONTROL.format(control=control))
    if share:
        parts.append(sentences.COVERED.format(share=_share(share), length=MIN_LENGTH))
    return " ".join(parts)


def _share(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.0%}"
