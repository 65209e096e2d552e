"""Controls for generating text: the prompt with its buttons, sampling settings, seed and length."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.config import MAX_SEED
from playground.components import sentences
from playground.components.text import line
from playground.context import Context
from playground.handlers import MULTIPLE, report_errors
from playground.selection import parse_selection

# Temperature and top-k of each sampling preset.
PRESETS = {"greedy": (0.0, 1), "careful": (0.5, 20), "balanced": (0.8, 40), "wild": (1.3, 100)}


@dataclass
class PromptRow:
    """The prompt with its buttons, and below it a line for what is wrong with it."""

    prompt: gr.Textbox
    write: gr.Button
    stop: gr.Button
    problem: gr.HTML
    drop: gr.Button

    @property
    def submitted(self) -> list[Any]:
        """The events that start a generation."""
        return [self.write.click, self.prompt.submit]


@dataclass
class SamplingControls:
    preset: gr.Radio
    temperature: gr.Slider
    top_k: gr.Slider


@dataclass
class SeedControls:
    seed: gr.Number
    random: gr.Button
    length: gr.Slider
    next: gr.Button


def prompt_row(place: str, prompt: str, label: str = sentences.GENERATE) -> PromptRow:
    """The prompt, a button with the label `label`, Stop, and a line that names characters the model does not know."""
    with gr.Row(elem_classes="prompt-row"):
        box = gr.Textbox(prompt, label=sentences.PROMPT, lines=1, max_lines=4, elem_id=f"{place}-prompt", scale=1)
        write = gr.Button(label, variant="primary", elem_id=f"{place}-write", scale=0)
        stop = gr.Button(sentences.STOP, elem_id=f"{place}-stop", scale=0, interactive=False)
    problem, drop = problem_row(place)
    return PromptRow(box, write, stop, problem, drop)


def problem_row(place: str) -> tuple[gr.HTML, gr.Button]:
    """A line for what is wrong with a text, and a button that removes characters the model does not know."""
    with gr.Row(elem_classes="problem-row"):
        problem = line(f"{place}-problem", elem_classes="problem")
        drop = gr.Button(sentences.DROP_UNKNOWN, size="sm", visible=False, elem_id=f"{place}-drop", scale=0)
    return problem, drop


def sampling_controls(place: str) -> SamplingControls:
    """Temperature, top-k, and presets that set both."""
    with gr.Row(elem_classes="dials"):
        temperature = gr.Slider(0, 2, 0.8, step=0.05, label=sentences.TEMPERATURE, elem_id=f"{place}-temperature")
        top_k = gr.Slider(1, 100, 40, step=1, label=sentences.TOP_K, elem_id=f"{place}-top-k")
    preset = gr.Radio(
        list(PRESETS), value="balanced", show_label=False, container=False, label=sentences.PRESET,
        elem_id=f"{place}-mood", elem_classes="segments",
    )  # fmt: skip
    return SamplingControls(preset, temperature, top_k)


def seed_controls(place: str, length: int, max_length: int = 5000) -> SeedControls:
    """Folded: the random seed and the number of characters to generate."""
    with (
        gr.Accordion(sentences.SEED_AND_LENGTH, open=False, elem_classes="fold"),
        gr.Row(elem_classes="seed-row"),
    ):
        seed = gr.Number(42, label=sentences.SEED, precision=0, minimum=0, elem_id=f"{place}-seed")
        random = gr.Button(sentences.RANDOM_SEED, size="sm", elem_id=f"{place}-dice", scale=0)
        following = gr.Button(sentences.NEXT_SEED, size="sm", elem_id=f"{place}-another", scale=0)
        characters = gr.Slider(
            50, min(max_length, 5000), length, step=50, label=sentences.LENGTH, elem_id=f"{place}-length"
        )
    return SeedControls(seed, random, characters, following)


def wire_sampling(controls: SamplingControls) -> None:
    """A preset sets both sliders, and the sliders select their preset, if any. Runs in the browser only."""
    presets = json.dumps(PRESETS)
    both = [controls.temperature, controls.top_k]
    controls.preset.input(None, controls.preset, both, js=f"(preset) => ({presets})[preset]")
    equal = "([, values]) => values[0] === temperature && values[1] === topK"
    for slider in both:
        slider.change(
            None,
            both,
            controls.preset,
            js=f"(temperature, topK) => Object.entries({presets}).find({equal})?.[0] ?? null",
            **MULTIPLE,
        )


def wire_seed(controls: SeedControls, place: str) -> None:
    """Random seed draws a seed; Next seed takes the next one and generates at once. Runs in the browser only."""
    write = f"setTimeout(() => document.getElementById('{place}-write').click(), 50)"
    following = f"(seed) => {{ {write}; return (seed + 1) % {MAX_SEED + 1}; }}"
    controls.random.click(None, None, controls.seed, js="() => Math.floor(Math.random() * 100000)")
    controls.next.click(None, controls.seed, controls.seed, js=following)


def wire_drop(ctx: Context, text: gr.Textbox, drop: gr.Button, button: str) -> None:
    """Remove the characters that the selected model does not know, then click the button with the id `button`."""

    @report_errors
    def without_unknown(selection: Any, text: str) -> str:
        unknown = ctx.models.get(*parse_selection(selection)).tokenizer.unknown(text)
        return "".join(character for character in text if character not in unknown)

    drop.click(without_unknown, [ctx.selection, text], text, api_visibility="private").success(
        None, js=f"() => document.getElementById('{button}').click()"
    )
