"""Layer by layer: what the model would say if it stopped early, and who spoke for the character that it says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from nanollm.explain.logit_lens import Contributions, LogitLens, contributions, logit_lens
from nanollm.tokenizer import visible
from playground.attention.components.layers import chosen_place, layer_table, place, said
from playground.attention.lens import Around, call, python_call, statement
from playground.components.bars import Bar, bars, drawn
from playground.components.format import percent, signed
from playground.context import Context
from playground.handlers import UNQUEUED
from playground.services.gradio_internals import event_data
from playground.services.inspections import View

SEEN = "Choose a place: what each layer would say comes next, if it were the last one, and who speaks for it."
CAUTION = (
    "An early layer need not mean what this reading shows; and what a part says through later ones is not counted."
)
LIKELIEST = 5


@dataclass
class Parts:
    place: gr.HTML
    picked: gr.Textbox  # as JSON, the character whose logit is shared out and where it was picked: see `pick`
    table: gr.HTML
    shares: gr.HTML
    python: gr.Textbox

    @property
    def asked(self) -> list[Any]:
        return [self.place, self.picked]

    @property
    def shown(self) -> list[Any]:
        return [self.table, self.shares, self.python]


def layout(ctx: Context) -> Parts:
    statement("layering", SEEN, CAUTION)
    where = place("attention-place")
    picked = gr.Textbox(container=False, elem_id="attention-picked", elem_classes="unseen")
    table = layer_table("attention-layers")
    shares = bars("attention-shares")
    return Parts(where, picked, table, shares, python_call("layering"))


def wire(ctx: Context, parts: Parts, around: Around) -> None:
    def pick(where: Any, text: Any, event: gr.EventData) -> str:
        return json.dumps({"at": [where, text], "character": event_data(event).get("character")})

    parts.table.pick(pick, [parts.place, around.text], parts.picked, **UNQUEUED)


def show(ctx: Context, parts: Parts, view: View, head: Any, where: Any, picked: Any) -> dict[Any, Any]:
    """The lens at the chosen place, and the shares of the picked character, else of the likeliest."""
    model, tokenizer = view.loaded.model, view.loaded.tokenizer
    seen: LogitLens = ctx.inspections.lenses.get(
        (view.file, view.text), lambda: logit_lens(model, tokenizer, view.text)
    )
    index = chosen_place(where, len(view.text))
    here = seen.probabilities[:, index]  # (L + 1, V)
    character = tokenizer.characters[int(here[-1].argmax())]
    chosen = _picked(picked, where, view.typed)
    character = chosen if chosen in tokenizer.characters else character
    found = contributions(model, tokenizer, view.text, character, index)
    python = call(
        "from nanollm.explain.logit_lens import contributions, logit_lens",
        view.name,
        f"text = {view.text!r}",
        f"logit_lens(loaded.model, loaded.tokenizer, text).probabilities[:, {index}]  # (layers + 1, vocabulary)",
        f"shares = contributions(loaded.model, loaded.tokenizer, text, {character!r}, {index})",
        "shares.heads, shares.feed_forwards, shares.sum(), shares.logit",
    )
    return {
        parts.table: said(_rows(here, tokenizer.characters), character, _comes(view, index)),
        parts.shares: _shares(found, float(here[-1, tokenizer.encode(character)[0]])),
        parts.python: python,
    }


def _picked(picked: Any, where: Any, text: str) -> str | None:
    """The character that was picked, if it was at this place of this text. The value comes from a browser."""
    try:
        value = json.loads(picked)
    except (TypeError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("at") != [where, text]:
        return None
    return value["character"] if isinstance(value.get("character"), str) else None


def _rows(here: np.ndarray, characters: tuple[str, ...]) -> list[tuple[str, list[tuple[str, float]]]]:
    """For each layer its likeliest characters; the first row is what the character's embedding alone would say."""
    names = ["before L1", *(f"after L{layer}" for layer in range(1, len(here)))]
    return [
        (name, [(characters[id], float(says[id])) for id in np.argsort(-says)[:LIKELIEST]])
        for name, says in zip(names, here, strict=True)
    ]


def _comes(view: View, index: int) -> str:
    """What really comes next, where the text says it."""
    last = "The last row is what the model says."
    if index + 1 < len(view.text):
        last += f" In the text, “{visible(view.text[index + 1])}” comes next."
    return f"{last} Click a character to see who spoke for it."


def _shares(found: Contributions, probability: float) -> dict[str, Any]:
    """Every contribution in the order in which it is added to the stream, and what they come to."""
    rows = [(f"“{visible(found.text[found.index])}” itself", found.embedding)]
    if found.position:
        rows.append(("its position", found.position))
    for layer, heads in enumerate(found.heads, 1):
        rows += [(f"L{layer}·H{head}", float(value)) for head, value in enumerate(heads, 1)]
        rows.append((f"L{layer}·FF", float(found.feed_forwards[layer - 1])))
    rows.append(("biases", float(found.attention_biases.sum())))
    rows = [Bar(label, value, signed(value, 2)) for label, value in rows]
    rows.append(Bar("together", None, signed(found.sum(), 2), strong=True))
    sign = visible(found.character)
    caption = f"Who speaks for “{sign}”"
    legend = (
        f"Together {found.sum():.2f}: that is the logit of “{sign}” ({found.logit:.2f}), for which the model gives it "
        f"{percent(probability)}. What raises all characters alike changes nothing."
    )
    return drawn(rows, caption, legend)
