"""The model itself as an engine, wherever its weights live: nothing is stated again, forward() keeps a cache."""

from __future__ import annotations

import numpy as np
import torch

from nanollm.model import Cache, TransformerLanguageModel


class TorchEngine:
    """The same two calls as NumpyEngine. Computes with the model's weights as they are at each call."""

    def __init__(self, model: TransformerLanguageModel) -> None:
        self.model, self.config = model, model.config
        self.cache = Cache(model.config)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Forget the window and read ids (T,), 1 ≤ T ≤ context_length; logits (V,) for the character after them."""
        device = self.model.embedding.weight.device
        self.cache = Cache(self.config, device=device)
        return self._advance(torch.as_tensor(np.asarray(ids, np.int64), device=device))

    def next(self, id: int) -> np.ndarray:
        """Read one more character; logits (V,) for the one after it."""
        return self._advance(torch.tensor([id], device=self.model.embedding.weight.device))

    @torch.no_grad()
    def _advance(self, ids: torch.Tensor) -> np.ndarray:
        was_training = self.model.training
        self.model.eval()
        logits = self.model(ids[None], cache=self.cache)  # (1, T, V)
        self.model.train(was_training)
        return logits[0, -1].float().cpu().numpy()
