"""The form of the Train tab: text, preset, all settings, and what they amount to before the training starts."""

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
from playground.train import sentences
from playground.train.components import problem_line
from playground.train.settings_form import (
    FIELDS,
    GROUPS,
    NAMES,
    FormSettings,
    corpus_argument,
    defaults,
    fields_named,
    may_be_auto,
    preset_card,
    warning,
)

FIRST_PRESET = "sprint"
WAIT = "() => [{__type__: 'update', interactive: false}]"
READY = f"() => [{{__type__: 'update', value: '{sentences.START}', interactive: true}}]"


@dataclass
class Parts:
    corpus: gr.Dropdown
    preset: gr.Radio
    size: gr.HTML
    problem: gr.HTML
    start: gr.Button
    fields: list[Any]  # one for each of NAMES
    command: gr.Textbox
    cards: gr.State  # the preset cards as shown
    timer: gr.Timer

    @property
    def inputs(self) -> list[Any]:
        """The components that define a run: text, preset and all fields."""
        return [self.corpus, self.preset, *self.fields]

    def field(self, name: str) -> Any:
        """Return the component of one setting."""
        return self.fields[NAMES.index(name)]


def layout() -> Parts:
    corpus = gr.Dropdown([], label=sentences.TEXT, elem_id="train-corpus")
    preset = gr.Radio(
        [preset_card(name, 65) for name in PRESETS], value=FIRST_PRESET, label=sentences.PRESET, elem_id="train-preset",
        elem_classes="cards",
    )  # fmt: skip
    size = line("train-size")
    problem = problem_line("train-problem")
    start = gr.Button(sentences.START, variant="primary", elem_id="train-start")
    with gr.Accordion(sentences.ALL_SETTINGS, open=False, elem_classes="fold", elem_id="train-settings"):
        fields = []
        for group, names in GROUPS.items():
            line(f"train-group-{group.split()[-1]}", group, "group")
            fields += [_field(name) for name in names]
    with gr.Accordion(sentences.COMMAND, open=False, elem_classes="fold", elem_id="train-command-fold"):
        command = gr.Textbox(
            label=sentences.COMMAND_LABEL, lines=1, max_lines=12, interactive=False, buttons=["copy"],
            elem_id="train-command",
        )  # fmt: skip
    return Parts(corpus, preset, size, problem, start, fields, command, gr.State([]), gr.Timer(4, active=False))


def wire(ctx: Context, parts: Parts, continue_text: gr.Dropdown) -> None:
    """Wire the form. `continue_text` offers the same texts for continuing or forking a run."""
    inputs = parts.inputs
    outputs = [parts.size, parts.problem, parts.command]

    def check(sha256: Any, preset: Any, *values: Any) -> tuple[Any, ...]:
        settings = None
        try:
            settings = FormSettings.of(preset, values)
            return _summary(ctx, selected_text(ctx, sha256), settings)
        except Exception as error:
            message = error_message(error)
            changed = settings.settings if settings else {}
            return "", {"text": message, "fields": fields_named(message, changed)}, ""

    def refresh(tab: Any, sha256: Any) -> tuple[Any, ...]:
        if tab != "train":
            return (gr.skip(),) * 4
        infos = ctx.corpora.list()
        info = next((one for one in infos if one.sha256 == sha256), infos[0])
        choices = [(one.name, one.sha256) for one in infos]
        texts = gr.Dropdown(choices=choices, value=info.sha256)
        others = gr.Dropdown(choices=[(sentences.SAME_TEXT, ""), *choices])
        return texts, others, *cards(info.sha256)

    def cards(sha256: Any, shown: Any = None) -> tuple[Any, Any]:
        with suppress(InputError):
            info = selected_text(ctx, sha256)
            seconds, pending = ctx.step_times.get(info.vocab_size), ctx.step_times.pending(info.vocab_size)
            now = [preset_card(name, info.vocab_size, info.characters, seconds.get(name), pending) for name in PRESETS]
            if now != shown:
                return gr.Radio(choices=now), now
        return gr.skip(), gr.skip()

    def update_cards(tab: Any, sha256: Any, shown: Any) -> tuple[Any, Any]:
        """Show step times as they are measured."""
        return cards(sha256, shown) if tab == "train" else (gr.skip(), gr.skip())

    card_outputs = [parts.preset, parts.cards]
    # Start waits for the fields of the new preset: those of the previous one would count as changed settings.
    parts.preset.input(None, None, parts.start, js=WAIT, api_visibility="private")
    filled = parts.preset.input(
        lambda preset: list(defaults(preset).values()), parts.preset, parts.fields, **UNQUEUED, **MULTIPLE
    )
    filled.then(None, None, parts.start, js=READY, api_visibility="private")
    filled.then(check, inputs, outputs, **UNQUEUED)
    parts.corpus.change(cards, parts.corpus, card_outputs, **UNQUEUED, **MULTIPLE).then(
        check, inputs, outputs, **UNQUEUED
    )
    for field in parts.fields:
        # Gradio's Textbox fires `input` only for printable keys: not for Backspace, and not for pasted text.
        changed = field.change if isinstance(field, gr.Textbox) else field.input
        changed(check, inputs, outputs, trigger_mode="always_last", **UNQUEUED)
    ctx.tab.change(
        refresh, [ctx.tab, parts.corpus], [parts.corpus, continue_text, *card_outputs], **UNQUEUED, **MULTIPLE
    ).then(check, inputs, outputs, **UNQUEUED)  # fmt: skip
    parts.timer.tick(update_cards, [ctx.tab, parts.corpus, parts.cards], card_outputs, **UNQUEUED, **MULTIPLE)


def selected_text(ctx: Context, sha256: Any) -> CorpusInfo:
    """Return the selected text, or the bundled one if none is selected."""
    return ctx.corpora.get(sha256) if isinstance(sha256, str) and sha256 else ctx.corpora.list()[0]


def _summary(ctx: Context, corpus: CorpusInfo, settings: FormSettings) -> tuple[str, dict[str, Any], str]:
    """Return what the settings amount to: the size if they differ from the preset, a warning, the command."""
    model, train = settings.configs(corpus.vocab_size)
    ctx.runs.require(corpus, model, train)
    changed = ", ".join(f"{name} {value}" for name, value in settings.settings.items() if value is not None)
    total = sentences.TOTAL.format(parameters=model.num_parameters, steps=train.num_steps)
    message = warning(train)
    problem = {"text": message, "fields": fields_named(message, settings.settings)}
    size = sentences.CHANGED.format(total=total, settings=changed) if changed else ""
    return size, problem, settings.command(corpus_argument(corpus))


def _field(name: str) -> Any:
    """Create the component of one setting, with the help text of the config."""
    field, value = FIELDS[name], defaults(FIRST_PRESET)[name]
    shown: dict[str, Any] = dict(
        label=name, info=field.metadata["help"], elem_id=f"train-{name}", elem_classes="setting"
    )
    if field.metadata["choices"]:
        return gr.Radio(list(field.metadata["choices"]), value=value, **{**shown, "elem_classes": "segments"})
    if field.type == "bool":
        return gr.Radio([("off", False), ("on", True)], value=value, **{**shown, "elem_classes": "segments"})
    if may_be_auto(name):
        return gr.Textbox(placeholder=sentences.AUTO, max_lines=1, **shown)
    return gr.Number(value, **shown)


assert len(NAMES) == len(set(NAMES)) == len(FIELDS), "each setting must be on the page exactly once"
