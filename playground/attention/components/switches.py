"""The board of switches: every layer, head and feed-forward block of a model can be switched off."""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, Any

import gradio as gr

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from playground.attention import sentences
from playground.components.factory import component

if TYPE_CHECKING:
    from nanollm.explain.ablation import Part

TEMPLATE = """
<p class="bars-caption">Switch off</p>
<div class="switches" role="group" aria-label="Parts of the model to switch off"></div>
<p class="grid-note">The parts of the model appear here as soon as there is a snapshot.</p>
"""


def switches(elem_id: str) -> gr.HTML:
    """One row per layer: the layer, its heads, its feed-forward block. The value lists what is off: ["L1·H2", …]."""
    return component("attention/components/switches.js", TEMPLATE, [], elem_id=elem_id)


def part_named(label: Any) -> Part:
    """Parse a label: L1 (a layer), L1·H2 (a head) or L1·FF (a feed-forward block). Raises InputError for others."""
    found = re.fullmatch(r"L(\d{1,3})(?:·(?:H(\d{1,3})|(FF)))?", label) if isinstance(label, str) else None
    if not found or int(found[1]) < 1 or (found[2] and int(found[2]) < 1):
        raise InputError(sentences.NOT_A_PART.format(label=reprlib.repr(label)))
    from nanollm.explain.ablation import Part  # imports torch, which takes a second

    layer = int(found[1]) - 1
    if found[2]:
        return Part("head", layer, int(found[2]) - 1)
    return Part("feed_forward" if found[3] else "layer", layer)


def parts_off(value: Any, config: ModelConfig) -> list[Part]:
    """Return the parts in a board's value that the model has. The value may come from the board of another model."""
    found = []
    for label in value if isinstance(value, list) else []:
        try:
            part = part_named(label)
        except InputError:
            continue
        if part.layer < config.num_layers and part.head < config.heads:
            found.append(part)
    return found
