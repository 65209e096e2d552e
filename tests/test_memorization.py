"""Copies are found exactly where looking at every place finds them, and a second is enough for a million characters."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.errors import InputError
from nanollm.explain.memorization import Copy, TrainingText, copying, memorization, suffix_array
from tests.speed import within

# Few letters, so that much repeats; one of many bytes, and one that JSON and HTML would mind.
SHORT = st.text(st.sampled_from("ab<\U0001f600"), max_size=60)
REPETITIVE = st.builds(lambda text, times, end: (text * times + end)[:300], SHORT, st.integers(1, 20), SHORT)
ANY = st.text(max_size=40)


def matches_by_looking_everywhere(training: str, text: str) -> list[int]:
    """For each place of the text, how many characters from there on stand somewhere in the training text."""
    return [max(n for n in range(len(text) - i + 1) if text[i : i + n] in training) for i in range(len(text))]


@given(st.one_of(ANY, REPETITIVE))
def test_the_order_is_that_of_the_suffixes(text: str) -> None:
    if text:
        assert suffix_array(text).tolist() == sorted(range(len(text)), key=lambda start: text[start:])


@pytest.mark.parametrize("text", ["a" * 1000, "ab" * 700, "abcabcabd" * 90, "".join(map(chr, range(1, 900)))])
def test_so_it_is_where_all_is_alike_or_nothing(text: str) -> None:
    assert suffix_array(text).tolist() == sorted(range(len(text)), key=lambda start: text[start:])


@given(st.one_of(REPETITIVE, ANY), st.one_of(SHORT, ANY), st.integers(1, 6), st.data())
def test_copies_are_those_found_by_looking_everywhere(
    training: str, text: str, min_length: int, data: st.DataObject
) -> None:
    a, b = sorted((data.draw(st.integers(0, 300)), data.draw(st.integers(0, 300))))
    text += training[a:b] + text[:3]  # so that something long stands in it, too
    if not training or not text:
        return
    found = copying(TrainingText(training), text, min_length=min_length, grams=(1, 2, 5))
    expected, M = matches_by_looking_everywhere(training, text), len(text)
    assert found.matched.tolist() == expected and found.longest == max(expected)
    for copy in found.copies:
        piece = text[copy.start : copy.start + copy.length]
        assert len(piece) == copy.length >= min_length
        assert training[copy.source : copy.source + copy.length] == piece
        assert copy.start == 0 or text[copy.start - 1] + piece not in training  # cannot be made longer to the left,
        end = copy.start + copy.length
        assert end == M or piece + text[end] not in training  # nor to the right
    for start, length in enumerate(expected):  # and every stretch that is long enough lies in one of them
        if length >= min_length:
            assert any(c.start <= start and start + length <= c.start + c.length for c in found.copies)
    inside = {place for c in found.copies for place in range(c.start, c.start + c.length)}
    assert set(np.flatnonzero(found.covered)) == inside
    for n in (1, 2, 5):
        grams = [text[i : i + n] for i in range(M - n + 1)]
        unseen = sum(gram not in training for gram in grams)
        assert np.isnan(found.novel[n]) if not grams else found.novel[n] == pytest.approx(unseen / len(grams))


def test_a_copy_in_the_middle_is_underlined_and_the_control_is_not(text: str) -> None:
    training, held_out = text[:100_000], text[100_000:]
    ready = TrainingText(training)
    written = held_out[:100] + training[5000:5300] + held_out[500:600]
    found = memorization(ready, written, held_out)
    longest = max(found.text.copies, key=lambda copy: copy.length)
    assert longest.length >= 300 and abs(longest.start - 100) < 30 and abs(longest.source - 5000) < 30
    assert found.text.longest == longest.length > 3 * found.usual_longest()
    assert len(found.controls) == 8 and {len(control.matched) for control in found.controls} == {500}
    assert found.text.novel[16] < found.usual_novelty()[16] - 0.3
    shares = list(found.usual_novelty().values())
    assert shares == sorted(shares) and shares[0] < 0.2 and shares[-1] > 0.9  # the longer, the rarer


def test_the_training_text_is_one_copy_of_itself(text: str) -> None:
    training = text[:20_000]
    found = copying(TrainingText(training), training[1000:3000])
    assert found.copies == (Copy(0, 2000, 1000),) and found.covered.all()
    assert set(found.novel.values()) == {0.0}


def test_too_little_held_out_text_is_no_control() -> None:
    found = memorization(TrainingText("abc" * 20), "abcabc", "abc")
    assert found.controls == () and np.isnan(found.usual_longest()) and np.isnan(found.usual_novelty()[4])


def test_odd_requests_get_a_sentence() -> None:
    with pytest.raises(InputError, match="not of 0"):
        TrainingText("")
    ready = TrainingText("abc")
    with pytest.raises(InputError, match="no text"):
        memorization(ready, "", "abc")
    for settings in ({"min_length": 0}, {"grams": (0, 4)}):
        with pytest.raises(InputError, match="at least 1"):
            copying(ready, "abc", **settings)
    assert copying(ready, "abc", grams=()).novel == {}


def test_a_million_characters_take_about_a_second(text: str) -> None:
    """About 0.5 s on a quiet machine."""
    words = text.split(" ")
    random = np.random.default_rng(0)
    million = " ".join(words[i] for i in random.integers(len(words), size=250_000))[:1_000_000]
    with within(4, time.thread_time):
        found = memorization(TrainingText(million), million[-400:], text)
    assert found.text.longest == 400
