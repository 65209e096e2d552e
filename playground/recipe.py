"""What a person has set in Train, as the core wants it: one preset, and only what differs from it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any

from nanollm.config import ModelConfig, TrainConfig, make_configs, preset

# The settings in the order in which the page shows them; the second group is one fold further down.
MAIN = (
    "embedding_dim", "num_layers", "ffn_hidden_dim", "num_heads", "context_length", "dropout",
    "num_steps", "batch_size", "learning_rate", "warmup_steps", "eval_interval", "seed",
)  # fmt: skip
RARE = (
    "position", "similarity", "optimizer", "weight_decay", "final_learning_rate", "beta1", "beta2", "grad_clip",
    "validation_fraction", "log_interval", "checkpoint_interval", "precision", "threads",
)  # fmt: skip
NAMES = (*MAIN, *RARE)

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
        flags = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in self.settings.items()]
        start = f"python -m nanollm train --preset {self.preset} --corpus {shlex.quote(corpus)}"
        return " \\\n  ".join([start, *flags])


def defaults(preset_name: str) -> dict[str, Any]:
    """The value of each of NAMES under a preset; None stands for "by itself" (heads, threads)."""
    own: Mapping[str, Any] = preset(preset_name)
    return {name: own.get(name, _read(FIELDS[name], FIELDS[name].default)) for name in NAMES}


def choice(preset_name: str, vocab_size: int) -> tuple[str, str]:
    """A preset as a card: its name, then what it is for a text of `vocab_size` characters; and its value."""
    model, train = make_configs(preset(preset_name), vocab_size)
    return f"{preset_name}\n{model.num_parameters:,} parameters, {train.num_steps:,} steps", preset_name


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
