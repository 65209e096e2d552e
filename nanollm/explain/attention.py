"""Attention maps: the attention weights of every head over one window of text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nanollm.explain.context_window import last_window
from nanollm.model import Trace, TransformerLanguageModel, evaluation_mode
from nanollm.tokenizer import CharTokenizer


@dataclass(frozen=True)
class AttentionMap:
    """Attention weights over a text. `weights[l, h, t, s]` is the attention of head h in layer l from t to s.

    Every row over s sums to 1; entries with s > t are 0, because attention is causal.
    """

    weights: np.ndarray  # (L, H, T, T) float32
    text: str  # the T characters of the window
    skipped: int  # number of characters of the given text before the window

    @property
    def characters(self) -> list[str]:
        return list(self.text)

    def by_distance(self) -> np.ndarray:
        """Share of attention that each head spends d characters back, averaged over the text: (L, H, T)."""
        T = len(self.text)
        diagonals = (self.weights.diagonal(-distance, axis1=2, axis2=3) for distance in range(T))  # each (L, H, T - d)
        return np.stack([diagonal.sum(axis=-1) / T for diagonal in diagonals], axis=-1)


def attention_map(model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str) -> AttentionMap:
    """Compute the attention weights of all heads over a text, or over its last window if it is longer.

    Raises InputError if the text is empty or has characters outside the vocabulary.
    """
    window, trace = last_window(model, tokenizer, text), Trace()
    with evaluation_mode(model):
        model(window.ids, trace=trace)
    weights = torch.cat(trace.attention)  # L × (1, H, T, T) → (L, H, T, T)
    return AttentionMap(weights.float().cpu().numpy(), window.text, window.skipped)
