"""PyTorch inference engine: the model's own forward() with a key-value cache, for batches and for GPUs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nanollm.model import Cache, TransformerLanguageModel


class TorchEngine:
    """The interface of NumpyEngine for B texts of equal length: ids are (T, B). Reads the model's current weights."""

    def __init__(self, model: TransformerLanguageModel, batch_size: int = 1) -> None:
        self.model, self.config = model, model.config
        self.cache = Cache(model.config, batch_size, model.embedding.weight.device)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Start new windows with ids (T, B), 1 ≤ T ≤ context_length; next-character logits (B, V)."""
        self.cache.length = 0
        return self._advance(ids)

    def next(self, ids: Sequence[int]) -> np.ndarray:
        """Append one character to each window, ids (B,); next-character logits (B, V)."""
        return self._advance(np.array([ids]))

    @torch.inference_mode()
    def _advance(self, ids: np.ndarray) -> np.ndarray:
        if was_training := self.model.training:  # eval() walks all modules: too slow to call for every character
            self.model.eval()
        batch = torch.as_tensor(ids.T.astype(np.int64), device=self.model.embedding.weight.device)
        logits = self.model(batch, cache=self.cache)  # (B, T, V)
        if was_training:
            self.model.train()
        return logits[:, -1].float().cpu().numpy()
