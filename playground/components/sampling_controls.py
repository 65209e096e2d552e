"""What every writing place has: a prompt with its buttons, moods and dials, and folded, seed and length."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.config import MAX_SEED
from playground.components.text import line
from playground.context import Context
from playground.handlers import MULTIPLE, report_errors
from playground.selection import parse_selection

MOODS = {"greedy": (0.0, 1), "careful": (0.5, 20), "balanced": (0.8, 40), "wild": (1.3, 100)}


@dataclass
class Ask:
    """The row of the prompt, and under it what is the matter with it."""

    prompt: gr.Textbox
    write: gr.Button
    stop: gr.Button
    problem: gr.HTML
    drop: gr.Button

    @property
    def asking(self) -> list[Any]:
        """The events by which a person asks."""
        return [self.write.click, self.prompt.submit]


@dataclass
class Dials:
    mood: gr.Radio
    temperature: gr.Slider
    top_k: gr.Slider


@dataclass
class Fold:
    seed: gr.Number
    dice: gr.Button
    length: gr.Slider
    another: gr.Button


def ask(place: str, prompt: str, verb: str = "Write") -> Ask:
    """The prompt, `verb` and Stop; and a line that names what the model does not know, with its removal."""
    with gr.Row(elem_classes="ask"):
        box = gr.Textbox(prompt, label="Prompt", lines=1, max_lines=4, elem_id=f"{place}-prompt", scale=1)
        write = gr.Button(verb, variant="primary", elem_id=f"{place}-write", scale=0)
        stop = gr.Button("Stop", elem_id=f"{place}-stop", scale=0, interactive=False)
    problem, drop = problem_row(place)
    return Ask(box, write, stop, problem, drop)


def problem_row(place: str) -> tuple[gr.HTML, gr.Button]:
    """What is the matter with a text, and the button that drops the characters which the model has never seen."""
    with gr.Row(elem_classes="problem-row"):
        problem = line(f"{place}-problem", elem_classes="problem")
        drop = gr.Button("Drop them", size="sm", visible=False, elem_id=f"{place}-drop", scale=0)
    return problem, drop


def dials(place: str) -> Dials:
    """Temperature and top-k, and four moods that set both."""
    with gr.Row(elem_classes="dials"):
        temperature = gr.Slider(0, 2, 0.8, step=0.05, label="Temperature", elem_id=f"{place}-temperature")
        top_k = gr.Slider(1, 100, 40, step=1, label="Top-k", elem_id=f"{place}-top-k")
    mood = gr.Radio(
        list(MOODS), value="balanced", show_label=False, container=False, label="Mood", elem_id=f"{place}-mood",
        elem_classes="segments",
    )  # fmt: skip
    return Dials(mood, temperature, top_k)


def seed_and_length(place: str, length: int, most: int = 5000) -> Fold:
    """Folded: what decides the dice, and how long the text becomes."""
    with gr.Accordion("Seed, length", open=False, elem_classes="fold"), gr.Row(elem_classes="seed-row"):
        seed = gr.Number(42, label="Same seed, same text", precision=0, minimum=0, elem_id=f"{place}-seed")
        dice = gr.Button("⚄ Dice", size="sm", elem_id=f"{place}-dice", scale=0)
        another = gr.Button("Another", size="sm", elem_id=f"{place}-another", scale=0)
        characters = gr.Slider(50, min(most, 5000), length, step=50, label="Characters", elem_id=f"{place}-length")
    return Fold(seed, dice, characters, another)


def wire_dials(dials: Dials) -> None:
    """A mood sets the dials, and the dials say which mood they are, if any. All in the browser."""
    moods = json.dumps(MOODS)
    both = [dials.temperature, dials.top_k]
    dials.mood.input(None, dials.mood, both, js=f"(mood) => ({moods})[mood]")
    mood = "([, dials]) => dials[0] === temperature && dials[1] === topK"
    for slider in both:
        slider.change(
            None,
            both,
            dials.mood,
            js=f"(temperature, topK) => Object.entries({moods}).find({mood})?.[0] ?? null",
            **MULTIPLE,
        )


def wire_seed(fold: Fold, place: str) -> None:
    """Dice rolls a seed, Another takes the next one and writes at once. All in the browser."""
    write = f"setTimeout(() => document.getElementById('{place}-write').click(), 50)"
    fold.dice.click(None, None, fold.seed, js="() => Math.floor(Math.random() * 100000)")
    fold.another.click(None, fold.seed, fold.seed, js=f"(seed) => {{ {write}; return (seed + 1) % {MAX_SEED + 1}; }}")


def wire_drop(ctx: Context, text: gr.Textbox, drop: gr.Button, button: str) -> None:
    """Drop what the chosen model has never seen from a text, then press the button with the id `button`."""

    @report_errors
    def without_unknown(selection: Any, text: str) -> str:
        unknown = ctx.models.get(*parse_selection(selection)).tokenizer.unknown(text)
        return "".join(character for character in text if character not in unknown)

    drop.click(without_unknown, [ctx.selection, text], text, api_visibility="private").success(
        None, js=f"() => document.getElementById('{button}').click()"
    )
