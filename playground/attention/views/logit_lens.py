"""The Logit lens view: what each layer would predict, and which parts contribute to the predicted character."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from nanollm.tokenizer import visible
from playground.attention import sentences
from playground.attention.components.bars import Bar, bars, bars_value
from playground.attention.components.layers import layer_table, layer_table_value, parse_place, place
from playground.attention.view_frame import SharedInputs, introduction, python_code, python_fold
from playground.components.format import percent, signed
from playground.context import Context
from playground.handlers import UNQUEUED
from playground.services.gradio_internals import event_data

if TYPE_CHECKING:
    from nanollm.explain.logit_lens import Contributions, LogitLens
    from playground.services.inspections import View

CHARACTERS_PER_LAYER = 5


@dataclass
class Parts:
    place: gr.HTML
    picked: gr.Textbox  # JSON of the picked character and where it was picked: see `pick`
    table: gr.HTML
    shares: gr.HTML
    python: gr.Textbox

    @property
    def inputs(self) -> list[Any]:
        return [self.place, self.picked]

    @property
    def outputs(self) -> list[Any]:
        return [self.table, self.shares, self.python]


def layout(ctx: Context) -> Parts:
    introduction("layering", sentences.LENS_ABOUT, sentences.LENS_CAUTION)
    where = place("attention-place")
    picked = gr.Textbox(container=False, elem_id="attention-picked", elem_classes="unseen")
    table = layer_table("attention-layers")
    shares = bars("attention-shares")
    return Parts(where, picked, table, shares, python_fold("layering"))


def wire(ctx: Context, parts: Parts, shared: SharedInputs) -> None:
    def pick(where: Any, text: Any, event: gr.EventData) -> str:
        return json.dumps({"at": [where, text], "character": event_data(event).get("character")})

    parts.table.pick(pick, [parts.place, shared.text], parts.picked, **UNQUEUED)


def show(ctx: Context, parts: Parts, view: View, head: Any, where: Any, picked: Any) -> dict[Any, Any]:
    """Return the table for the chosen place, and the contributions to the picked or else most likely character."""
    from nanollm.explain.logit_lens import contributions, logit_lens  # imports torch, which takes a second

    model, tokenizer = view.loaded.model, view.loaded.tokenizer
    found: LogitLens = ctx.inspections.lenses.get(
        (view.file, view.text), lambda: logit_lens(model, tokenizer, view.text)
    )
    index = parse_place(where, len(view.text))
    layers = found.probabilities[:, index]  # (L + 1, V)
    character = _picked(picked, where, view.typed)
    if character not in tokenizer.characters:
        character = tokenizer.characters[int(layers[-1].argmax())]
    shares = contributions(model, tokenizer, view.text, character, index)
    python = python_code(
        "from nanollm.explain.logit_lens import contributions, logit_lens",
        view.name,
        f"text = {view.text!r}",
        f"logit_lens(loaded.model, loaded.tokenizer, text).probabilities[:, {index}]  # (layers + 1, vocabulary)",
        f"shares = contributions(loaded.model, loaded.tokenizer, text, {character!r}, {index})",
        "shares.heads, shares.feed_forwards, shares.sum(), shares.logit",
    )
    return {
        parts.table: layer_table_value(_rows(layers, tokenizer.characters), character, _note(view, index)),
        parts.shares: _contribution_bars(shares, float(layers[-1, tokenizer.encode(character)[0]])),
        parts.python: python,
    }


def _picked(picked: Any, where: Any, text: str) -> str | None:
    """Return the picked character if it was picked at this place of this text. The value comes from a browser."""
    try:
        value = json.loads(picked)
    except (TypeError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("at") != [where, text]:
        return None
    return value["character"] if isinstance(value.get("character"), str) else None


def _rows(layers: np.ndarray, characters: tuple[str, ...]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the most likely characters of each layer; the first row is the embedding alone."""
    names = ["before L1", *(f"after L{layer}" for layer in range(1, len(layers)))]
    return [
        (name, [(characters[id], float(row[id])) for id in np.argsort(-row)[:CHARACTERS_PER_LAYER]])
        for name, row in zip(names, layers, strict=True)
    ]


def _note(view: View, index: int) -> str:
    """Return the note below the table, with the character that follows in the text, if any."""
    parts = [sentences.LAST_ROW]
    if index + 1 < len(view.text):
        parts.append(sentences.NEXT_IN_TEXT.format(character=visible(view.text[index + 1])))
    return " ".join([*parts, sentences.CLICK_CHARACTER])


def _contribution_bars(found: Contributions, probability: float) -> dict[str, Any]:
    """Return a bar for every contribution, in the order in which they are added to the residual stream, and the sum."""
    rows = [(f"“{visible(found.text[found.index])}” itself", found.embedding)]
    if found.position:
        rows.append(("its position", found.position))
    for layer, heads in enumerate(found.heads, 1):
        rows += [(f"L{layer}·H{head}", float(value)) for head, value in enumerate(heads, 1)]
        rows.append((f"L{layer}·FF", float(found.feed_forwards[layer - 1])))
    rows.append(("biases", float(found.attention_biases.sum())))
    contribution_bars = [Bar(label, value, signed(value, 2)) for label, value in rows]
    contribution_bars.append(Bar("sum", None, signed(found.sum(), 2), strong=True))
    character = visible(found.character)
    legend = sentences.CONTRIBUTIONS_LEGEND.format(
        sum=found.sum(), character=character, logit=found.logit, probability=percent(probability)
    )
    return bars_value(contribution_bars, sentences.CONTRIBUTIONS_CAPTION.format(character=character), legend)
