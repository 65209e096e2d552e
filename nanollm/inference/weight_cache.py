"""Cache of NumpyEngine weights: one set per model, shared by all streams, rebuilt when the model's weights change."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from nanollm.inference.numpy_engine import Weights

if TYPE_CHECKING:
    from nanollm.model import TransformerLanguageModel

_cache: WeakKeyDictionary[TransformerLanguageModel, tuple[list[np.ndarray], Weights]] = WeakKeyDictionary()
_lock = Lock()


def cached_weights(model: TransformerLanguageModel) -> Weights:
    """The model's current weights, prepared for NumpyEngine.

    Whether cached weights are still current is decided by comparing every number with a copy. PyTorch's version
    counters would be faster, but miss changes made through `.data` or numpy. The comparison costs as much as reading
    the weights twice, that is about as much as generating two characters.
    """
    current = [parameter.detach().numpy() for parameter in model.parameters()]
    with _lock:  # streams that start together prepare the weights once
        if (cached := _cache.get(model)) is not None and all(map(np.array_equal, cached[0], current)):
            return cached[1]
        copies = [array.copy() for array in current]  # before preparing, so that a concurrent change is noticed later
        weights = Weights.from_model(model)
        _cache[model] = copies, weights
        return weights
