"""The model itself as an engine, for many streams at once and wherever its weights live: forward() keeps a cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nanollm.model import Cache, TransformerLanguageModel


class TorchEngine:
    """The same two calls as NumpyEngine, for B streams of equal length: T characters come as ids (T, B).

    Computes with the model's weights as they are at each call.
    """

    def __init__(self, model: TransformerLanguageModel, streams: int = 1) -> None:
        self.model, self.config = model, model.config
        self.cache = Cache(model.config, streams, model.embedding.weight.device)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Forget the windows and read ids (T, B), 1 ≤ T ≤ context_length; logits (B, V) for what comes after them."""
        self.cache.length = 0
        return self._advance(ids)

    def next(self, ids: Sequence[int]) -> np.ndarray:
        """Read one more character of each stream, ids (B,); logits (B, V) for what comes after it."""
        return self._advance(np.array([ids]))

    @torch.inference_mode()
    def _advance(self, ids: np.ndarray) -> np.ndarray:
        device = self.model.embedding.weight.device
        was_training = self.model.training
        if was_training:
            self.model.eval()
        logits = self.model(torch.as_tensor(ids.T.astype(np.int64), device=device), cache=self.cache)  # (B, T, V)
        if was_training:
            self.model.train()
        return logits[:, -1].float().cpu().numpy()
