"""What a forked run inherits from its parent: weights, model shape and settings.

Step count, warm-up, schedule and optimizer state restart, so a fork differs from training the parent for longer.
Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nanollm.config import ModelConfig, TrainConfig, make_configs, to_dict
from nanollm.errors import InputError
from nanollm.runs.record import Run

MAX_NAMED = 8  # characters listed in an error message


def fork_configs(parent: Run, settings: Mapping[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """Both configs of a fork of `parent`: the parent's, overridden by `settings`.

    Raises InputError for invalid settings and for a changed model shape (all model settings except dropout).
    """
    shape = to_dict(parent.model_config)
    for name, value in shape.items():
        if name != "dropout" and settings.get(name, value) != value:
            raise InputError(
                f"{name} is {settings[name]!r:.40}, but a fork keeps its parent's shape ({name} {value}): "
                f"omit {name}, or start a new run."
            )
    return make_configs({**shape, **to_dict(parent.train_config), **settings}, parent.model_config.vocab_size)


def require_known_characters(characters: Iterable[str], vocabulary: Iterable[str]) -> None:
    """Raise InputError if a text contains characters outside the vocabulary."""
    known = set(vocabulary)
    unknown = [c for c in characters if c not in known]
    if unknown:
        listed = " ".join(map(repr, unknown[:MAX_NAMED])) + (" and others" if len(unknown) > MAX_NAMED else "")
        raise InputError(
            f"The text contains characters that are not in the model's vocabulary ({listed}): remove them, choose "
            "another text, or start a new run."
        )
