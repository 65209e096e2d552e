"""The model a second time, in plain numpy, remembering what it has read.

    id → embedding → num_layers × (attention, feed-forward) → normalise → unembedding → logits (V,) for the next id

A character looks only at itself and at earlier ones, so nothing that was computed for those ever changes. What they
offer to later characters, a key and a value in each head of each layer, is kept, and a new character costs one row of
arithmetic instead of a window of it. For small models that is some forty tiny operations, and a framework's cost per
call would be most of the time; numpy's is the smallest at hand, least where results go into arrays already there.

Read NumpyEngine first: _advance is the model from embedding to logits, _attend its attention, _feed_forward the rest of
a block. How the weights are laid out for them stands below.

Shapes in the comments: T new characters, S all in the window with them, D embedding_dim, H heads of width K = D / H,
F ffn_hidden_dim, C context_length, V vocab_size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nanollm.config import ModelConfig
from nanollm.model import TransformerLanguageModel

EPSILON = 1e-5  # keeps a vector of zeros from being divided by zero
ROTARY_BASE = 10_000.0  # wavelengths of the rotary turn: from 2π characters up to 2π · 10,000
ROWS = 128  # characters read in one pass; it bounds what a pass holds, (H, ROWS, S) scores


@dataclass(frozen=True)
class Layer:
    """One block's weights, laid out for `rows @ matrix`."""

    qkv: np.ndarray  # (D, 3D): the queries of all heads, then their keys, then their values
    output: np.ndarray  # (D + 1, D): its last row is the bias, which a column of ones meets
    up: np.ndarray  # (D, F)
    down: np.ndarray  # (F, D)
    down_bias: np.ndarray  # (D,)


@dataclass(frozen=True)
class Weights:
    """What a model has learned, with all done that can be done ahead; any number of streams read it, none writes.

    LayerNorm, (x - mean) / sqrt(variance + ε) · gain, is mostly done here. Whatever reads the residual stream reads it
    through a LayerNorm, so the stream's mean never matters: here all that writes into the stream loses its mean, and
    with it the stream. The gain is multiplied into the matrix that reads the result. What is left to do for each
    character is to divide by the root mean square.
    """

    config: ModelConfig
    embedding: np.ndarray  # (V, D)
    positions: np.ndarray | None  # (C, D), where they are learned
    turn: np.ndarray | None  # (C, D) complex, where they are rotary: how q and k turn at each position
    layers: tuple[Layer, ...]
    unembedding: np.ndarray  # (D, V)

    @classmethod
    def of(cls, model: TransformerLanguageModel) -> Weights:
        """A copy of the weights as they are now: training the model further does not change it."""
        state = {name: tensor.detach().cpu().float().numpy() for name, tensor in model.state_dict().items()}
        config, embedding = model.config, state["embedding.weight"]
        learned = config.position == "learned"
        return cls(
            config=config,
            embedding=_centred(embedding),
            positions=_centred(state["positions.weight"]) if learned else None,
            turn=None if learned else _turn(config),
            layers=tuple(_layer(config, state, f"blocks.{i}.") for i in range(config.num_layers)),
            unembedding=_reader(embedding, state["norm.gain"]),
        )


class Scratch:
    """Where T characters are computed: arrays used again for every layer and every call, and views of their parts."""

    def __init__(self, config: ModelConfig, T: int) -> None:
        D, H, K = config.embedding_dim, config.heads, config.head_dim
        self.rows = T
        self.x = np.empty((T, D), np.float32)  # the residual stream
        self.normed = np.empty((T, D), np.float32)
        self.qkv = np.empty((T, 3 * D), np.float32)
        self.q, self.k, self.v = self.qkv.reshape(T, 3, H, K).transpose(1, 2, 0, 3)  # each (H, T, K)
        self.qk = self.qkv[:, : 2 * D]
        self.gathered = np.ones((T, D + 1), np.float32)  # the heads side by side, and the column of ones
        self.heads = self.gathered[:, :D].reshape(T, H, K).transpose(1, 0, 2)  # the same, (H, T, K)
        self.hidden = np.empty((T, config.ffn_hidden_dim), np.float32)
        self.update = np.empty((T, D), np.float32)  # what a block adds to x


