"""N-gram baselines: probabilities sum to one, losses match a simple reference, memory is bounded."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.data import ngrams as baselines
from nanollm.data.corpus import split
from nanollm.data.ngrams import Baselines, measure_baselines
from nanollm.errors import InputError
from nanollm.tokenizer import CharTokenizer

V = 4
IDS = st.lists(st.integers(0, V - 1), max_size=40)


def slowly(train: list[int], validation: list[int], vocab_size: int) -> list[float]:
    """Compute the three losses directly from the formula."""
    counts: list[dict[tuple[int, ...], Counter[int]]] = []
    for order in (1, 2, 3):
        table: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for end in range(order - 1, len(train)):
            table[tuple(train[end - order + 1 : end])][train[end]] += 1
        counts.append(table)

    def probability(character: int, history: tuple[int, ...]) -> float:
        lower = probability(character, history[1:]) if history else 1 / vocab_size
        followed = counts[len(history)][history]
        if not followed:
            return lower
        return (followed[character] + len(followed) * lower) / (followed.total() + len(followed))

    text = train[-2:] + validation
    return [
        -float(np.mean([math.log(probability(text[i], tuple(text[i - before : i]))) for i in range(2, len(text))]))
        for before in (0, 1, 2)
    ]


def losses(found: Baselines) -> list[float | None]:
    return [found.unigram, found.bigram, found.trigram]


@pytest.fixture(params=["in cells", "by sorting"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use small chunks, so that their boundaries are tested."""
    monkeypatch.setattr(baselines, "_CHUNK", 5)
    if request.param == "by sorting":
        monkeypatch.setattr(baselines, "_MAX_CELLS", 0)


@pytest.mark.usefixtures("both_ways")
class TestCounting:
    def test_losses_match_the_formula(self) -> None:
        @given(IDS, IDS.filter(lambda ids: len(ids) > 1))
        def check(train: list[int], validation: list[int]) -> None:
            found = measure_baselines(train, validation, V)
            assert found.uniform == math.log(V) and found.counted == len(train)
            if len(train[-2:] + validation) > 2:
                assert losses(found) == pytest.approx(slowly(train, validation, V))

        check()

    def test_the_probabilities_after_every_history_sum_to_one(self) -> None:
        @given(IDS)
        def check(train: list[int]) -> None:
            ids = np.array(train, dtype=np.int64)
            tables = [baselines._count(ids, order, V) for order in (1, 2, 3)]
            keys = np.arange(V**3)  # every pair followed by every character
            for probabilities in baselines._probabilities(tables, keys):
                assert (probabilities > 0).all()
                np.testing.assert_allclose(probabilities.reshape(-1, V).sum(axis=1), 1)

        check()


def test_without_a_validation_split_only_uniform_is_measured() -> None:
    assert measure_baselines([0, 1, 2, 1], [], V) == Baselines(math.log(V), None, None, None, 4)
    assert measure_baselines([], [0, 1], V) == Baselines(math.log(V), None, None, None, 0)
    assert measure_baselines([], [0, 1, 2], V).trigram == pytest.approx(math.log(V))


def test_noise_is_unpredictable_and_a_rule_is_predictable() -> None:
    noise = np.random.default_rng(0).integers(0, V, 200_000)
    for loss in losses(measure_baselines(*split(noise, 0.1), V)):
        assert loss == pytest.approx(math.log(V), abs=0.01)
    rule = np.tile([0, 1, 0, 2, 3], 20_000)  # 0 is followed by 1 or 2, depending on the preceding pair
    found = measure_baselines(*split(rule, 0.1), V)
    assert found.unigram == pytest.approx(-(0.4 * math.log(0.4) + 0.6 * math.log(0.2)), abs=0.01)
    assert found.bigram == pytest.approx(0.4 * math.log(2), abs=0.01)
    assert found.trigram == pytest.approx(0, abs=0.01)


def test_higher_orders_are_better_on_real_text(text: str) -> None:
    tokenizer = CharTokenizer.from_text(text)
    found = measure_baselines(*split(tokenizer.encode(text), 0.1), tokenizer.vocab_size)
    assert found.trigram and found.bigram and found.unigram
    assert 1.5 < found.trigram < found.bigram < found.unigram < found.uniform == math.log(tokenizer.vocab_size)


def test_too_many_distinct_trigrams_limit_counting_to_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MAX_DISTINCT", 30)
    monkeypatch.setattr(baselines, "_CHUNK", 10)
    ids = np.random.default_rng(0).integers(0, 1000, 500)
    ids[-2:] = ids[40:42]  # the predicted character has the same history
    found = measure_baselines(ids, ids[:50], 1000)
    assert found.counted == 42  # the end of the first chunk of 10 trigrams with more than 30 distinct ones in total
    assert losses(found) == pytest.approx(slowly(ids[:42].tolist(), ids[:50].tolist(), 1000))


def test_all_vocabulary_sizes_match_the_formula() -> None:
    draw = np.random.default_rng(0)
    for vocab_size in (1, 2, 161, 162, 2000, 20_000):
        ids = (vocab_size * draw.random(3000) ** 3).astype(np.uint16)
        train, validation = split(ids, 0.1)
        assert losses(measure_baselines(train, validation, vocab_size)) == pytest.approx(
            slowly(train.tolist(), validation.tolist(), vocab_size)
        )


@pytest.mark.parametrize(
    ("ids", "why"), [([4], "0 to 3"), ([-1], "0 to 3"), ([0.5], "one-dimensional"), ([[0]], "one-dimensional")]
)
def test_invalid_ids_raise_an_error(ids: list, why: str) -> None:
    for train, validation in ((ids * 3, [0] * 3), ([0] * 3, ids * 3)):
        with pytest.raises(InputError, match=why):
            measure_baselines(train, validation, V)
    with pytest.raises(InputError, match="at least 1"):
        measure_baselines([], [], 0)
