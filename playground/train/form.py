"""The form of Train: which text, which size, every setting; and what they come to, before anything is started."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from nanollm.config import PRESETS
from nanollm.data.corpus import CorpusInfo
from nanollm.errors import InputError
from playground.components.text import line
from playground.context import Context
from playground.handlers import MULTIPLE, UNQUEUED, error_message
from playground.train.problem import problem_line
from playground.train.settings_form import (
    FIELDS,
    GROUPS,
    NAMES,
    Recipe,
    blamed,
    by_itself,
    caution,
    choice,
    defaults,
    text_name,
)

FIRST = "sprint"
SAME = "the same text"  # for a run that goes on from another
WAIT = "() => [{__type__: 'update', interactive: false}]"
READY = "() => [{__type__: 'update', value: 'Start training', interactive: true}]"


@dataclass
class Parts:
    corpus: gr.Dropdown
    preset: gr.Radio
    size: gr.HTML
    problem: gr.HTML
    start: gr.Button
    fields: list[Any]  # one for each of NAMES
    command: gr.Textbox
    cards: gr.State  # as they are shown
    timer: gr.Timer

    @property
    def asked(self) -> list[Any]:
        """What a run is made of, as the components to read."""
        return [self.corpus, self.preset, *self.fields]

    def field(self, name: str) -> Any:
        """The component of one setting."""
        return self.fields[NAMES.index(name)]


def layout() -> Parts:
    """Text, cards, Start; the settings and the command folded."""
    corpus = gr.Dropdown([], label="Text", elem_id="train-corpus")
    preset = gr.Radio(
        [choice(name, 65) for name in PRESETS], value=FIRST, label="Size", elem_id="train-preset", elem_classes="cards"
    )
    size = line("train-size")
    problem = problem_line("train-problem")
    start = gr.Button("Start training", variant="primary", elem_id="train-start")
    with gr.Accordion("All settings", open=False, elem_classes="fold", elem_id="train-settings"):
        fields = []
        for group, names in GROUPS.items():
            line(f"train-group-{group.split()[-1]}", group, "group")
            fields += [_field(name) for name in names]
    with gr.Accordion("Command", open=False, elem_classes="fold", elem_id="train-command-fold"):
        command = gr.Textbox(
            label="The same training from a terminal", lines=1, max_lines=12, interactive=False, buttons=["copy"],
            elem_id="train-command",
        )  # fmt: skip
    return Parts(corpus, preset, size, problem, start, fields, command, gr.State([]), gr.Timer(4, active=False))


def wire(ctx: Context, parts: Parts, onward_text: gr.Dropdown) -> None:
    """Texts, cards, fields and what they come to; `onward_text` offers the same texts to a run that goes on."""
    asked = parts.asked
    outcome = [parts.size, parts.problem, parts.command]

    def judge(sha256: Any, preset: Any, *values: Any) -> tuple[Any, ...]:
        recipe = None
        try:
            recipe = Recipe.of(preset, values)
            return _outcome(ctx, chosen_text(ctx, sha256), recipe)
        except Exception as error:
            told = error_message(error)
            return "", {"text": told, "fields": blamed(told, recipe.settings if recipe else {})}, ""

    def arrive(tab: Any, sha256: Any) -> tuple[Any, ...]:
        if tab != "train":
            return (gr.skip(),) * 4
        infos = ctx.corpora.list()
        info = next((one for one in infos if one.sha256 == sha256), infos[0])
        choices = [(one.name, one.sha256) for one in infos]
        texts = gr.Dropdown(choices=choices, value=info.sha256), gr.Dropdown(choices=[(SAME, ""), *choices])
        return *texts, *cards(info.sha256)

    def cards(sha256: Any, shown: Any = None) -> tuple[Any, Any]:
        with suppress(InputError):
            info = chosen_text(ctx, sha256)
            paces, lacks = ctx.step_times.get(info.vocab_size), ctx.step_times.pending(info.vocab_size)
            made = [choice(name, info.vocab_size, info.characters, paces.get(name), lacks) for name in PRESETS]
            if made != shown:
                return gr.Radio(choices=made), made
        return gr.skip(), gr.skip()

    def paced(tab: Any, sha256: Any, shown: Any) -> tuple[Any, Any]:
        """The cards again, once a time was measured."""
        return cards(sha256, shown) if tab == "train" else (gr.skip(), gr.skip())

    timed = [parts.preset, parts.cards]
    # Start waits for the card's fields: the former card's would count as settings that were changed.
    parts.preset.input(None, None, parts.start, js=WAIT, api_visibility="private")
    filled = parts.preset.input(
        lambda preset: list(defaults(preset).values()), parts.preset, parts.fields, **UNQUEUED, **MULTIPLE
    )
    filled.then(None, None, parts.start, js=READY, api_visibility="private")
    filled.then(judge, asked, outcome, **UNQUEUED)
    parts.corpus.change(cards, parts.corpus, timed, **UNQUEUED, **MULTIPLE).then(judge, asked, outcome, **UNQUEUED)
    for field in parts.fields:
        # Gradio's Textbox fires `input` for keys that print a character only: not for Backspace, and not for a paste.
        moved = field.change if isinstance(field, gr.Textbox) else field.input
        moved(judge, asked, outcome, trigger_mode="always_last", **UNQUEUED)
    ctx.tab.change(
        arrive, [ctx.tab, parts.corpus], [parts.corpus, onward_text, *timed], **UNQUEUED, **MULTIPLE
    ).then(judge, asked, outcome, **UNQUEUED)  # fmt: skip
    parts.timer.tick(paced, [ctx.tab, parts.corpus, parts.cards], timed, **UNQUEUED, **MULTIPLE)


def chosen_text(ctx: Context, sha256: Any) -> CorpusInfo:
    """The chosen text; before any was chosen, the one that came along."""
    return ctx.corpora.get(sha256) if isinstance(sha256, str) and sha256 else ctx.corpora.list()[0]


def _outcome(ctx: Context, corpus: CorpusInfo, recipe: Recipe) -> tuple[str, dict[str, Any], str]:
    """What the settings come to: the size in a sentence, no problem (at most a hint), the command."""
    model, train = recipe.configs(corpus.vocab_size)
    ctx.runs.require(corpus, model, train)
    changed = ", ".join(f"{name} {value}" for name, value in recipe.settings.items() if value is not None)
    size = f"{model.num_parameters:,} parameters, {train.num_steps:,} steps"
    told = caution(train)
    hint = {"text": told, "fields": blamed(told, recipe.settings)}
    return f"{size}. Changed: {changed}." if changed else "", hint, recipe.command(text_name(corpus))


def _field(name: str) -> Any:
    """The component for one setting, with the config's own words."""
    field, value = FIELDS[name], defaults(FIRST)[name]
    shown: dict[str, Any] = dict(
        label=name, info=field.metadata["help"], elem_id=f"train-{name}", elem_classes="setting"
    )
    if field.metadata["choices"]:
        return gr.Radio(list(field.metadata["choices"]), value=value, **{**shown, "elem_classes": "segments"})
    if field.type == "bool":
        return gr.Radio([("off", False), ("on", True)], value=value, **{**shown, "elem_classes": "segments"})
    if by_itself(name):
        return gr.Textbox(placeholder="auto", max_lines=1, **shown)
    return gr.Number(value, **shown)


assert len(NAMES) == len(set(NAMES)) == len(FIELDS), "every setting is on the page once"
