"""Memorization: copies and suffix arrays match brute force, and a million characters take about a second."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.errors import InputError
from nanollm.explain.memorization import Copy, TrainingText, memorization, overlap, suffix_array
from tests.speed import within

# Few characters, so that much repeats: one outside the basic plane, and one that is special in HTML.
SHORT = st.text(st.sampled_from("ab<\U0001f600"), max_size=60)
REPETITIVE = st.builds(lambda text, times, end: (text * times + end)[:300], SHORT, st.integers(1, 20), SHORT)
ANY = st.text(max_size=40)


def brute_force_match_lengths(training: str, text: str) -> list[int]:
    """For each index of the text, the length of the longest match that starts there."""
    return [max(n for n in range(len(text) - i + 1) if text[i : i + n] in training) for i in range(len(text))]


@given(st.one_of(ANY, REPETITIVE))
def test_the_suffix_array_is_sorted(text: str) -> None:
    if text:
        assert suffix_array(text).tolist() == sorted(range(len(text)), key=lambda start: text[start:])


@pytest.mark.parametrize("text", ["a" * 1000, "ab" * 700, "abcabcabd" * 90, "".join(map(chr, range(1, 900)))])
def test_the_suffix_array_of_repetitive_and_of_distinct_characters(text: str) -> None:
    assert suffix_array(text).tolist() == sorted(range(len(text)), key=lambda start: text[start:])


@given(st.one_of(REPETITIVE, ANY), st.one_of(SHORT, ANY), st.integers(1, 6), st.data())
def test_copies_match_brute_force(training: str, text: str, min_length: int, data: st.DataObject) -> None:
    a, b = sorted((data.draw(st.integers(0, 300)), data.draw(st.integers(0, 300))))
    text += training[a:b] + text[:3]  # with a long copy
    if not training or not text:
        return
    found = overlap(TrainingText(training), text, min_length=min_length, ngram_sizes=(1, 2, 5))
    expected, M = brute_force_match_lengths(training, text), len(text)
    assert found.match_lengths.tolist() == expected and found.longest == max(expected)
    for copy in found.copies:
        piece = text[copy.start : copy.start + copy.length]
        assert len(piece) == copy.length >= min_length
        assert training[copy.source : copy.source + copy.length] == piece
        assert copy.start == 0 or text[copy.start - 1] + piece not in training  # cannot be extended to the left
        end = copy.start + copy.length
        assert end == M or piece + text[end] not in training  # or to the right
    for start, length in enumerate(expected):  # every long enough match is part of a copy
        if length >= min_length:
            assert any(c.start <= start and start + length <= c.start + c.length for c in found.copies)
    inside = {index for c in found.copies for index in range(c.start, c.start + c.length)}
    assert set(np.flatnonzero(found.covered)) == inside
    for n in (1, 2, 5):
        grams = [text[i : i + n] for i in range(M - n + 1)]
        unseen = sum(gram not in training for gram in grams)
        assert np.isnan(found.novelty[n]) if not grams else found.novelty[n] == pytest.approx(unseen / len(grams))


def test_a_copied_passage_is_found_and_stands_out_from_the_controls(text: str) -> None:
    training, held_out = text[:100_000], text[100_000:]
    ready = TrainingText(training)
    written = held_out[:100] + training[5000:5300] + held_out[500:600]
    found = memorization(ready, written, held_out)
    longest = max(found.text.copies, key=lambda copy: copy.length)
    assert longest.length >= 300 and abs(longest.start - 100) < 30 and abs(longest.source - 5000) < 30
    assert found.text.longest == longest.length > 3 * found.control_longest()
    assert len(found.controls) == 8 and {len(control.match_lengths) for control in found.controls} == {500}
    assert found.text.novelty[16] < found.control_novelty()[16] - 0.3
    shares = list(found.control_novelty().values())
    assert shares == sorted(shares) and shares[0] < 0.2 and shares[-1] > 0.9  # longer n-grams are more often novel


def test_a_passage_of_the_training_text_is_one_copy(text: str) -> None:
    training = text[:20_000]
    found = overlap(TrainingText(training), training[1000:3000])
    assert found.copies == (Copy(0, 2000, 1000),) and found.covered.all()
    assert set(found.novelty.values()) == {0.0}


def test_held_out_text_shorter_than_the_text_gives_no_controls() -> None:
    found = memorization(TrainingText("abc" * 20), "abcabc", "abc")
    assert found.controls == () and np.isnan(found.control_longest()) and np.isnan(found.control_novelty()[4])


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(InputError, match="has 0 characters"):
        TrainingText("")
    ready = TrainingText("abc")
    with pytest.raises(InputError, match="text is empty"):
        memorization(ready, "", "abc")
    for settings in ({"min_length": 0}, {"ngram_sizes": (0, 4)}):
        with pytest.raises(InputError, match="at least 1"):
            overlap(ready, "abc", **settings)
    assert overlap(ready, "abc", ngram_sizes=()).novelty == {}


def test_a_million_characters_take_about_a_second(text: str) -> None:
    """Measured: 0.5 s on an idle machine."""
    words = text.split(" ")
    random = np.random.default_rng(0)
    million = " ".join(words[i] for i in random.integers(len(words), size=250_000))[:1_000_000]
    with within(4, time.thread_time):
        found = memorization(TrainingText(million), million[-400:], text)
    assert found.text.longest == 400
