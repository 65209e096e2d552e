"""Limits: allowed values, and the error messages above a limit."""

from __future__ import annotations

import pytest

from nanollm.config import PRESETS, ModelConfig, TrainConfig, make_configs, preset
from nanollm.errors import InputError
from nanollm.limits import LOCAL, PUBLIC, Limits
from nanollm.train.memory import training_bytes


def _require(limits: Limits, configs: tuple[ModelConfig, TrainConfig]) -> None:
    limits.require_run(*configs, training_bytes(*configs))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_within_the_local_limits(name: str) -> None:
    _require(LOCAL, make_configs(preset(name), 65))


@pytest.mark.parametrize("name", ["sprint", "nano"])
def test_the_small_presets_are_within_the_public_limits(name: str) -> None:
    _require(PUBLIC, make_configs(preset(name), 65))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_steps": PUBLIC.num_steps + 1}, "num_steps"),
        ({"embedding_dim": 1024}, "parameters"),
        ({"batch_size": 512, "context_length": 1024}, "memory"),
    ],
)
def test_errors_state_the_value_the_limit_and_a_fix(settings, named: str) -> None:
    with pytest.raises(InputError, match=rf"^[\d,]+ .*{named}.* exceed the limit of [\d,]+: (choose|request|shorten)"):
        _require(PUBLIC, make_configs(preset("nano") | settings, 65))


def test_vocabulary_prompt_and_length_limits() -> None:
    limits = Limits(vocabulary=3, prompt=5, max_length=10)
    limits.require_vocabulary(3)
    limits.require_generation("12345", 10)
    with pytest.raises(InputError, match="4 distinct characters, but the limit is 3"):
        limits.require_vocabulary(4)
    with pytest.raises(InputError, match="6 characters in the prompt exceed the limit of 5"):
        limits.require_generation("123456")
    with pytest.raises(InputError, match="11 new characters exceed the limit of 10"):
        limits.require_generation("", 11)
