"""Head types: planted heads are named correctly, random heads get no name, and scores match their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nanollm.config import PRESETS, ModelConfig, make_configs
from nanollm.errors import InputError
from nanollm.explain.attention import attention_map
from nanollm.explain.head_types import PATTERNS, HeadScores, head_history, head_scores
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from tests.conftest import random_model
from tests.planted import Planted

LETTERS = "abcdefgh"
TOKENIZER = CharTokenizer("\n " + LETTERS)
WINDOW = 48


def words(seed: int, length: int = 2000) -> str:
    """Lines of words of random letters, without systematic repetition."""
    random, text = np.random.default_rng(seed), []
    while sum(map(len, text)) < length:
        word = "".join(random.choice(list(LETTERS), size=random.integers(2, 7)))
        text.append(word + ("\n" if random.random() < 0.3 else " "))
    return "".join(text)[:length]


@pytest.fixture(scope="module")
def planted() -> TransformerLanguageModel:
    planted = Planted(TOKENIZER.vocab_size, WINDOW, num_layers=2, num_heads=4)
    planted.back(0, 0, 1).writes_character_before(0, 0).back(0, 1, 0).first(0, 2).same_before(0, 3)
    planted.induction(1, 0).latest(1, 1, id=1).latest(1, 2, id=0).back(1, 3, 5)
    return planted.model


def test_planted_heads_are_named_correctly(planted: TransformerLanguageModel) -> None:
    scores = head_scores(planted, TOKENIZER, words(1))
    assert scores.names == [
        ["previous character", "itself", "first character", "same character before"],
        ["induction", "start of word", "start of line", None],  # no pattern is five characters back
    ]
    named = [scores.scores[0, 0, 0], scores.scores[0, 1, 1], scores.scores[0, 2, 2], scores.scores[1, 0, 4]]
    assert min(named) > 0.9
    assert (scores.scores[1, 3] < 0.25).all()


def test_induction_needs_a_previous_character_head_in_the_layer_below(planted: TransformerLanguageModel) -> None:
    """The induction head matches on the previous character, which the other head must have written to the stream."""
    alone = Planted(TOKENIZER.vocab_size, WINDOW, num_layers=2).induction(1, 0).model
    assert head_scores(alone, TOKENIZER, words(1)).scores[1, 0, PATTERNS.index("induction")] < 0.2


def test_uniform_attention_scores_the_uniform_baseline() -> None:
    uniform = Planted(TOKENIZER.vocab_size, WINDOW).model  # without planted heads, all attention scores are 0
    measured = head_scores(uniform, TOKENIZER, words(2))
    np.testing.assert_allclose(measured.scores, np.broadcast_to(measured.uniform, measured.scores.shape), rtol=1e-4)
    assert measured.names == [[None, None]]


@pytest.mark.parametrize("preset", PRESETS)
def test_heads_of_an_untrained_model_have_no_name(preset: str, text: str, tokenizer: CharTokenizer) -> None:
    config, _ = make_configs(PRESETS[preset], tokenizer.vocab_size)
    torch.manual_seed(1)
    scores = head_scores(TransformerLanguageModel.from_config(config), tokenizer, text)
    assert {name for layer in scores.names for name in layer} == {None}


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    position=st.sampled_from(["rotary", "learned"]),
    qk_norm=st.booleans(),
)
def test_random_heads_have_no_name(
    seed: int, position: str, qk_norm: bool, text: str, tokenizer: CharTokenizer
) -> None:
    """With large random weights attention is concentrated, but follows no pattern."""
    config = ModelConfig(tokenizer.vocab_size, 32, 2, 8, context_length=64, position=position, qk_norm=qk_norm)
    scores = head_scores(random_model(config, seed), tokenizer, text)
    assert {name for layer in scores.names for name in layer} == {None}


@pytest.mark.parametrize("context_length", [1, 2, 3])
def test_induction_is_not_scored_in_windows_too_short_for_a_repetition(context_length: int) -> None:
    shape = {"embedding_dim": 8, "num_layers": 1, "ffn_hidden_dim": 8, "context_length": context_length}
    found = head_scores(random_model(ModelConfig(TOKENIZER.vocab_size, **shape)), TOKENIZER, words(3))
    assert np.isnan(found.scores[:, :, PATTERNS.index("induction")]).all() and found.names == [[None] * 4]


def test_attention_by_distance_is_not_named_start_of_word() -> None:
    """Three characters back is often the start of a word; the by_distance baseline explains the score."""
    near = Planted(TOKENIZER.vocab_size, WINDOW).back(0, 0, 3).model
    scores = head_scores(near, TOKENIZER, words(3))
    at = PATTERNS.index("start of word")
    assert scores.scores[0, 0, at] > 4 * scores.uniform[at]
    assert scores.scores[0, 0, at] == pytest.approx(scores.by_distance[0, 0, at], rel=0.1)
    assert scores.names[0][0] is None


def test_positional_scores_match_the_attention_map(planted: TransformerLanguageModel) -> None:
    model = random_model(planted.config, seed=4)
    text = words(4, WINDOW)
    weights = attention_map(model, TOKENIZER, text).weights
    scores = head_scores(model, TOKENIZER, text)
    rows = np.arange(8, WINDOW)
    for name, columns in (("previous character", rows - 1), ("itself", rows), ("first character", 0 * rows)):
        expected = weights[:, :, rows, columns].mean(axis=-1)
        np.testing.assert_allclose(scores.scores[..., PATTERNS.index(name)], expected, atol=1e-5)


def test_patterns_that_do_not_occur_in_the_text_are_not_scored(planted: TransformerLanguageModel) -> None:
    scores = head_scores(planted, TOKENIZER, "abcdefgh" * 10)  # neither lines nor words
    unknown = np.isin(PATTERNS, ["start of word", "start of line"])
    assert np.isnan(scores.scores[..., unknown]).all() and not np.isnan(scores.scores[..., ~unknown]).any()
    assert scores.names[1][1] is None and scores.names[0][0] == "previous character"
    assert ((scores.scores[..., ~unknown] >= 0) & (scores.scores[..., ~unknown] <= 1 + 1e-5)).all()


def test_scoring_is_deterministic_and_leaves_the_model_unchanged(planted: TransformerLanguageModel) -> None:
    model, text = random_model(planted.config).train(), words(5)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = head_scores(model, TOKENIZER, text), head_scores(model, TOKENIZER, text)
    np.testing.assert_array_equal(first.scores, second.scores)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()


def test_history_shows_a_head_forming() -> None:
    """The planted head is scaled up from snapshot to snapshot, and its score rises."""
    sharp = Planted(TOKENIZER.vocab_size, WINDOW).back(0, 0, 1).model

    def snapshots():
        for step, share in enumerate((0.0, 0.1, 0.3, 1.0)):
            model = Planted(TOKENIZER.vocab_size, WINDOW).model
            weight = sharp.blocks[0].attention.qkv.weight
            model.blocks[0].attention.qkv.weight.data.copy_(share * weight)
            yield step, model

    history = head_history(snapshots(), TOKENIZER, words(6))
    assert history.steps.tolist() == [0, 1, 2, 3] and history.scores.shape == (4, 1, 2, len(PATTERNS))
    formed = history.scores[:, 0, 0, 0]
    assert (np.diff(formed) > 0).all() and formed[0] == pytest.approx(history.uniform[0]) and formed[-1] > 0.95


def test_the_name_is_the_qualifying_pattern_that_exceeds_its_baseline_most() -> None:
    blank = np.full((1, 3, len(PATTERNS)), 0.05, np.float32)
    scores, by_distance = blank.copy(), blank.copy()
    scores[0, 0, :2] = 0.4, 0.5
    scores[0, 1, 5], by_distance[0, 1, 5] = 0.5, 0.3  # explained by distance
    scores[0, 2, 0] = 0.3  # below MIN_SCORE
    found = HeadScores(scores, np.full(len(PATTERNS), 0.02, np.float32), by_distance)
    assert found.names == [["itself", None, None]]


def test_invalid_arguments_are_rejected(planted: TransformerLanguageModel) -> None:
    for text, message in (("a", "two characters"), ("", "two characters"), ("aZ", "'Z'")):
        with pytest.raises(InputError, match=message):
            head_scores(planted, TOKENIZER, text)
    with pytest.raises(InputError, match="tokenizer has 3"):
        head_scores(planted, CharTokenizer("abc"), "abc")
    with pytest.raises(InputError, match="no snapshots"):
        head_history([], TOKENIZER, "abc")
    tiny = random_model(ModelConfig(2, 8, 1, 8, context_length=2))
    assert np.isnan(head_scores(tiny, CharTokenizer("ab"), "ab").scores).all()
