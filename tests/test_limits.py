"""What is possible here, and in which words more than that is refused."""

from __future__ import annotations

import pytest

from nanollm.config import PRESETS, ModelConfig, TrainConfig, make_configs, preset
from nanollm.errors import InputError
from nanollm.limits import LOCAL, PUBLIC, Limits
from nanollm.train.memory import training_bytes


def _require(limits: Limits, configs: tuple[ModelConfig, TrainConfig]) -> None:
    limits.require_run(*configs, training_bytes(*configs))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_a_machine_of_ones_own(name: str) -> None:
    _require(LOCAL, make_configs(preset(name), 65))


@pytest.mark.parametrize("name", ["sprint", "nano"])
def test_the_small_presets_fit_a_public_page(name: str) -> None:
    _require(PUBLIC, make_configs(preset(name), 65))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_steps": PUBLIC.num_steps + 1}, "num_steps"),
        ({"embedding_dim": 1024}, "parameters"),
        ({"batch_size": 512, "context_length": 1024}, "memory"),
    ],
)
def test_a_refusal_says_what_was_asked_what_is_possible_and_what_to_do(settings, named: str) -> None:
    with pytest.raises(InputError, match=rf"^[\d,]+ .*{named}.* more than the [\d,]+ .*: (choose|ask|shorten)"):
        _require(PUBLIC, make_configs(preset("nano") | settings, 65))


def test_texts_and_prompts() -> None:
    limits = Limits(vocabulary=3, prompt=5, max_length=10)
    limits.require_vocabulary(3)
    limits.require_generation("12345", 10)
    with pytest.raises(InputError, match="4 different characters, the limit is 3"):
        limits.require_vocabulary(4)
    with pytest.raises(InputError, match="6 characters of prompt are more than the 5"):
        limits.require_generation("123456")
    with pytest.raises(InputError, match="11 characters to be written are more than the 10"):
        limits.require_generation("", 11)
