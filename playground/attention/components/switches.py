"""The board of a model's parts, each of which can be switched off."""

from __future__ import annotations

import re
from typing import Any

import gradio as gr

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.ablation import Part
from playground.components.factory import component

TEMPLATE = """
<p class="bars-caption">Switch off</p>
<div class="switches" role="group" aria-label="Parts of the model: switch off any of them"></div>
<p class="grid-note">The parts of the model appear here as soon as there is a snapshot.</p>
"""


def switches(elem_id: str) -> gr.HTML:
    """A row a layer: the layer, its heads, its feed-forward block. The value lists what is off: ["L1·H2", "L3·FF"]."""
    return component("attention/components/switches.js", TEMPLATE, [], elem_id=elem_id)


def part_named(label: Any) -> Part:
    """The part that a label names: L1 (a layer), L1·H2, L1·FF. Raises InputError for anything else."""
    found = re.fullmatch(r"L(\d{1,3})(?:·(?:H(\d{1,3})|(FF)))?", label) if isinstance(label, str) else None
    if not found or int(found[1]) < 1 or (found[2] and int(found[2]) < 1):
        raise InputError("Name a part as the page does: L1 (a layer), L1·H2 (a head) or L1·FF (a feed-forward block).")
    layer = int(found[1]) - 1
    if found[2]:
        return Part("head", layer, int(found[2]) - 1)
    return Part("feed_forward" if found[3] else "layer", layer)


def parts_off(value: Any, config: ModelConfig) -> list[Part]:
    """The parts that a board's value names, as far as the model has them: it may come from another model."""
    found = []
    for label in value if isinstance(value, list) else []:
        try:
            part = part_named(label)
        except InputError:
            continue
        if part.layer < config.num_layers and part.head < config.heads:
            found.append(part)
    return found
