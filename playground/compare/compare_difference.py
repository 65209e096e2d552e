"""One text as several models read it: the loss of each, and, character by character, which of two found it easier."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from nanollm.runs.store import Run
from playground.components.factory import component
from playground.components.format import perplexity
from playground.services.wire_format import BIT_STEPS, MAX_UINT16

TEMPLATE = """
<div class="difference">
  <p class="quiet note">{note}</p>
  <div class="found" hidden>
    <table class="losses">
      <thead><tr><th>model</th><th>loss on this text</th><th>characters it chooses among</th></tr></thead>
      <tbody></tbody>
    </table>
    <div class="two" hidden>
      <p class="pair"><span>Easier for</span>
        <label class="easier first"><i aria-hidden="true"></i><select aria-label="First model"></select></label>
        <span>or for</span>
        <label class="easier second"><i aria-hidden="true"></i><select aria-label="Second model"></select></label></p>
      <div class="writing" tabindex="0" role="group"
        aria-label="The text: arrow keys go from character to character"><span class="letters"></span></div>
      <p class="said" aria-live="polite"></p>
      <table class="where"><caption class="quiet"></caption>
        <thead><tr><th>where</th><th>characters</th><th>difference</th></tr></thead><tbody></tbody></table>
    </div>
  </div>
</div>
"""


@dataclass(frozen=True)
class Score:
    """A text as one model read it: bits (N,) of each character."""

    run: Run
    step: int
    slot: int  # the run's colour
    bits: np.ndarray


def difference(elem_id: str, note: str) -> gr.HTML:
    """The value is None, or what `scored` makes; which two models are held against each other is chosen in it."""
    return component("compare/compare_difference.js", TEMPLATE, elem_id=elem_id, note=note)


def scored(text: str, scores: Sequence[Score]) -> dict[str, Any]:
    """A text with the bits that each of its characters has for each model: u16, little-endian, in parts of a bit."""
    return {"text": text, "parts": BIT_STEPS, "models": [_model(score) for score in scores]}


def _model(score: Score) -> dict[str, Any]:
    loss = float(score.bits.mean()) * math.log(2)
    packed = np.minimum(np.rint(score.bits * BIT_STEPS), MAX_UINT16).astype("<u2")
    return {
        "title": score.run.title,
        "step": score.step,
        "slot": score.slot,
        "parameters": score.run.model_config.num_parameters,
        "loss": f"{loss:.3f}",
        "choices": perplexity(loss),
        "bits": base64.b64encode(packed.tobytes()).decode("ascii"),
    }
