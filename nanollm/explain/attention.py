"""Where each head looks: the attention weights of one window of text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nanollm.explain.context_window import last_window
from nanollm.model import Trace, TransformerLanguageModel, evaluation_mode
from nanollm.tokenizer import CharTokenizer


@dataclass(frozen=True)
class AttentionMap:
    """Attention over a text. `weights[l, h, t, s]`: how much layer l's head h, at character t, takes from character s.

    Every row over s sums to 1; what lies after t is 0.
    """

    weights: np.ndarray  # (L, H, T, T) float32
    text: str  # the T characters of the window
    skipped: int  # characters of the given text before the window

    @property
    def characters(self) -> list[str]:
        """T of them."""
        return list(self.text)

    def by_distance(self) -> np.ndarray:
        """(L, H, T): the share of its attention that a head spends so many characters back, averaged over the text."""
        T = len(self.text)
        diagonals = (self.weights.diagonal(-distance, axis1=2, axis2=3) for distance in range(T))  # each (L, H, T - d)
        return np.stack([diagonal.sum(axis=-1) / T for diagonal in diagonals], axis=-1)


def attention_map(model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str) -> AttentionMap:
    """The weights over a text; of a text longer than the model's window, over its end.

    Raises InputError if the text is empty or has characters that the vocabulary lacks.
    """
    window, trace = last_window(model, tokenizer, text), Trace()
    with evaluation_mode(model):
        model(window.ids, trace=trace)
    weights = torch.cat(trace.attention)  # L × (1, H, T, T) → (L, H, T, T)
    return AttentionMap(weights.float().cpu().numpy(), window.text, window.skipped)
