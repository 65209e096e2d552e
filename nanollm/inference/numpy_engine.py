"""The model a second time, in plain numpy, remembering what it has read.

What model.py computes for a whole window at once is computed here for the new characters only: keys and values of
earlier ones are kept. One character of a small model is some eighty tiny operations, and a framework's cost per call
is most of their time; numpy's is the smallest at hand.

Shapes in the comments: T new characters, S all that are in the window by then, D embedding_dim, H heads of width K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nanollm.model import EPSILON, ROTARY_BASE, TransformerLanguageModel


@dataclass(frozen=True)
class Layer:
    """One block's weights, laid out for `vector @ matrix`, each LayerNorm folded into the matrix that reads it."""

    qkv: np.ndarray  # (D, 3D)
    output: np.ndarray  # (D, D)
    output_bias: np.ndarray  # (D,)
    up: np.ndarray  # (D, F)
    down: np.ndarray  # (F, D)
    down_bias: np.ndarray  # (D,)


class NumpyEngine:
    """Reads characters one stream at a time: read() starts a window, next() adds to it; both give logits (V,)."""

    def __init__(self, model: TransformerLanguageModel) -> None:
        """Copies the weights as they are now; training the model further does not change what this engine writes."""
        self.config = config = model.config
        weights = {name: tensor.detach().cpu().float().numpy() for name, tensor in model.state_dict().items()}
        self.embedding = weights["embedding.weight"].copy()  # (V, D)
        self.positions = weights["positions.weight"].copy() if config.position == "learned" else None  # (C, D)
        self.unembedding = _folded(weights["embedding.weight"], weights["norm.gain"])  # (D, V)
        self.layers = [self._layer(weights, f"blocks.{i}.") for i in range(config.num_layers)]
        H, K, C = config.heads, config.head_dim, config.context_length
        self.keys = np.zeros((config.num_layers, H, K, C), np.float32)  # so that all scores are one product
        self.values = np.zeros((config.num_layers, H, C, K), np.float32)
        speed = ROTARY_BASE ** (-np.arange(0, K, 2, dtype=np.float32) / np.float32(K))
        angle = np.outer(np.arange(C, dtype=np.float32), speed)[:, None]  # (C, 1, K / 2), the same for all heads
        self.turn = np.exp(1j * angle).astype(np.complex64)
        self.length = 0

    def _layer(self, weights: dict[str, np.ndarray], at: str) -> Layer:
        qkv = weights[at + "attention.qkv.weight"].copy()  # (3D, D): queries first
        if self.config.similarity == "dot":
            qkv[: self.config.embedding_dim] /= math.sqrt(self.config.head_dim)  # the 1/√K of the scores
        return Layer(
            qkv=_folded(qkv, weights[at + "attention_norm.gain"]),
            output=_transposed(weights[at + "attention.output.weight"]),
            output_bias=weights[at + "attention.output.bias"].copy(),
            up=_folded(weights[at + "feed_forward.up.weight"], weights[at + "feed_forward_norm.gain"]),
            down=_transposed(weights[at + "feed_forward.down.weight"]),
            down_bias=weights[at + "feed_forward.down.bias"].copy(),
        )

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Forget the window and read ids (T,), 1 ≤ T ≤ context_length; logits (V,) for the character after them."""
        self.length = 0
        return self._advance(np.asarray(ids))

    def next(self, id: int) -> np.ndarray:
        """Read one more character; logits (V,) for the one after it."""
        return self._advance(np.array([id]))

    def _advance(self, ids: np.ndarray) -> np.ndarray:
        start, end = self.length, self.length + len(ids)
        x = self.embedding[ids]  # (T, D), a copy: the stream that every block adds to
        if self.positions is not None:
            x += self.positions[start:end]
        for index, layer in enumerate(self.layers):
            x += self._attend(x, index, layer, start, end) @ layer.output + layer.output_bias
            hidden = _norm_scale(x) * (x @ layer.up)  # (T, F)
            x += np.maximum(hidden, 0, out=hidden) @ layer.down + layer.down_bias
        self.length = end
        last = x[-1:]
        return (_norm_scale(last) * (last @ self.unembedding))[0]

    def _attend(self, x: np.ndarray, index: int, layer: Layer, start: int, end: int) -> np.ndarray:
        """What the heads gather for the new characters, side by side: (T, D)."""
        T, D = x.shape
        qkv = (_norm_scale(x) * (x @ layer.qkv)).reshape(T, 3, self.config.heads, self.config.head_dim)
        q, k, v = qkv[:, 0], qkv[:, 1], qkv[:, 2]  # (T, H, K)
        if self.config.similarity == "cosine":
            q, k = _to_unit_variance(q) / np.float32(math.sqrt(self.config.head_dim)), _to_unit_variance(k)
        if self.positions is None:
            q, k = _rotate(q, self.turn[start:end]), _rotate(k, self.turn[start:end])
        keys, values = self.keys[index], self.values[index]
        keys[:, :, start:end] = k.transpose(1, 2, 0)
        values[:, start:end] = v.transpose(1, 0, 2)
        scores = q.transpose(1, 0, 2) @ keys[:, :, :end]  # (H, T, S)
        if T > 1:
            scores += np.triu(np.full((T, end), -np.inf, np.float32), start + 1)  # nobody looks ahead
        np.exp(scores - scores.max(axis=-1, keepdims=True), out=scores)
        gathered = scores @ values[:, :end] / scores.sum(axis=-1, keepdims=True)  # (H, T, K)
        return gathered.transpose(1, 0, 2).reshape(T, D)


def _rotate(x: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Rotary positions on (T, H, K): neighbours (x[2i], x[2i + 1]) are a complex number, multiplied by e^(iθ)."""
    return (x.view(np.complex64) * turn).view(np.float32)


def _to_unit_variance(x: np.ndarray) -> np.ndarray:
    """Each vector of (T, H, K) scaled so that its mean square is 1."""
    return x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(EPSILON))


def _norm_scale(x: np.ndarray) -> np.ndarray:
    """1 / sqrt(variance + ε) of each row of (T, D): (T, 1). With it, x @ _folded(W, gain) is W of LayerNorm(x)."""
    D = x.shape[1]
    mean = x.sum(axis=1, keepdims=True) / D
    variance = np.einsum("td,td->t", x, x)[:, None] / D - mean * mean
    return 1 / np.sqrt(np.maximum(variance, 0) + np.float32(EPSILON))


def _folded(weight: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """(out, D) → (D, out), taking over LayerNorm's gain and its centring: W(x - mean(x)) = (W - rowmeans(W)) x."""
    scaled = weight * gain
    return _transposed(scaled - scaled.mean(axis=1, keepdims=True))


def _transposed(weight: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(weight.T)
