"""Text shaded by how surprising each character was, each with what else could have stood there.

A text travels in pieces: an update adds one and repeats none (Gradio sends only what was added to a growing list), so
that what travels grows with the text and not with its square.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np

from playground.components.factory import component

CANDIDATES = 40  # sent with a character at most
FEWEST = 8  # sent with a character at least
ENOUGH = 1e-3  # of the probability may be missing from what is sent: at temperature 2 the bars then err by some 2 %
BITS = 1024  # parts of a bit that are told apart: of a probability, that is less than 0.1 %
NARROW = 256  # vocabularies up to here have ids of one byte
TOP = 0xFFFF

TEMPLATE = """
<div class="shaded-text" data-panel="{panel}" data-place="{place}" data-follows="{follows}">
  <div class="writing" tabindex="0" role="group" aria-label="{label}"><span class="letters"></span><span
    class="note">{note}</span></div>
  <div class="writing-row">
    <span class="legend"><i aria-hidden="true"></i>shaded by surprise</span>
    <button type="button" class="ghost copy" disabled>Copy</button>
    <button type="button" class="ghost download" disabled>Download</button>
  </div>
</div>
"""


def shaded_text(
    elem_id: str, label: str, *, panel: str = "", note: str = "", frame: Callable[[Any], Any] | None = None
) -> gr.HTML:
    """A text whose characters can be looked at. Its value is None, from `shaded`, or [{"note": sentence}].

    Looking at a character shows it in the choice_panel with the id `panel`. With `frame`, a function from questions to
    finished values, the text follows a selection: `followed` says how; then it fires `ask` with an EventData that is a
    question, `leave` when nobody waits for an answer any more, and `settle` with the question that it went back to.
    """
    return component(
        "components/text_view/shaded_text.js",
        TEMPLATE,
        events=("ask", "leave", "settle"),
        elem_id=elem_id,
        functions=[frame] if frame else [],
        panel=panel,
        label=label,
        note=note,
        place=elem_id,
        follows="yes" if frame else "",
    )


def shaded(
    stamp: int, characters: tuple[str, ...], pieces: list[dict[str, str]], *, prompt: int = 0, **more: Any
) -> list[dict[str, Any]]:
    """The value of a shaded_text: first the vocabulary and the length of the prompt, then the pieces so far.

    Another `stamp` is another text. `more` (what it answers, whether it is finished) is for the scripts that read it.
    A list, because Gradio repeats a generator's last value at its end: who yields gr.skip() last, of another type, has
    that repeated instead, and leaves the browser's text as it is.
    """
    return [{"stamp": stamp, "characters": "".join(characters), "prompt": prompt, **more}, *pieces]


def piece(
    text: str, probabilities: np.ndarray, ranks: np.ndarray, ids: np.ndarray, candidates: np.ndarray, vocab_size: int
) -> dict[str, str]:
    """A stretch of N characters, packed.

    probabilities (N,) that the model gave each character, ranks (N,) from 1, ids and candidates (N, k): the likeliest
    characters and their probabilities, falling. Of those, a row keeps as many as leave less than ENOUGH unsaid, but
    FEWEST. All little-endian, one array after the other: bits u16 (N), ranks u16 (N), bits of the candidates u16 (C),
    their ids u8 (C), u16 if there are more than NARROW, how many each character has u8 (N).
    """
    k = candidates.shape[1]
    before = np.cumsum(candidates, axis=1) - candidates  # (N, k): what the likelier ones have already
    kept = (before < 1 - ENOUGH) | (np.arange(k) < FEWEST)
    kept &= (np.arange(k) < CANDIDATES) & (candidates > 0)
    arrays = (
        _bits(probabilities),
        np.minimum(ranks, TOP).astype("<u2"),
        _bits(candidates[kept]),
        ids[kept].astype("u1" if vocab_size <= NARROW else "<u2"),
        kept.sum(axis=1).astype("u1"),
    )
    return {"text": text, "scores": base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode("ascii")}


def _bits(probabilities: np.ndarray) -> np.ndarray:
    """-log2 of probabilities as whole parts of a bit, (…,) u16."""
    with np.errstate(divide="ignore"):
        return np.minimum(np.rint(-np.log2(probabilities) * BITS), TOP).astype("<u2")
