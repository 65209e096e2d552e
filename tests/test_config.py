"""Configs: validation, defaults, presets, renamed settings and model sizes."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import PRESETS, ModelConfig, TrainConfig, current_names, make_configs, preset, to_dict
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from tests.strategies import model_configs

SEED_SIZES = {  # embedding_dim, num_layers, ffn_hidden_dim, num_steps, parameters at 65 characters
    "nano": (32, 2, 64, 1_000, 18_752),
    "small": (64, 4, 128, 3_000, 136_320),
    "medium": (128, 6, 256, 10_000, 797_952),
}


@pytest.mark.parametrize("name", SEED_SIZES)
def test_presets_have_the_specified_sizes(name: str) -> None:
    model, train = make_configs(preset(name), vocab_size=65)
    sizes = (model.embedding_dim, model.num_layers, model.ffn_hidden_dim, train.num_steps, model.num_parameters)
    assert sizes == SEED_SIZES[name]


@given(model_configs())
def test_num_parameters_matches_the_model(config: ModelConfig) -> None:
    model = TransformerLanguageModel.from_config(config)
    assert config.num_parameters == sum(p.numel() for p in model.parameters())


@given(model_configs())
def test_configs_round_trip_through_dicts(config: ModelConfig) -> None:
    assert ModelConfig(**to_dict(config)) == config


@pytest.mark.parametrize(("embedding_dim", "heads"), [(32, 4), (128, 4), (6, 3), (4, 2), (2, 1), (10, 1)])
def test_the_default_number_of_heads_divides_the_width(embedding_dim: int, heads: int) -> None:
    assert ModelConfig(embedding_dim=embedding_dim).num_heads == heads


def test_an_unknown_setting_error_names_the_closest_one() -> None:
    with pytest.raises(InputError, match="did you mean 'learning_rate'"):
        make_configs({"learnig_rate": 1e-3}, vocab_size=65)
    for name in ("huge", None, ["nano"], {}, np.array(["nano", "small"])):
        with pytest.raises(InputError, match="choose one of sprint, nano, small, medium"):
            preset(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "value"), [("final_learning_rate", "final_lr_fraction", 0.1), ("similarity", "qk_norm", "cosine")]
)
def test_an_old_setting_name_raises_an_error_with_the_new_one(old: str, new: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^{old} is now {new}\\. "):
        make_configs({old: value}, vocab_size=65)


def test_current_names_maps_old_setting_names() -> None:
    assert current_names({"similarity": "cosine", "num_heads": 2}) == {"qk_norm": True, "num_heads": 2}
    assert current_names({"similarity": "dot"}) == {"qk_norm": False}
    assert current_names({"final_learning_rate": 0.5, "seed": 1}) == {"final_lr_fraction": 0.5, "seed": 1}
    current = {**to_dict(ModelConfig(qk_norm=True)), **to_dict(TrainConfig())}
    assert current_names(current) == current
    with pytest.raises(InputError, match="qk_norm is 'angle'"):
        ModelConfig(**current_names({"similarity": "angle"}))


def test_a_preset_is_a_copy() -> None:
    preset("nano")["num_layers"] = 7
    assert PRESETS["nano"]["num_layers"] == 2


ODD_VALUES: list[Any] = [
    None,
    True,
    False,
    math.nan,
    math.inf,
    -math.inf,
    -1,
    10**30,
    10**400,  # too large for a float
    10**5000,  # too long for Python to print
    "",
    "12",
    [],
    {},
    (),
    b"",
    1j,
    object(),
    np.bool_(True),
    np.array(["adamw", "muon"]),
    np.array([1, 2]),
    np.float32(math.nan),
    np.int64(-1),
]


@pytest.mark.parametrize("name", [f.name for cls in (ModelConfig, TrainConfig) for f in fields(cls)])
def test_invalid_values_raise_an_error_that_names_the_setting(name: str) -> None:
    for value in ODD_VALUES:
        if name == "num_heads" and value is None:
            continue  # the default
        if name == "qk_norm" and isinstance(value, bool):
            continue  # the only valid values
        with pytest.raises(InputError) as caught:
            make_configs({name: value}, vocab_size=65)
        assert name in str(caught.value) and "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200


def test_numpy_numbers_are_converted_to_python_numbers() -> None:
    numpy_values = {
        "embedding_dim": np.int64(64),
        "num_heads": np.uint8(2),
        "dropout": np.float32(0.5),
        "threads": np.int8(2),
    }
    model, train = make_configs(
        {**numpy_values, "learning_rate": np.float64(0.5), "grad_clip": np.int32(3)}, np.int64(65)
    )
    plain = {"embedding_dim": 64, "num_heads": 2, "dropout": 0.5, "threads": 2, "learning_rate": 0.5, "grad_clip": 3}
    assert (model, train) == make_configs(plain, 65)
    assert {type(value) for value in {**to_dict(model), **to_dict(train)}.values()} == {int, float, str, bool}


@given(st.integers(1, 300), st.integers(1, 70), st.sampled_from(["rotary", "learned"]))
def test_num_heads_that_does_not_divide_the_width_is_rejected(
    embedding_dim: int, num_heads: int, position: str
) -> None:
    try:
        config = ModelConfig(embedding_dim=embedding_dim, num_heads=num_heads, position=position)
    except InputError:
        assert num_heads > 64 or embedding_dim % num_heads or (embedding_dim // num_heads) % 2
    else:
        assert config.head_dim * config.heads == embedding_dim


@pytest.mark.parametrize("cls", [ModelConfig, TrainConfig])
def test_every_field_has_a_help_text(cls: type) -> None:
    for field in fields(cls):
        assert len(field.metadata["help"]) > 10
