"""The settings form: which fields exist, how their values become a preset with changed settings, and preset cards."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any

from nanollm.config import ModelConfig, TrainConfig, make_configs, preset
from nanollm.data.corpus import CorpusInfo
from nanollm.errors import InputError
from nanollm.train.memory import training_bytes
from nanollm.train.workload import duration, run_seconds
from playground.components.format import byte_size
from playground.train import sentences

# The settings by group, in the order of the page.
GROUPS: dict[str, tuple[str, ...]] = {
    sentences.GROUP_MODEL: (
        "embedding_dim", "num_layers", "ffn_hidden_dim", "num_heads", "context_length", "dropout", "position",
        "qk_norm",
    ),
    sentences.GROUP_DATA: ("num_steps", "batch_size", "accumulation_steps", "validation_fraction", "seed"),
    sentences.GROUP_OPTIMIZATION: (
        "optimizer", "learning_rate", "warmup_steps", "final_lr_fraction", "weight_decay", "beta1", "beta2",
        "grad_clip",
    ),
    sentences.GROUP_LOGGING: ("log_interval", "eval_interval", "checkpoint_interval"),
    sentences.GROUP_HARDWARE: ("precision", "threads", "attention_kernel"),
}  # fmt: skip
NAMES = tuple(name for names in GROUPS.values() for name in names)
# The settings that may change when a run is continued or forked: the model keeps its shape.
CONTINUE_NAMES = ("num_steps", "learning_rate", "dropout")
PURPOSES = {
    "sprint": sentences.SPRINT,
    "nano": sentences.NANO,
    "small": sentences.SMALL,
    "medium": sentences.MEDIUM,
}
# What a card shows instead of a time that is not known, by the reason that StepTimeJobs.pending() returns.
TIME_PENDING = {"measuring": sentences.TIME_MEASURING, "training": sentences.TIME_AFTER_TRAINING}

FIELDS: dict[str, Field[Any]] = {f.name: f for f in (*fields(ModelConfig), *fields(TrainConfig)) if f.name in NAMES}


@dataclass(frozen=True)
class FormSettings:
    """A preset and the settings that differ from it."""

    preset: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, preset_name: str, values: Sequence[Any]) -> FormSettings:
        """Parse the form's values, in the order of NAMES. Raises InputError for an unknown preset."""
        default = defaults(preset_name)
        parsed = {name: _parse(FIELDS[name], value) for name, value in zip(NAMES, values, strict=True)}
        return cls(preset_name, {name: value for name, value in parsed.items() if value != default[name]})

    def configs(self, vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
        """Return both configs for a vocabulary size. Raises InputError for invalid settings."""
        return make_configs({**preset(self.preset), **self.settings}, vocab_size)

    def command(self, corpus: str) -> str:
        """Return the command line for the same training, with `corpus` as its --corpus."""
        values = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in self.settings.items()}
        flags = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in values.items()]
        start = f"python -m nanollm train --preset {self.preset} --corpus {shlex.quote(corpus)}"
        return " \\\n  ".join([start, *flags])


def defaults(preset_name: str) -> dict[str, Any]:
    """Return the value of each of NAMES under a preset; None means automatic (num_heads, threads)."""
    values: Mapping[str, Any] = preset(preset_name)
    return {name: values.get(name, _parse(FIELDS[name], FIELDS[name].default)) for name in NAMES}


def preset_card(
    preset_name: str, vocab_size: int, characters: int = 0, step_seconds: float | None = None, pending: str = ""
) -> tuple[str, str]:
    """Return a preset as a choice of the form: its card's text and its value.

    The card shows the training time for a text of `characters` if `step_seconds` were measured on this machine, else
    why they are `pending` (a key of TIME_PENDING), if they are.
    """
    model, train = make_configs(preset(preset_name), vocab_size)
    memory = byte_size(training_bytes(model, train)).replace(" ", "\N{NO-BREAK SPACE}")
    facts = [
        sentences.CARD_PARAMETERS.format(count=model.num_parameters),
        sentences.CARD_MEMORY.format(size=memory),
    ]
    if step_seconds is not None:
        time = duration(run_seconds(step_seconds, model, train, characters))
        facts.insert(0, sentences.CARD_TIME.format(time=time))
    elif pending:
        facts.insert(0, TIME_PENDING[pending])
    return f"{preset_name}\n{PURPOSES[preset_name]}\n{', '.join(facts)}", preset_name


def warning(train: TrainConfig) -> str:
    """Return a warning about valid settings that are probably a mistake, else an empty string."""
    if train.warmup_steps < train.num_steps:
        return ""
    return sentences.LONG_WARMUP.format(warmup=train.warmup_steps, steps=train.num_steps)


def corpus_argument(corpus: CorpusInfo) -> str:
    """Return how the command line names a text: its file, or the id of a built-in text."""
    if corpus.bundled:
        return "data/raw/sample.txt"
    return corpus.builtin or f"data/corpora/{corpus.sha256}.txt"


def fields_named(sentence: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the fields that an error concerns: the changed ones that it names, else the first one that it names."""
    named = [name for name in NAMES if re.search(rf"\b{name}\b", sentence)]
    return [name for name in named if name in settings] or named[:1]


def continue_settings(values: Sequence[Any]) -> dict[str, Any]:
    """Parse the settings of a continued or forked run, in the order of CONTINUE_NAMES; empty ones stay unchanged.

    Raises InputError for values that are not numbers.
    """
    texts = {name: str(value or "").strip() for name, value in zip(CONTINUE_NAMES, values, strict=True)}
    return {name: _number(name, text) for name, text in texts.items() if text}


def _number(name: str, text: str) -> int | float:
    try:
        return int(text) if FIELDS[name].type == "int" else float(text)
    except ValueError:
        raise InputError(sentences.NOT_A_NUMBER.format(name=name, value=text)) from None


def may_be_auto(name: str) -> bool:
    """Return whether a setting may be left to the core: num_heads, derived from the width, and threads."""
    return FIELDS[name].default in (None, "auto") and not FIELDS[name].metadata["choices"]


def _parse(field: Field[Any], value: Any) -> Any:
    """Convert a form value to a config value: integers as int, an empty field or "auto" as None."""
    if isinstance(value, str) and may_be_auto(field.name):
        value = int(value) if value.strip().isdecimal() else value.strip()
    if value in (None, "") or (value == "auto" and may_be_auto(field.name)):
        return None
    if isinstance(value, float) and field.type != "float" and value.is_integer():
        return int(value)
    return value
