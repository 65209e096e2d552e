"""Heads that were made to stand in for each other are found, and where none does, none is."""

from __future__ import annotations

import numpy as np
import pytest

from nanollm.errors import InputError
from nanollm.explain.ablation import Part
from nanollm.explain.backup_heads import find_backup
from tests.planted import Planted

IDS = np.resize([0, 2, 3], 2000)


def planted(heads: list[tuple[int, int]]) -> Planted:
    """Each of the heads looks at what comes again, and is sure enough of it to need no other."""
    made = Planted(vocab_size=4, context_length=64, num_layers=2)
    for layer, head in heads:
        made.back(layer, head, 2).writes(layer, head, 6 * made.character)
    return made


@pytest.mark.parametrize("layer", [0, 1])
def test_two_that_do_the_same_are_found(layer: int) -> None:
    model = planted([(layer, 0), (layer, 1)]).model
    found = find_backup(model, IDS, None)
    assert found is not None and found.pair == (Part("head", layer, 0), Part("head", layer, 1))
    assert found.together > 5 * sum(map(abs, found.alone)) and found.error < found.together / 10


def test_where_one_does_all_nobody_stands_in() -> None:
    model = planted([(0, 0)]).model
    assert find_backup(model, IDS, None) is None
    with pytest.raises(InputError):
        find_backup(model, IDS[:3], None)
