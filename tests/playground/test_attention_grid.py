"""Values that the components of the Attention tab send to the browser, and values that come back from it."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.charts.attention import color_limit
from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.ablation import HeadEffect, Part
from playground.attention.components.attention_grid import parse_head, ranking_value
from playground.attention.components.layers import parse_place
from playground.attention.components.switches import part_named, parts_off
from playground.components.format import percent, signed
from playground.services.wire_format import pack_attention


def unpacked(value: dict) -> np.ndarray:
    """Unpack the weights (L, H, T, T) like the browser does in inspection_store.js."""
    T = len(value["characters"])
    roots = np.frombuffer(base64.b64decode(value["weights"]), dtype=np.uint8)
    weights = np.zeros((value["layers"], value["heads"], T, T))
    size = T * (T + 1) // 2
    for layer in range(value["layers"]):
        for head in range(value["heads"]):
            for row in range(T):
                start = (layer * value["heads"] + head) * size + row * (row + 1) // 2
                weights[layer, head, row, : row + 1] = (roots[start : start + row + 1] / 255) ** 2
    return weights


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_weights_survive_packing(layers: int, heads: int, T: int, seed: int) -> None:
    weights = np.tril(np.random.default_rng(seed).exponential(size=(layers, heads, T, T)))
    weights /= weights.sum(axis=-1, keepdims=True)
    value = pack_attention(weights, ["x"] * T)
    # The root is off by at most half of 1/255, so the weight w by about √w / 255.
    assert np.abs(unpacked(value) - weights).max() <= 1 / 255 + 1e-5
    assert value["brightest"] == [color_limit(head) for layer in weights for head in layer]


def test_small_weights_are_precise_and_compact() -> None:
    weights = np.tril(np.full((6, 4, 192, 192), 1 / 192, dtype=np.float32))
    value = pack_attention(weights, list("a <\n") * 48)
    assert unpacked(value)[5, 3, 191, 0] == pytest.approx(1 / 192, abs=2e-3)
    assert len(value["weights"]) < 600_000  # the shape of medium: one byte per weight, and none above the diagonal


@pytest.mark.parametrize(
    ("value", "head"),
    [
        ({"layer": 2, "head": 3}, (1, 2)),
        ({"layer": 99, "head": -1}, (5, 0)),
        ({"layer": True, "head": "2"}, (0, 0)),
        ({"layer": 1.5}, (0, 0)),
        (None, (0, 0)),
        ([], (0, 0)),
    ],
)
def test_any_value_is_parsed_to_a_head_of_the_model(value: object, head: tuple[int, int]) -> None:
    assert parse_head(value, layers=6, heads=4) == head


@pytest.mark.parametrize(
    ("value", "index"), [(0, 0), (4, 4), (5, 4), (-1, 4), (None, 4), ("2", 4), (True, 4), (1.0, 4)]
)
def test_any_value_is_parsed_to_a_place_in_the_text(value: object, index: int) -> None:
    assert parse_place(value, 5) == index


PARTS = st.builds(Part, st.just("head"), st.integers(0, 30), st.integers(0, 30)) | st.builds(
    Part, st.sampled_from(["feed_forward", "layer"]), st.integers(0, 30)
)


@given(PARTS)
def test_labels_are_parsed(part: Part) -> None:
    assert part_named(part.label) == part


@pytest.mark.parametrize("label", ["", "L0", "L1·H0", "H1", "L1H1", "L1·H1 ", "L-1", "L1·FF1", "L²", 7, None, ["L1"]])
def test_invalid_labels_are_rejected(label: object) -> None:
    with pytest.raises(InputError, match="Unknown part"):
        part_named(label)


@given(st.lists(PARTS, max_size=8))
def test_only_parts_of_the_model_are_switched_off(parts: list[Part]) -> None:
    config = ModelConfig(10, 16, 3, 16, num_heads=4)
    found = parts_off([part.label for part in parts] + ["nonsense", None], config)
    assert found == [part for part in parts if part.layer < 3 and part.head < 4]
    assert parts_off("L1", config) == parts_off(None, config) == []


def test_a_ranking_is_valid_json() -> None:
    effects = [HeadEffect(Part("head", 0, 1), 0.25, 0.01), HeadEffect(Part("head", 1, 0), -0.5, math.nan)]
    value = ranking_value(effects, 2, "text")
    assert value["of"] == {"L1·H2": {"increase": 0.25, "error": 0.01}, "L2·H1": {"increase": -0.5, "error": None}}


def test_numbers_are_formatted() -> None:
    assert [percent(share) for share in (0.0, 0.001, 0.124, 1.0)] == ["0%", "<1%", "12%", "100%"]
    assert [signed(0.0312), signed(-0.0312, 2)] == ["+0.031", "−0.03"]
