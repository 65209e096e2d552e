"""The model in plain numpy, with a key-value cache: fast for one text at a time.

    id → embedding → num_layers × (attention, feed-forward) → normalize → unembedding → logits (V,) for the next id

Attention is causal, so nothing computed for earlier characters ever changes. Their keys and values are cached, and a
new character costs one row of computation instead of a whole window. For a small model that is about forty tiny
operations, where the fixed cost per call of a framework would dominate. numpy's is the lowest available, in particular
when results go into preallocated arrays (see Buffers).

Four tricks reduce the work further. Each moves a computation from every character to the weights, done once:

1. Mean-free residual stream. LayerNorm is (x - mean) / sqrt(variance + ε) · gain, and every reader of the stream x
   applies it, so the mean of x never matters. All weights that write into the stream have their mean subtracted in
   advance. Then x always has mean 0, and LayerNorm reduces to dividing by the root mean square, as in RMSNorm.
2. Folded gains. The gain is a scale per input of the linear map that follows: multiplying it into that matrix once
   gives the same result.
3. Folded attention scale. The 1/√K of softmax(QKᵀ/√K)V is multiplied into the query weights.
4. Augmented matrices. A column of ones next to the values makes the product with the unnormalized attention weights
   return the softmax denominator as well; a column of ones next to the head outputs, with the bias as the last row of
   the output matrix, saves the addition of the bias.

NumpyEngine._advance is the model from embedding to logits, _attend its attention and _feed_forward the rest of a block.
Shapes in the comments: T new characters, S characters in the window including them, D embedding_dim, H heads of width
K = D / H, L num_layers, F ffn_hidden_dim, C context_length, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from nanollm.config import EPSILON, ROTARY_BASE, ModelConfig

if TYPE_CHECKING:  # generating a text takes less time than importing PyTorch
    from nanollm.model import TransformerLanguageModel

CHUNK = 128  # characters read in one pass; bounds the memory for scores, (H, CHUNK, S)


@dataclass(frozen=True)
class Layer:
    """The weights of one block, oriented for `rows @ matrix`."""

    qkv: np.ndarray  # (D, 3D): queries of all heads, then keys, then values
    output: np.ndarray  # (D + 1, D): the last row is the bias
    up: np.ndarray  # (D, F)
    down: np.ndarray  # (F, D)
    down_bias: np.ndarray  # (D,)


@dataclass(frozen=True)
class Weights:
    """A model's weights with everything precomputed that does not depend on the text; read-only, shared by streams."""

    config: ModelConfig
    embedding: np.ndarray  # (V, D)
    positions: np.ndarray | None  # (C, D) learned positions
    rotary: np.ndarray | None  # (C, D) complex rotary positions: e^(iθ) for each pair in all queries, then all keys
    layers: tuple[Layer, ...]
    unembedding: np.ndarray  # (D, V)

    @classmethod
    def from_model(cls, model: TransformerLanguageModel) -> Weights:
        """Prepare a copy of the model's current weights; training the model further does not change it."""
        state = {name: tensor.detach().cpu().float().numpy() for name, tensor in model.state_dict().items()}
        return cls.from_arrays(model.config, state)

    @classmethod
    def from_arrays(cls, config: ModelConfig, state: Mapping[str, np.ndarray]) -> Weights:
        """Prepare the float32 arrays of a model's state dict, which must have the shapes that the config implies."""
        embedding = state["embedding.weight"]
        learned = config.position == "learned"
        return cls(
            config=config,
            embedding=_mean_free(embedding),
            positions=_mean_free(state["positions.weight"]) if learned else None,
            rotary=None if learned else _rotary(config),
            layers=tuple(_layer(config, state, f"blocks.{i}.") for i in range(config.num_layers)),
            unembedding=_with_gain(embedding, state["norm.gain"]),
        )


_cache: WeakKeyDictionary[TransformerLanguageModel, tuple[list[np.ndarray], Weights]] = WeakKeyDictionary()
_cache_lock = Lock()


