"""What a run takes over from the one that it continues, and what it may not change: its model stays the same model.

The rest is its own: it counts its steps from 0, with a warm-up, a schedule and an optimizer that know nothing of the
parent's. So it is not the longer run that the parent might have been. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nanollm.config import ModelConfig, TrainConfig, make_configs, to_dict
from nanollm.errors import InputError
from nanollm.runs.record import Run

MAX_NAMED = 8  # characters that a refusal lists


def fork_configs(parent: Run, settings: Mapping[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """Both configs of a run that continues `parent`: the parent's, with `settings` over them.

    Raises InputError for what make_configs() refuses, and for another shape of the model (all but dropout).
    """
    shape = to_dict(parent.model_config)
    for name, value in shape.items():
        if name != "dropout" and settings.get(name, value) != value:
            raise InputError(
                f"{name} is {settings[name]!r:.40}, but a run that continues another keeps its shape ({name} {value}): "
                f"leave {name} out, or start a new run."
            )
    return make_configs({**shape, **to_dict(parent.train_config), **settings}, parent.model_config.vocab_size)


def require_known_characters(characters: Iterable[str], vocabulary: Iterable[str]) -> None:
    """Raise InputError if a text has characters that a model with this vocabulary has never seen."""
    known = set(vocabulary)
    unknown = [c for c in characters if c not in known]
    if unknown:
        listed = " ".join(map(repr, unknown[:MAX_NAMED])) + (" and others" if len(unknown) > MAX_NAMED else "")
        raise InputError(
            f"The text has characters that this model has never seen ({listed}): take them out of the text, choose "
            "another one, or start a new run."
        )
