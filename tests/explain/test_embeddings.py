"""Character maps: PCA is exact for planar embeddings, and aligning maps keeps all distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.embeddings import KINDS, CharacterMap, align, character_map, kind_of
from nanollm.tokenizer import CharTokenizer
from tests.conftest import random_model
from tests.strategies import model_configs

ALPHABET = "abcdefghijkl"


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def map_of(points: np.ndarray) -> CharacterMap:
    characters = tuple(ALPHABET[: len(points)])
    return CharacterMap(points, np.array([0.5, 0.2]), characters, tuple(map(kind_of, characters)))


@given(st.integers(0, 1000), st.floats(0, 6.2))
def test_embeddings_on_a_plane_are_shown_without_loss(seed: int, angle: float) -> None:
    random = np.random.default_rng(seed)
    plane, _ = np.linalg.qr(random.normal(size=(16, 2)))
    flat = random.normal(size=(12, 2)) * [3, 1]
    model = random_model(ModelConfig(12, 16, 1, 4))
    model.embedding.weight.data = torch.from_numpy(flat @ plane.T + angle).float()  # with an offset
    shown = character_map(model, CharTokenizer(ALPHABET))
    np.testing.assert_allclose(distances(shown.points), distances(flat), atol=1e-4)
    np.testing.assert_allclose(shown.points.mean(axis=0), 0, atol=1e-5)
    assert (
        shown.total_explained_variance == pytest.approx(1, abs=1e-6)
        and shown.explained_variance[0] >= shown.explained_variance[1]
    )
    assert abs((shown.points[:, 0] * shown.points[:, 1]).sum()) < 1e-3  # principal components are uncorrelated


@given(model_configs())
def test_every_configuration_has_a_map(config: ModelConfig) -> None:
    model = random_model(config)
    shown = character_map(model, CharTokenizer(ALPHABET[: config.vocab_size]))
    assert shown.points.shape == (config.vocab_size, 2) and np.isfinite(shown.points).all()
    assert len(shown.kinds) == config.vocab_size and set(shown.kinds) <= set(KINDS)
    assert 0 <= shown.total_explained_variance <= 1 + 1e-9
    # No other plane explains more variance.
    centered = (model.embedding.weight - model.embedding.weight.mean(dim=0)).detach().double()
    widest = torch.linalg.eigvalsh(centered.T @ centered).flip(0)[:2].sum().item()
    assert (shown.points**2).sum() == pytest.approx(widest, rel=1e-4, abs=1e-6)


@given(st.integers(0, 1000), st.floats(0, 2 * math.pi), st.booleans())
def test_aligning_undoes_a_rotation(seed: int, angle: float, mirrored: bool) -> None:
    points = np.random.default_rng(seed).normal(size=(9, 2))
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    rotated = points @ rotation @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    first, last = align([map_of(rotated), map_of(points)])
    np.testing.assert_allclose(first.points, points, atol=1e-8)
    np.testing.assert_array_equal(last.points, points)
    assert first.total_explained_variance == pytest.approx(0.7)  # rotating keeps the explained variance


@given(st.integers(0, 1000))
def test_aligning_keeps_distances_and_brings_maps_closer(seed: int) -> None:
    random = np.random.default_rng(seed)
    maps = [map_of(random.normal(size=(7, 2))) for _ in range(4)]
    aligned = align(maps)
    for before, after in zip(maps, aligned, strict=True):
        np.testing.assert_allclose(distances(after.points), distances(before.points), atol=1e-9)
    for index in range(3):
        gap = lambda points, at=index: ((points - aligned[at + 1].points) ** 2).sum()  # noqa: E731
        assert gap(aligned[index].points) <= gap(maps[index].points) + 1e-9


@pytest.mark.parametrize(
    ("characters", "kind"),
    [
        ("aeiouéüаи", "vowel"),
        ("bcxyzñçшπ", "consonant"),
        ("AZÉЖ", "upper case"),
        ("0379²", "digit"),
        (".,;!?-'\"&$+", "punctuation"),
        (" \n\t\u00a0", "space"),
        ("漢あא\u200b", "other"),
    ],
)
def test_kinds(characters: str, kind: str) -> None:
    assert {kind_of(character) for character in characters} == {kind}


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(InputError, match="tokenizer has 2"):
        character_map(random_model(ModelConfig(3, 8, 1, 8)), CharTokenizer("ab"))
    with pytest.raises(InputError, match="different characters"):
        align([map_of(np.zeros((3, 2))), map_of(np.zeros((4, 2)))])
    assert align([]) == []
    constant = random_model(ModelConfig(3, 8, 1, 8))
    constant.embedding.weight.data.zero_()
    empty = character_map(constant, CharTokenizer("abc"))
    assert align([empty, empty])[0].total_explained_variance == 0
