"""What a person has set in Train, as the core wants it: one preset, and only what differs from it."""

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
from playground.train.status_text import size

# The settings in the order and the groups in which the page shows them.
GROUPS: dict[str, tuple[str, ...]] = {
    "The model": (
        "embedding_dim", "num_layers", "ffn_hidden_dim", "num_heads", "context_length", "dropout", "position",
        "qk_norm",
    ),
    "How much it reads": ("num_steps", "batch_size", "accumulation_steps", "validation_fraction", "seed"),
    "How it learns": (
        "optimizer", "learning_rate", "warmup_steps", "final_lr_fraction", "weight_decay", "beta1", "beta2",
        "grad_clip",
    ),
    "What is written down": ("log_interval", "eval_interval", "checkpoint_interval"),
    "This machine": ("precision", "threads"),
}  # fmt: skip
NAMES = tuple(name for names in GROUPS.values() for name in names)
# What can differ when a run goes on: the model keeps its shape.
ONWARD = ("num_steps", "learning_rate", "dropout")
PURPOSES = {
    "sprint": "Real words in seconds",
    "nano": "The smallest: what two thin layers can do",
    "small": "Lines that read like sentences",
    "medium": "The best writer; wants much text",
}

# What a card says in place of a time that is not known: see background.StepTimeJobs.pending().
UNTIMED = {"measuring": "measuring its time", "training": "time measured once nothing trains"}

FIELDS: dict[str, Field] = {f.name: f for f in (*fields(ModelConfig), *fields(TrainConfig)) if f.name in NAMES}


@dataclass(frozen=True)
class Recipe:
    """A preset's name and the settings that were changed from it."""

    preset: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, preset_name: str, values: Sequence[Any]) -> Recipe:
        """From the page's fields, in the order of NAMES. Raises InputError for an unknown preset."""
        usual = defaults(preset_name)
        asked = {name: _read(FIELDS[name], value) for name, value in zip(NAMES, values, strict=True)}
        return cls(preset_name, {name: value for name, value in asked.items() if value != usual[name]})

    def configs(self, vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
        """Both configs for a text of `vocab_size` characters. Raises InputError for what they refuse."""
        return make_configs({**preset(self.preset), **self.settings}, vocab_size)

    def command(self, corpus: str) -> str:
        """The same training from the command line, on the text file `corpus`."""
        typed = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in self.settings.items()}
        flags = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in typed.items()]
        start = f"python -m nanollm train --preset {self.preset} --corpus {shlex.quote(corpus)}"
        return " \\\n  ".join([start, *flags])


def defaults(preset_name: str) -> dict[str, Any]:
    """The value of each of NAMES under a preset; None stands for "by itself" (heads, threads)."""
    own: Mapping[str, Any] = preset(preset_name)
    return {name: own.get(name, _read(FIELDS[name], FIELDS[name].default)) for name in NAMES}


def choice(
    preset_name: str, vocab_size: int, characters: int = 0, step_seconds: float | None = None, lacks: str = ""
) -> tuple[str, str]:
    """A preset as a card: its name, what it is for, what it takes for a text of so many (different) characters; value.

    The time is there only where the seconds of a step were measured on this machine; else, where one of UNTIMED is the
    reason that it `lacks` them, that reason.
    """
    model, train = make_configs(preset(preset_name), vocab_size)
    memory = size(training_bytes(model, train)).replace(" ", "\N{NO-BREAK SPACE}")
    takes = [f"{model.num_parameters:,} parameters", f"{memory} of memory"]
    if step_seconds is not None:
        takes.insert(0, f"about {duration(run_seconds(step_seconds, model, train, characters))} here")
    elif lacks:
        takes.insert(0, UNTIMED[lacks])
    return f"{preset_name}\n{PURPOSES[preset_name]}\n{', '.join(takes)}", preset_name


def caution(train: TrainConfig) -> str:
    """What may be meant, but probably is not; empty if there is no such thing."""
    if train.warmup_steps < train.num_steps:
        return ""
    return (
        f"warmup_steps {train.warmup_steps:,} is not less than num_steps {train.num_steps:,}: "
        "the learning rate never gets to its height."
    )


def text_name(corpus: CorpusInfo) -> str:
    """What the command line calls a text: its file, or its id where everybody can bring it."""
    if corpus.bundled:
        return "data/raw/sample.txt"
    return corpus.builtin or f"data/corpora/{corpus.sha256}.txt"


def blamed(sentence: str, settings: Mapping[str, Any]) -> list[str]:
    """The fields beside which a refusal is shown: those it names that were changed, else the first that it names."""
    named = [name for name in NAMES if re.search(rf"\b{name}\b", sentence)]
    return [name for name in named if name in settings] or named[:1]


def onward(values: Sequence[Any]) -> dict[str, Any]:
    """The settings of a run that goes on from another, from the page's fields in the order of ONWARD; empty: as before.

    Raises InputError for what is no number.
    """
    asked = {name: str(value or "").strip() for name, value in zip(ONWARD, values, strict=True)}
    return {name: _number(name, text) for name, text in asked.items() if text}


def _number(name: str, text: str) -> int | float:
    try:
        return int(text) if FIELDS[name].type == "int" else float(text)
    except ValueError:
        raise InputError(f"{name} is {text!r:.40}: give a number, or leave it empty to keep it as it was.") from None


def by_itself(name: str) -> bool:
    """Whether a setting may be left to the core: num_heads by the width, threads by the machine."""
    return FIELDS[name].default in (None, "auto") and not FIELDS[name].metadata["choices"]


def _read(field: Field, value: Any) -> Any:
    """A field's value as a config takes it: whole numbers whole, an empty field or "auto" as None."""
    if isinstance(value, str) and by_itself(field.name):
        value = int(value) if value.strip().isdecimal() else value.strip()
    if value in (None, "") or (value == "auto" and by_itself(field.name)):
        return None
    if isinstance(value, float) and field.type != "float" and value.is_integer():
        return int(value)
    return value
