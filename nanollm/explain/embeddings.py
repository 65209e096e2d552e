"""Character map: the token embeddings projected onto their first two principal components (PCA).

Characters that are close on the map may be far apart in the other dimensions; `explained_variance` says how much of the
variance the map shows.
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

# Base letters of the Latin, Greek and Cyrillic scripts. Letters of other scripts are "other".
_VOWELS = frozenset("aeiou" + "αεηιουω" + "аеёиоуыэюяіїє")
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxyz" + "βγδζθκλμνξπρσςτφχψ" + "бвгджзйклмнпрстфхцчшщъьґ")


@dataclass(frozen=True)
class CharacterMap:
    """The characters of a vocabulary as points in two dimensions."""

    points: np.ndarray  # (V, 2) float64
    explained_variance: np.ndarray  # (2,) share of the variance of all embeddings along each axis, 0 to 1
    characters: tuple[str, ...]  # V
    kinds: tuple[str, ...]  # V, each one of KINDS

    @property
    def total_explained_variance(self) -> float:
        """Share of the variance that the map shows, 0 to 1."""
        return float(self.explained_variance.sum())


def character_map(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> CharacterMap:
    """Project the token embeddings onto their first two principal components; deterministic for given weights.

    Raises InputError for a tokenizer of another model.
    """
    require_vocabulary(model, tokenizer)
    embedding = model.embedding.weight.detach().double().cpu().numpy()  # (V, D)
    centered = embedding - embedding.mean(axis=0)
    _, singular, axes = np.linalg.svd(centered, full_matrices=False)  # axes (min(V, D), D), largest variance first
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.where(axes[np.arange(len(axes)), largest] < 0, -1, 1)[:, None]  # SVD leaves the signs undefined
    points = np.zeros((len(centered), 2))  # an axis stays 0 with a single character or dimension
    points[:, : len(axes)] = (centered @ axes[:2].T)[:, :2]
    kinds = tuple(kind_of(character) for character in tokenizer.characters)
    return CharacterMap(points, _explained(points, float((singular**2).sum())), tokenizer.characters, kinds)


def align(maps: Sequence[CharacterMap]) -> list[CharacterMap]:
    """Rotate (or mirror) each map of a run's snapshots to match the next one, so that an animation does not tumble.

    PCA axes may rotate from snapshot to snapshot. Aligning by orthogonal Procrustes (Schönemann 1966) keeps all
    distances. It starts from the last map, because the first ones are mostly noise. Returns the maps in the given
    order. Raises InputError if the maps have different characters.
    """
    aligned: list[CharacterMap] = []
    for current in reversed(maps):
        if current.characters != maps[-1].characters:
            raise InputError("These maps have different characters: use snapshots of one run.")
        aligned.append(_rotated(current, aligned[-1].points) if aligned else current)
    return aligned[::-1]


def kind_of(character: str) -> str:
    """The kind of a character, one of KINDS; accented letters count as their base letters."""
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


def _rotated(source: CharacterMap, target: np.ndarray) -> CharacterMap:
    """The map rotated or mirrored so that its points (V, 2) are as close as possible to the target points (V, 2)."""
    left, _, right = np.linalg.svd(source.points.T @ target)
    points = source.points @ (left @ right)
    share = source.total_explained_variance
    total = float((source.points**2).sum()) / share if share else 0.0
    return replace(source, points=points, explained_variance=_explained(points, total))


def _explained(points: np.ndarray, total: float) -> np.ndarray:
    """Share of the total squared distance from the mean that lies along each axis of points (V, 2): (2,)."""
    return (points**2).sum(axis=0) / total if total > 0 else np.zeros(2)