def cached_weights(model: TransformerLanguageModel) -> Weights:
    """The model's current weights, prepared for NumpyEngine and shared by all streams of the model.

    Whether cached weights are still current is decided by comparing every number with a copy. PyTorch's version
    counters would be faster, but miss changes made through `.data` or numpy. The comparison costs as much as reading
    the weights twice, that is about as much as generating two characters.
    """
    current = [parameter.detach().numpy() for parameter in model.parameters()]
    with _cache_lock:  # streams that start together prepare the weights once
        if (cached := _cache.get(model)) is not None and all(map(np.array_equal, cached[0], current)):
            return cached[1]
        copies = [array.copy() for array in current]  # before preparing, so that a concurrent change is noticed later
        weights = Weights.from_model(model)
        _cache[model] = copies, weights
        return weights


class Buffers:
    """Preallocated arrays for T characters, reused for every layer and call, and views of their parts."""

    def __init__(self, config: ModelConfig, T: int) -> None:
        D, H, K = config.embedding_dim, config.heads, config.head_dim
        self.rows = T
        self.x = np.empty((T, D), np.float32)  # residual stream
        self.normalized = np.empty((T, D), np.float32)
        self.qkv = np.empty((T, 3 * D), np.float32)
        self.q, self.k, self.v = self.qkv.reshape(T, 3, H, K).transpose(1, 2, 0, 3)  # views, each (H, T, K)
        self.qk = self.qkv[:, : 2 * D]
        self.head_outputs = np.ones((T, D + 1), np.float32)  # concatenated heads, then the column of ones
        self.heads = self.head_outputs[:, :D].reshape(T, H, K).transpose(1, 0, 2)  # a view (H, T, K)
        self.hidden = np.empty((T, config.ffn_hidden_dim), np.float32)
        self.update = np.empty((T, D), np.float32)  # what a sub-layer adds to x


