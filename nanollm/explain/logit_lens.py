"""Logit lens and direct logit attribution: how a prediction builds up over the layers, and which parts raise a logit.

The residual stream is a sum of the outputs of all heads and blocks, and the unembedding that reads it is almost linear.
*Logit lens* (nostalgebraist 2020, "interpreting GPT: the logit lens"): unembed the stream after any layer as if it were
the last. *Direct logit attribution* (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"): split a
logit into the contributions of all parts. Only direct effects are included, no effects through later layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.config import EPSILON
from nanollm.errors import InputError
from nanollm.explain.context_window import blocks, last_window, require_index
from nanollm.model import Trace, TransformerLanguageModel, evaluation_mode
from nanollm.tokenizer import CharTokenizer


@dataclass(frozen=True)
class LogitLens:
    """Next-character probabilities after each layer, at each position of a text."""

    probabilities: np.ndarray  # (L + 1, T, V) float32; [0] before the first layer, [L] the model's own predictions
    text: str  # the T characters of the window
    skipped: int  # number of characters of the given text before the window


@dataclass(frozen=True)
class Contributions:
    """Direct contributions of all parts to the logit of one character at one position; they sum to the logit.

    Only differences between logits matter: a contribution that raises all characters equally changes no probability.
    """

    logit: float
    embedding: float  # token embedding of the character at this position
    position: float  # position embedding; 0 with rotary positions
    heads: np.ndarray  # (L, H) float64
    attention_biases: np.ndarray  # (L,) float64: biases of the output projections, which belong to no single head
    feed_forwards: np.ndarray  # (L,) float64, including their biases
    text: str  # the window
    skipped: int  # number of characters of the given text before the window
    index: int  # of the position in the window, from 0
    character: str  # the character whose logit is attributed

    def sum(self) -> float:
        """The sum of all contributions: the logit, up to rounding."""
        arrays = self.heads.sum() + self.attention_biases.sum() + self.feed_forwards.sum()
        return float(self.embedding + self.position + arrays)


def logit_lens(model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str) -> LogitLens:
    """Unembed the residual stream before the first layer and after each layer, over the last window of a text.

    Raises InputError if the text is empty or has characters outside the vocabulary.
    """
    window, trace = last_window(model, tokenizer, text), Trace(weights=False)
    with evaluation_mode(model):
        model(window.ids, trace=trace)
        probabilities = model.unembed(torch.cat(trace.residual)).float().softmax(dim=-1)  # (L + 1, T, V)
    return LogitLens(probabilities.cpu().numpy(), window.text, window.skipped)


def contributions(
    model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str, character: str, index: int = -1
) -> Contributions:
    """Attribute the logit of `character`, as the one after position `index` of the last window of a text, to all parts.

    The final LayerNorm divides by a standard deviation that all parts determine together; it is held constant here.
    Raises InputError as logit_lens() does, for an index outside the window, and for an unknown character.
    """
    window, trace = last_window(model, tokenizer, text), Trace(weights=False)
    index = require_index(index, len(window.text))
    if len(character) != 1:
        raise InputError(f"character ({character[:20]!r}) must be a single character, whose logit is attributed.")
    id = int(tokenizer.encode(character)[0])
    with evaluation_mode(model):
        logits = model(window.ids, trace=trace)
        direction = _direction(model, id, trace.residual[-1][0, index])
        embedding = model.embedding.weight[window.ids[0, index]]
        position = model.positions.weight[index] if model.positions is not None else torch.zeros_like(embedding)
        heads, biases, feed_forwards = [], [], []
        for block, x, outputs in zip(blocks(model), trace.residual, trace.head_outputs, strict=False):
            projection = block.attention.output
            by_head = projection.weight.unflatten(1, (model.config.heads, model.config.head_dim))  # (D, D) → (D, H, K)
            added = torch.einsum("dhk,hk->hd", by_head, outputs[0, :, index])  # (H, D)
            middle = x[0, index] + added.sum(dim=0) + projection.bias  # stream between attention and feed-forward
            heads.append(added)
            biases.append(projection.bias)
            feed_forwards.append(block.feed_forward(block.feed_forward_norm(middle)))
        attribute = lambda parts: (torch.stack(parts).double() @ direction).cpu().numpy()  # noqa: E731
        return Contributions(
            logit=float(logits[0, index, id]),
            embedding=float(attribute([embedding])[0]),
            position=float(attribute([position])[0]),
            heads=attribute(heads),
            attention_biases=attribute(biases),
            feed_forwards=attribute(feed_forwards),
            text=window.text,
            skipped=window.skipped,
            index=index,
            character=character,
        )


def _direction(model: TransformerLanguageModel, id: int, x: Tensor) -> Tensor:
    """The direction (D,) whose dot product with an output is its contribution to a logit, for final stream x (D,).

    logit = Σ w g (x - mean(x)) / σ = Σ (w g - mean(w g)) x / σ, with w the character's embedding, g the LayerNorm gain.
    """
    scaled = (model.embedding.weight[id] * model.norm.gain).double()
    return (scaled - scaled.mean()) / torch.sqrt(x.double().var(correction=0) + EPSILON)