class NumpyEngine:
    """One stream: read() starts a window, next() adds a character to it, and both give logits (V,)."""

    def __init__(self, weights: Weights) -> None:
        self.weights, self.config = weights, weights.config
        L, H, K, C = self.config.num_layers, self.config.heads, self.config.head_dim, self.config.context_length
        self.keys = np.empty((L, H, K, C), np.float32)  # one column a character: all scores are one product
        self.values = np.ones((L, H, C, K + 1), np.float32)  # one row a character, with a 1 at its end
        self.length = 0
        self._scratch = {1: Scratch(self.config, 1)}

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Forget the window and read ids (T,), 1 ≤ T ≤ C; logits (V,) for the character after them."""
        self.length = 0
        *earlier, last = np.split(np.asarray(ids), range(ROWS, len(ids), ROWS))
        for piece in earlier:
            self._advance(piece, self._scratch_for(ROWS))
        return self._advance(last, self._scratch_for(len(last)))

    def next(self, id: int) -> np.ndarray:
        """Read one character more, the window's C-th at most; logits (V,) for the one after it."""
        return self._advance(id, self._scratch[1])

    def _scratch_for(self, T: int) -> Scratch:
        if T not in self._scratch:
            self._scratch[T] = Scratch(self.config, T)
        return self._scratch[T]

    def _advance(self, ids: np.ndarray | int, s: Scratch) -> np.ndarray:
        weights, start = self.weights, self.length
        end = self.length = start + s.rows
        s.x[:] = weights.embedding[ids]
        if weights.positions is not None:
            s.x += weights.positions[start:end]
        turn = weights.turn[start:end] if weights.turn is not None else None
        for layer, keys, values in zip(weights.layers, self.keys[..., :end], self.values[:, :, :end], strict=True):
            self._attend(s, layer, turn, keys, values)
            self._feed_forward(s, layer)
        return _normalised(s)[-1].dot(weights.unembedding)

    def _attend(self, s: Scratch, layer: Layer, turn: np.ndarray | None, keys: np.ndarray, values: np.ndarray) -> None:
        """Each new character gathers values from itself and those before it, by how well its query fits their keys.

        keys (H, K, S) and values (H, S, K + 1) take up the new characters' own, as their last T.
        """
        T, K = s.rows, self.config.head_dim
        _normalised(s).dot(layer.qkv, s.qkv)
        if self.config.qk_norm:
            _to_unit_variance(s)
        if turn is not None:  # neighbours are a complex number, multiplied by e^(iθ)
            pairs = s.qk.view(np.complex64)
            np.multiply(pairs, turn, pairs)
        keys[:, :, -T:] = s.k.transpose(0, 2, 1)
        values[:, -T:, :K] = s.v
        scores = np.matmul(s.q, keys)  # (H, T, S)
        if T > 1:
            scores += _future(*scores.shape[1:])
        if not self.config.qk_norm:
            # Against overflow. A cosine's scores are at most √K ≤ 64, and 4096 times e^64 is still a float32.
            np.subtract(scores, np.maximum.reduce(scores, axis=-1, keepdims=True), scores)
        np.exp(scores, scores)
        gathered = np.matmul(scores, values)  # (H, T, K + 1): the ones add up what the softmax divides by
        np.divide(gathered[..., :K], gathered[..., K:], s.heads)
        s.gathered.dot(layer.output, s.update)
        np.add(s.x, s.update, s.x)

    def _feed_forward(self, s: Scratch, layer: Layer) -> None:
        """Each character on its own: widen, keep what is positive, narrow again."""
        _normalised(s).dot(layer.up, s.hidden)
        np.maximum(s.hidden, 0, out=s.hidden)
        s.hidden.dot(layer.down, s.update)
        np.add(s.x, s.update, s.x)
        np.add(s.x, layer.down_bias, s.x)


def _normalised(s: Scratch) -> np.ndarray:
    """x / sqrt(variance + ε), row by row (T, D); x has mean 0, and LayerNorm's gain is in the next matrix."""
    D = s.x.shape[1]
    if s.rows == 1:  # a plain number is sooner computed than an array of one
        row = s.x[0]
        scale = 1 / math.sqrt(row.dot(row) / D + EPSILON)
    else:
        scale = 1 / np.sqrt(np.einsum("td,td->t", s.x, s.x)[:, None] / np.float32(D) + np.float32(EPSILON))
    return np.multiply(s.x, scale, s.normed)


def _to_unit_variance(s: Scratch) -> None:
    """Each query and key scaled so that its mean square is 1, and queries by another 1/√K, for q · k / √K."""
    for part, share in ((s.q, 1 / math.sqrt(s.q.shape[-1])), (s.k, 1)):
        mean_square = np.einsum("htk,htk->ht", part, part)[..., None] / np.float32(part.shape[-1])
        part *= np.float32(share) / np.sqrt(mean_square + np.float32(EPSILON))


@lru_cache(maxsize=16)
def _future(T: int, S: int) -> np.ndarray:
    """(T, S), added to scores: -∞ where a character would look ahead. The T rows belong to the last T of S."""
    return np.triu(np.full((T, S), -np.inf, np.float32), S - T + 1)


def _layer(config: ModelConfig, state: dict[str, np.ndarray], at: str) -> Layer:
    D = config.embedding_dim
    qkv = _reader(state[at + "attention.qkv.weight"], state[at + "attention_norm.gain"])
    if not config.qk_norm:
        qkv[:, :D] /= math.sqrt(config.head_dim)  # of the scores q · k / √K
    output, bias = state[at + "attention.output.weight"], state[at + "attention.output.bias"]
    return Layer(
        qkv=qkv,
        output=_centred(np.vstack([output.T, bias])),
        up=_reader(state[at + "feed_forward.up.weight"], state[at + "feed_forward_norm.gain"]),
        down=_centred(state[at + "feed_forward.down.weight"].T),
        down_bias=_centred(state[at + "feed_forward.down.bias"]),
    )


def _turn(config: ModelConfig) -> np.ndarray:
    """e^(iθ) for every pair of numbers in the queries and keys of all heads, by position: (C, D) complex."""
    K = config.head_dim
    speed = ROTARY_BASE ** (-np.arange(0, K, 2, dtype=np.float32) / np.float32(K))  # radians a position
    angle = np.outer(np.arange(config.context_length, dtype=np.float32), speed)  # (C, K / 2)
    return np.tile(np.exp(1j * angle).astype(np.complex64), 2 * config.heads)


def _centred(writer: np.ndarray) -> np.ndarray:
    """What is written into the stream (..., D), row by row without its mean."""
    return np.ascontiguousarray(writer - writer.mean(axis=-1, keepdims=True))


def _reader(weight: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """What reads the normalised stream, (out, D) → (D, out), with LayerNorm's gain in it."""
    return np.ascontiguousarray((weight * gain).T)
