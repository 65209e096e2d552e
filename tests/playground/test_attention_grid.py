"""attention_grid.py and its neighbours: what goes to the browser, and what comes back from it."""

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
from playground.attention.components.attention_grid import chosen_head, ranked
from playground.attention.components.layers import chosen_place
from playground.attention.components.switches import part_named, parts_off
from playground.components.format import percent, signed
from playground.services.wire_format import pack_attention


def unpacked(value: dict) -> np.ndarray:
    """The weights (L, H, T, T) that the browser makes of it: inside.js, stated again."""
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
def test_what_the_browser_unpacks_is_what_was_packed(layers: int, heads: int, T: int, seed: int) -> None:
    weights = np.tril(np.random.default_rng(seed).exponential(size=(layers, heads, T, T)))
    weights /= weights.sum(axis=-1, keepdims=True)
    value = pack_attention(weights, ["x"] * T)
    # Half of a 255th of the root: the weight w is off by at most √w / 255 and a little.
    assert np.abs(unpacked(value) - weights).max() <= 1 / 255 + 1e-5
    assert value["brightest"] == [color_limit(head) for layer in weights for head in layer]


def test_small_weights_stay_apart_and_few_bytes_are_sent() -> None:
    weights = np.tril(np.full((6, 4, 192, 192), 1 / 192, dtype=np.float32))
    value = pack_attention(weights, list("a <\n") * 48)
    assert unpacked(value)[5, 3, 191, 0] == pytest.approx(1 / 192, abs=2e-3)
    assert len(value["weights"]) < 600_000  # the shape of medium: a byte a weight, and nothing for the future


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
def test_any_value_is_a_head_of_the_model(value: object, head: tuple[int, int]) -> None:
    assert chosen_head(value, layers=6, heads=4) == head


@pytest.mark.parametrize(
    ("value", "index"), [(0, 0), (4, 4), (5, 4), (-1, 4), (None, 4), ("2", 4), (True, 4), (1.0, 4)]
)
def test_any_value_is_a_place_of_the_text(value: object, index: int) -> None:
    assert chosen_place(value, 5) == index


PARTS = st.builds(Part, st.just("head"), st.integers(0, 30), st.integers(0, 30)) | st.builds(
    Part, st.sampled_from(["feed_forward", "layer"]), st.integers(0, 30)
)


@given(PARTS)
def test_a_part_is_found_by_its_label(part: Part) -> None:
    assert part_named(part.label) == part


@pytest.mark.parametrize("label", ["", "L0", "L1·H0", "H1", "L1H1", "L1·H1 ", "L-1", "L1·FF1", "L²", 7, None, ["L1"]])
def test_what_is_no_label_gets_a_sentence(label: object) -> None:
    with pytest.raises(InputError, match="Name a part"):
        part_named(label)


@given(st.lists(PARTS, max_size=8))
def test_of_a_board_only_what_the_model_has_counts(parts: list[Part]) -> None:
    config = ModelConfig(10, 16, 3, 16, num_heads=4)
    found = parts_off([part.label for part in parts] + ["nonsense", None], config)
    assert found == [part for part in parts if part.layer < 3 and part.head < 4]
    assert parts_off("L1", config) == parts_off(None, config) == []


def test_a_ranking_is_json() -> None:
    effects = [HeadEffect(Part("head", 0, 1), 0.25, 0.01), HeadEffect(Part("head", 1, 0), -0.5, math.nan)]
    value = ranked(effects, 2, "said")
    assert value["of"] == {"L1·H2": {"increase": 0.25, "error": 0.01}, "L2·H1": {"increase": -0.5, "error": None}}


def test_numbers_as_the_page_says_them() -> None:
    assert [percent(share) for share in (0.0, 0.001, 0.124, 1.0)] == ["0%", "< 1%", "12%", "100%"]
    assert [signed(0.0312), signed(-0.0312, 2)] == ["+0.031", "−0.03"]
