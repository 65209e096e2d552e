"""Weights laid out for the numpy engine: once for a model, whoever writes with it, until a number of them changes."""

from __future__ import annotations

from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np

from nanollm.inference.numpy_engine import Weights
from nanollm.model import TransformerLanguageModel

_known: WeakKeyDictionary[TransformerLanguageModel, tuple[list[np.ndarray], Weights]] = WeakKeyDictionary()
_lock = Lock()


def weights_of(model: TransformerLanguageModel) -> Weights:
    """The model's weights as they are now.

    Whether they still are what was laid out is found by comparing every number with a copy. PyTorch's own counters of
    changes would be quicker to ask, but do not see what is written through `.data` or numpy; and comparing reads the
    weights twice, which is what two characters cost.
    """
    current = [parameter.detach().numpy() for parameter in model.parameters()]
    with _lock:  # eight streams that begin together lay out once
        if (found := _known.get(model)) is not None and all(map(np.array_equal, found[0], current)):
            return found[1]
        copies = [array.copy() for array in current]  # first, so that a change meanwhile is noticed next time
        weights = Weights.of(model)
        _known[model] = copies, weights
        return weights
