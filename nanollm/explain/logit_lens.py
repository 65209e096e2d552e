"""Layer by layer: what the model would say if it stopped early, and who spoke for the character that it says.

The residual stream is a sum to which every head and block adds, and the last step that reads it is almost linear. So
the stream can be read after any layer as if it were the last (nostalgebraist 2020, "interpreting GPT: the logit
lens"), and a logit can be shared out among those who added to the stream (direct logit attribution: Elhage et al. 2021,
"A Mathematical Framework for Transformer Circuits"). Only direct: what a head does by way of later layers is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.errors import InputError
from nanollm.explain.context_window import blocks, last_window, require_place
from nanollm.model import EPSILON, Trace, TransformerLanguageModel, evaluation_mode
from nanollm.tokenizer import CharTokenizer


@dataclass(frozen=True)
class LogitLens:
    """What each layer would say at each place of a text."""

    probabilities: np.ndarray  # (L + 1, T, V) float32; [0] is before the first layer, [L] what the model says
    text: str  # the T characters of the window: the end of a text that is longer
    skipped: int  # characters before it

    @property
    def likeliest(self) -> np.ndarray:
        """(L + 1, T): the id of the likeliest next character."""
        return self.probabilities.argmax(axis=-1)


@dataclass(frozen=True)
class Contributions:
    """Who added what to the logit of one character at one place; all of them together are the logit.

    Logits count only relative to one another: what raises all characters alike changes nothing that the model says.
    """

    logit: float
    embedding: float  # the character that stands there
    position: float  # 0 unless positions are learned
    heads: np.ndarray  # (L, H) float64
    attention_biases: np.ndarray  # (L,) float64: of the output projections, which belong to no head
    feed_forwards: np.ndarray  # (L,) float64, with their biases
    text: str  # the window that was read
    skipped: int
    place: int  # in the window, from 0
    character: str  # whose logit it is

    def sum(self) -> float:
        """All contributions added up: the logit, but for rounding."""
        arrays = self.heads.sum() + self.attention_biases.sum() + self.feed_forwards.sum()
        return float(self.embedding + self.position + arrays)


def logit_lens(model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str) -> LogitLens:
    """What each layer would say, over a text or the end of it that fits into the window.

    Raises InputError if the text is empty or has characters that the vocabulary lacks.
    """
    window, trace = last_window(model, tokenizer, text), Trace(weights=False)
    with evaluation_mode(model):
        model(window.ids, trace=trace)
        said = model.unembed(torch.cat(trace.residual)).float().softmax(dim=-1)  # (L + 1, T, V)
    return LogitLens(said.cpu().numpy(), window.text, window.skipped)


def contributions(
    model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str, character: str, place: int = -1
) -> Contributions:
    """Each part's direct contribution to the logit of `character` as the one after `place` of the window.

    The last LayerNorm divides by a length that all parts determine together; here that length is kept as it is.
    Raises InputError as logit_lens() does, and for a place outside the window or an unknown character.
    """
    window, trace = last_window(model, tokenizer, text), Trace(weights=False)
    place = require_place(place, len(window.text))
    if len(character) != 1:
        raise InputError("Choose one character whose logit is to be shared out.")
    id = int(tokenizer.encode(character)[0])
    with evaluation_mode(model):
        logits = model(window.ids, trace=trace)
        direction = _direction(model, id, trace.residual[-1][0, place])
        embedding = model.embedding.weight[window.ids[0, place]]
        position = model.positions.weight[place] if model.positions is not None else torch.zeros_like(embedding)
        heads, biases, feed_forwards = [], [], []
        for block, x, head_outputs in zip(blocks(model), trace.residual, trace.head_outputs, strict=False):
            output = block.attention.output
            by_head = output.weight.unflatten(1, (model.config.heads, model.config.head_dim))  # (D, D) → (D, H, K)
            added = torch.einsum("dhk,hk->hd", by_head, head_outputs[0, :, place])  # (H, D)
            middle = x[0, place] + added.sum(dim=0) + output.bias  # the stream between attention and feed-forward
            heads.append(added)
            biases.append(output.bias)
            feed_forwards.append(block.feed_forward(block.feed_forward_norm(middle)))
        share = lambda parts: (torch.stack(parts).double() @ direction).cpu().numpy()  # noqa: E731
        return Contributions(
            logit=float(logits[0, place, id]),
            embedding=float(share([embedding])[0]),
            position=float(share([position])[0]),
            heads=share(heads),
            attention_biases=share(biases),
            feed_forwards=share(feed_forwards),
            text=window.text,
            skipped=window.skipped,
            place=place,
            character=character,
        )


def _direction(model: TransformerLanguageModel, id: int, x: Tensor) -> Tensor:
    """The vector (D,) whose product with what a part added is its share of a logit, for the final stream x (D,).

    logit = Σ w g (x - mean(x)) / σ = Σ (w g - mean(w g)) x / σ, with w the character's embedding, g LayerNorm's gain.
    """
    scaled = (model.embedding.weight[id] * model.norm.gain).double()
    return (scaled - scaled.mean()) / torch.sqrt(x.double().var(correction=0) + EPSILON)
