"""Models with hand-made ("planted") attention heads, whose behavior is known exactly.

The residual stream consists of [character: V | position: T | previous character: V | unused], each a unit vector, with
learned positions. Queries and keys have V + T dimensions, so heads can match characters or positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nanollm.config import ModelConfig
from nanollm.explain.context_window import blocks
from nanollm.model import TransformerLanguageModel

SHARPNESS = 8.0


class Planted:
    """A model whose attention has no effect until heads are planted; each method plants one and returns self."""

    def __init__(self, vocab_size: int, context_length: int, num_layers: int = 1, num_heads: int = 2) -> None:
        V, T = vocab_size, context_length
        self.V, self.T, self.K, self.D = V, T, V + T, num_heads * (V + T)
        shape = {"num_heads": num_heads, "context_length": T, "position": "learned"}
        self.config = ModelConfig(V, self.D, num_layers, 1, **shape)
        self.model = TransformerLanguageModel.from_config(self.config).eval()
        self.character, self.position, self.before = (self._unit(at, n) for at, n in ((0, V), (V, T), (V + T, V)))
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.fill_(1.0 if name.endswith("gain") else 0.0)
            self.model.norm.gain.fill_(3.0)  # allows confident predictions
            self.model.embedding.weight.copy_(self.character)
            assert self.model.positions is not None
            self.model.positions.weight.copy_(self.position)

    def back(self, layer: int, head: int, distance: int) -> Planted:
        """Attend `distance` characters back: 0 is the character itself, 1 the previous one."""
        return self._plant(layer, head, self._at_position(self.position.roll(-distance, 0)), self.position)

    def first(self, layer: int, head: int) -> Planted:
        """Attend to the first character of the window."""
        return self._plant(layer, head, self._always(self.position[0]), self.position)

    def same_before(self, layer: int, head: int) -> Planted:
        """Attend to earlier occurrences of the same character."""
        codes = self._both(self.character, self.position)
        return self._plant(layer, head, self._both(self.character, -2 * self.position), codes, keys_are_codes=True)

    def latest(self, layer: int, head: int, id: int) -> Planted:
        """Attend to the latest occurrence of one character, by weighting recent positions slightly more."""
        recency = (torch.arange(self.T) / self.T * 2)[:, None] * self.position
        key = torch.zeros(self.K, self.D)
        key[0] = 2 * self.character[id] + recency.sum(dim=0)
        return self._plant(layer, head, self._always(None), key, keys_are_codes=True, sharpness=8 * SHARPNESS)

    def induction(self, layer: int, head: int) -> Planted:
        """Attend after earlier occurrences of the current character; requires writes_character_before() below."""
        return self._plant(layer, head, self._code(self.character), self._code(self.before), keys_are_codes=True)

    def writes_character_before(self, layer: int, head: int) -> Planted:
        """Let a previous-character head write that character into the residual stream."""
        return self.writes(layer, head, self.before)

    def writes(self, layer: int, head: int, meaning: Tensor) -> Planted:
        """Let the head write `meaning[c]`, a row of (V, D), when it attends to character c."""
        attention, at = blocks(self.model)[layer].attention, self._slice(head)
        with torch.no_grad():
            attention.qkv.weight[2 * self.D :][at] = self._code(self.character)
            attention.output.weight[:, at] = torch.cat([meaning, torch.zeros(self.T, self.D)]).T
        return self

    def _plant(
        self, layer: int, head: int, query: Tensor, key: Tensor, *, keys_are_codes=False, sharpness=SHARPNESS
    ) -> Planted:
        weight, at = blocks(self.model)[layer].attention.qkv.weight, self._slice(head)
        with torch.no_grad():
            weight[: self.D][at] = sharpness * query
            weight[self.D : 2 * self.D][at] = key if keys_are_codes else self._at_position(key)
        return self

    def _unit(self, at: int, n: int) -> Tensor:
        return torch.eye(self.D)[at : at + n]

    def _slice(self, head: int) -> slice:
        return slice(head * self.K, (head + 1) * self.K)

    def _code(self, meaning: Tensor) -> Tensor:
        """(K, D): maps vector c of `meaning` in the stream to unit vector c in the head."""
        return torch.cat([meaning, torch.zeros(self.K - len(meaning), self.D)])

    def _at_position(self, meaning: Tensor) -> Tensor:
        return torch.cat([torch.zeros(self.V, self.D), meaning])

    def _both(self, character: Tensor, position: Tensor) -> Tensor:
        return torch.cat([character, position])

    def _always(self, position: Tensor | None) -> Tensor:
        """The same query for every character: it matches position 0, or the first dimension of the head."""
        query = torch.zeros(self.K, self.D)
        query[self.V if position is not None else 0] = self.character.sum(dim=0)
        return query
