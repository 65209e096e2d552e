"""attention_grid.py: weights on their way to the browser, and the chosen head on its way back."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from playground.components.attention_grid import chosen_head, packed


def test_a_byte_a_weight_and_small_weights_stay_apart():
    weights = np.tril(np.full((2, 3, 5, 5), 0.01, dtype=np.float32))
    weights[0, 0, 0, 0] = 1.0
    value = packed(weights, list("a <\n\t"))
    roots = np.frombuffer(base64.b64decode(value["weights"]), dtype=np.uint8).reshape(2, 3, 5, 5)
    assert (value["layers"], value["heads"], value["characters"]) == (2, 3, ["a", " ", "<", "\n", "\t"])
    assert np.allclose((roots / 255.0) ** 2, weights, atol=0.004)
    assert roots[1, 2, 4, 0] > 20


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
def test_any_value_is_a_head_of_the_model(value, head):
    assert chosen_head(value, layers=6, heads=4) == head