class NumpyEngine:
    """Next-character logits of one text: read() starts a window, next() appends one character to it."""

    def __init__(self, weights: Weights) -> None:
        self.weights, self.config = weights, weights.config
        L, H, K, C = self.config.num_layers, self.config.heads, self.config.head_dim, self.config.context_length
        self.keys = np.empty((L, H, K, C), np.float32)  # transposed: the scores of a query are one product
        self.values = np.ones((L, H, C, K + 1), np.float32)  # the last column stays 1
        self.length = 0
        self._buffers = {1: Buffers(self.config, 1)}

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Start a new window with ids (T,), 1 ≤ T ≤ C; logits (V,) for the character after them."""
        self.length = 0
        *earlier, last = np.split(np.asarray(ids), range(CHUNK, len(ids), CHUNK))
        for chunk in earlier:
            self._advance(chunk, self._buffers_for(CHUNK))
        return self._advance(last, self._buffers_for(len(last)))

    def next(self, id: int) -> np.ndarray:
        """Append one character, at most the C-th of the window; logits (V,) for the character after it."""
        return self._advance(id, self._buffers[1])

    def _buffers_for(self, T: int) -> Buffers:
        if T not in self._buffers:
            self._buffers[T] = Buffers(self.config, T)
        return self._buffers[T]

    def _advance(self, ids: np.ndarray | int, b: Buffers) -> np.ndarray:
        weights, start = self.weights, self.length
        end = self.length = start + b.rows
        b.x[:] = weights.embedding[ids]
        if weights.positions is not None:
            b.x += weights.positions[start:end]
        rotary = weights.rotary[start:end] if weights.rotary is not None else None
        for layer, keys, values in zip(weights.layers, self.keys[..., :end], self.values[:, :, :end], strict=True):
            self._attend(b, layer, rotary, keys, values)
            self._feed_forward(b, layer)
        return _normalize(b)[-1].dot(weights.unembedding)

    def _attend(
        self, b: Buffers, layer: Layer, rotary: np.ndarray | None, keys: np.ndarray, values: np.ndarray
    ) -> None:
        """Add causal self-attention to b.x, and the new keys and values to the cache.

        keys (H, K, S) and values (H, S, K + 1) are the cache of this layer; its last T entries belong to the new
        characters.
        """
        T, K = b.rows, self.config.head_dim
        _normalize(b).dot(layer.qkv, b.qkv)
        if self.config.qk_norm:
            _normalize_queries_and_keys(b)
        if rotary is not None:  # neighbors in q and k are one complex number, rotated by its position
            pairs = b.qk.view(np.complex64)
            np.multiply(pairs, rotary, pairs)
        keys[:, :, -T:] = b.k.transpose(0, 2, 1)
        values[:, -T:, :K] = b.v
        scores = np.matmul(b.q, keys)  # (H, T, S)
        if T > 1:
            scores += _causal_mask(*scores.shape[1:])
        if not self.config.qk_norm:
            # Avoid overflow in exp. Not needed with normalized queries and keys: their scores are at most √K ≤ 64,
            # and a sum of 4096 terms of e^64 still fits into a float32.
            np.subtract(scores, np.maximum.reduce(scores, axis=-1, keepdims=True), scores)
        np.exp(scores, scores)
        weighted = np.matmul(scores, values)  # (H, T, K + 1): weighted values, and the softmax denominator
        np.divide(weighted[..., :K], weighted[..., K:], b.heads)
        b.head_outputs.dot(layer.output, b.update)
        np.add(b.x, b.update, b.x)

    def _feed_forward(self, b: Buffers, layer: Layer) -> None:
        """Add the feed-forward block, down(relu(up(x))), to b.x."""
        _normalize(b).dot(layer.up, b.hidden)
        np.maximum(b.hidden, 0, out=b.hidden)
        b.hidden.dot(layer.down, b.update)
        np.add(b.x, b.update, b.x)
        np.add(b.x, layer.down_bias, b.x)


def _normalize(b: Buffers) -> np.ndarray:
    """LayerNorm of mean-free rows, without its gain: x / sqrt(mean(x²) + ε), (T, D)."""
    D = b.x.shape[1]
    if b.rows == 1:  # a Python float is faster to compute than an array of one number
        row = b.x[0]
        scale = 1 / math.sqrt(row.dot(row) / D + EPSILON)
    else:
        scale = 1 / np.sqrt(np.einsum("td,td->t", b.x, b.x)[:, None] / np.float32(D) + np.float32(EPSILON))
    return np.multiply(b.x, scale, b.normalized)


def _normalize_queries_and_keys(b: Buffers) -> None:
    """RMS-normalize each query and key in place; queries are also divided by √K."""
    for part, scale in ((b.q, 1 / math.sqrt(b.q.shape[-1])), (b.k, 1)):
        mean_square = np.einsum("htk,htk->ht", part, part)[..., None] / np.float32(part.shape[-1])
        part *= np.float32(scale) / np.sqrt(mean_square + np.float32(EPSILON))


@lru_cache(maxsize=16)
def _causal_mask(T: int, S: int) -> np.ndarray:
    """(T, S) to be added to scores: -∞ for later characters, else 0. The T rows are the last T of the S characters."""
    return np.triu(np.full((T, S), -np.inf, np.float32), S - T + 1)


def _layer(config: ModelConfig, state: Mapping[str, np.ndarray], prefix: str) -> Layer:
    D = config.embedding_dim
    qkv = _with_gain(state[prefix + "attention.qkv.weight"], state[prefix + "attention_norm.gain"])
    if not config.qk_norm:
        qkv[:, :D] /= math.sqrt(config.head_dim)
    output, bias = state[prefix + "attention.output.weight"], state[prefix + "attention.output.bias"]
    return Layer(
        qkv=qkv,
        output=_mean_free(np.vstack([output.T, bias])),
        up=_with_gain(state[prefix + "feed_forward.up.weight"], state[prefix + "feed_forward_norm.gain"]),
        down=_mean_free(state[prefix + "feed_forward.down.weight"].T),
        down_bias=_mean_free(state[prefix + "feed_forward.down.bias"]),
    )


def _rotary(config: ModelConfig) -> np.ndarray:
    """The rotary factors e^(i·m·θ) of all positions (C, K / 2), repeated for all queries and keys: (C, D) complex.

    The angles are rounded to float32 like those of model.rotary_frequencies().
    """
    theta = np.float32(ROTARY_BASE) ** (-np.arange(0, config.head_dim, 2, dtype=np.float32) / config.head_dim)
    angles = np.outer(np.arange(config.context_length, dtype=np.float32), theta)
    return np.tile(np.exp(1j * angles), 2 * config.heads)


def _mean_free(weight: np.ndarray) -> np.ndarray:
    """Weights that write into the residual stream (..., D), with the mean of each row subtracted."""
    return np.ascontiguousarray(weight - weight.mean(axis=-1, keepdims=True))


def _with_gain(weight: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Weights that read the normalized stream, (out, D) → (D, out), with LayerNorm's gain multiplied in."""
    return np.ascontiguousarray((weight * gain).T)
