"""Planted backup heads are found, and none are reported for a model without them."""

from __future__ import annotations

import numpy as np
import pytest

from nanollm.errors import InputError
from nanollm.explain.ablation import Part
from nanollm.explain.backup_heads import find_backup_pair
from nanollm.model import TransformerLanguageModel
from tests.planted import Planted

IDS = np.resize([0, 2, 3], 2000)


def model_with(heads: list[tuple[int, int]]) -> TransformerLanguageModel:
    """Each of the heads alone predicts the periodic text with confidence."""
    planted = Planted(vocab_size=4, context_length=64, num_layers=2)
    for layer, head in heads:
        planted.back(layer, head, 2).writes(layer, head, 6 * planted.character)
    return planted.model


@pytest.mark.parametrize("layer", [0, 1])
def test_two_redundant_heads_are_found(layer: int) -> None:
    model = model_with([(layer, 0), (layer, 1)])
    found = find_backup_pair(model, IDS, None)
    assert found is not None and found.pair == (Part("head", layer, 0), Part("head", layer, 1))
    assert found.together > 5 * sum(map(abs, found.alone)) and found.error < found.together / 10


def test_a_single_head_has_no_backup() -> None:
    model = model_with([(0, 0)])
    assert find_backup_pair(model, IDS, None) is None
    with pytest.raises(InputError):
        find_backup_pair(model, IDS[:3], None)
