"""The characters as a map: the embedding of each, seen from the side on which they lie farthest apart.

Two of many dimensions: characters that lie close here may be far apart in the others, and `shares` says how much of
their distances the map shows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nanollm.errors import InputError
from nanollm.inference.generate import require_vocabulary
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer

KINDS = ("vowel", "consonant", "upper case", "digit", "punctuation", "space", "other")

# The scripts whose letters this tells apart, by their base letters; of any other, letters are "other".
_VOWELS = frozenset("aeiou" + "αεηιουω" + "аеёиоуыэюяіїє")
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxyz" + "βγδζθκλμνξπρσςτφχψ" + "бвгджзйклмнпрстфхцчшщъьґ")


@dataclass(frozen=True)
class CharacterMap:
    """Where each character lies on a map of two axes."""

    points: np.ndarray  # (V, 2) float64
    shares: np.ndarray  # (2,) how much of the variance of all embeddings lies along each axis, 0 to 1
    characters: tuple[str, ...]  # V
    kinds: tuple[str, ...]  # V, each of KINDS

    @property
    def share(self) -> float:
        """How much of the variance the map shows, 0 to 1."""
        return float(self.shares.sum())


def character_map(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> CharacterMap:
    """The token embeddings on their first two principal axes (PCA), the same axes each time for the same weights.

    Raises InputError if the tokenizer is not the model's.
    """
    require_vocabulary(model, tokenizer)
    embedding = model.embedding.weight.detach().double().cpu().numpy()  # (V, D)
    centred = embedding - embedding.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)  # axes (min(V, D), D), the widest first
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.where(axes[np.arange(len(axes)), largest] < 0, -1, 1)[:, None]  # or its sign would be anybody's
    points = np.zeros((len(centred), 2))  # one dimension, or one character, leaves an axis empty
    points[:, : len(axes)] = (centred @ axes[:2].T)[:, :2]
    kinds = tuple(kind_of(character) for character in tokenizer.characters)
    return CharacterMap(points, _shares(points, float((spread**2).sum())), tokenizer.characters, kinds)


def align(maps: Sequence[CharacterMap]) -> list[CharacterMap]:
    """The maps of one run's snapshots, in their order, each turned (or mirrored) to fit the one after it best.

    The axes of a PCA are free to turn from snapshot to snapshot; unturned, a map that is played would tumble. Turning
    moves no two characters nearer or farther (orthogonal Procrustes: Schönemann 1966). It begins with the last, because
    the first ones are noise. Raises InputError if the maps are not of the same characters.
    """
    aligned: list[CharacterMap] = []
    for shown in reversed(maps):
        if shown.characters != maps[-1].characters:
            raise InputError("These maps show different characters: take snapshots of one run.")
        aligned.append(_turned(shown, aligned[-1].points) if aligned else shown)
    return aligned[::-1]


def kind_of(character: str) -> str:
    """What sort of character it is, one of KINDS; letters with accents count as their base letters."""
    if character.isspace():
        return "space"
    if character.isupper():
        return "upper case"
    category = unicodedata.category(character)
    if category[0] == "N":
        return "digit"
    if category[0] in "PS":
        return "punctuation"
    base = unicodedata.normalize("NFD", character)[0]
    if base in _VOWELS:
        return "vowel"
    return "consonant" if base in _CONSONANTS else "other"


def _turned(shown: CharacterMap, onto: np.ndarray) -> CharacterMap:
    """The map turned so that its points (V, 2) lie as near to others as turning and mirroring can bring them."""
    left, _, right = np.linalg.svd(shown.points.T @ onto)
    points = shown.points @ (left @ right)
    total = float((shown.points**2).sum()) / shown.share if shown.share else 0.0
    return replace(shown, points=points, shares=_shares(points, total))


def _shares(points: np.ndarray, total: float) -> np.ndarray:
    """How much of all squared distances from the middle, `total`, lies along each axis of points (V, 2)."""
    return (points**2).sum(axis=0) / total if total > 0 else np.zeros(2)
