"""Status text of a run: states, headline numbers, and passed baselines."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from nanollm.charts import base as charts
from nanollm.config import ModelConfig
from nanollm.data.ngrams import Baselines
from nanollm.runs.store import Curve, Parent, Status
from nanollm.train.events import Sample, Start, Step
from playground.components.format import ordinal, perplexity
from playground.train import status_text
from playground.train.status_text import passed_baselines

STATES = ("queued", "running", "paused", "completed", "stopped", "failed", "diverged", "lost", "stalled")


def run(**more: Any) -> Any:
    """Return a stand-in for a run with these attributes."""
    return SimpleNamespace(checkpoints_only=False, model_config=ModelConfig(), **more)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("step", [0, 300])
def test_every_state_gives_a_sentence(state, step):
    sentence = status_text.state_sentence(Status(state, step, 1000, reason="Something was wrong."))
    assert sentence[0].isupper() and sentence.rstrip().endswith(".")


def test_before_the_first_step_the_start_up_is_explained():
    assert "reading the text" in status_text.state_sentence(Status("running", 0, 1000))
    calibrating = status_text.state_sentence(Status("running", 0, 1000, calibration=(3, 8)))
    assert "Calibrating" in calibrating and "3 of at most 8" in calibrating


def test_continue_and_fork_are_explained_when_they_are_offered():
    for state, offered in status_text.BUTTONS.items():
        hint = status_text.new_run_hint(offered)
        assert ("Continue" in hint, "Fork" in hint) == ("continue" in offered, "fork" in offered), state
    assert status_text.new_run_hint(("pause", "stop")) == status_text.new_run_hint(()) == ""


@pytest.mark.parametrize("state", ["failed", "lost", "stalled", "diverged", "paused"])
def test_interrupted_states_suggest_an_action(state):
    sentence = status_text.state_sentence(Status(state, 300, 1000, reason="The disk is full."))
    assert any(word in sentence for word in ("Resume", "Start again", "stop it"))


def test_a_fork_names_its_parent_in_every_state():
    parent = Parent("20260101-000000-0000", "nano · tale.txt", 1000)
    for state in STATES:
        status = Status(state, 300, 1000, reason="Something was wrong.")
        sentences = status_text.run_sentences(run(parent=parent), status)
        assert sentences == f"{status_text.state_sentence(status).rstrip()} {parent.describe()}"
        assert status_text.run_sentences(run(parent=None), status) == status_text.state_sentence(status)
    assert parent.describe().startswith("Continues “nano · tale.txt” from step 1,000 with its own learning-rate")


def test_headline_numbers():
    curve = Curve(eval_steps=[0, 50, 100], train_loss=[4.2, 2.0, 1.8], val_loss=[4.2, 1.887, None])
    numbers = dict(status_text.headline(Status("running", 100, 1000, eta_seconds=61.0), curve))
    assert numbers == {"validation loss": "1.89", "perplexity": "6.6", "time left": "61 s"}
    over = Status("completed", 1000, 1000, seconds=20.1, elapsed=23.4)
    assert dict(status_text.headline(over, curve))["training time"] == "23 s"
    assert status_text.state_sentence(over) == "Finished: 1,000 steps in 23 s."
    nothing = dict(status_text.headline(Status("queued", 0, 1000), Curve()))
    assert set(nothing.values()) == {"–"}


def test_the_perplexity_of_a_diverged_run_is_short():
    assert perplexity(500.0) == "over 10,000"


def test_newest_samples_are_unique_and_shortened():
    samples = [Sample(step, "To ", "x" * 1000) for step in (0, 10, 20, 20, 30)]
    strips = status_text.newest_samples(run(samples=lambda: samples))
    assert [strip["step"] for strip in strips] == [30, 20, 10]
    assert all(len(strip["text"]) == status_text.SAMPLE_LENGTH for strip in strips)


REFERENCES = charts.references_of(65, Baselines(math.log(65), 3.1, 2.4, 2.0, 100))


def curve_of(*losses: float) -> Curve:
    """Return a curve with one evaluation every 50 steps."""
    return Curve(eval_steps=[50 * n for n in range(len(losses))], train_loss=list(losses), val_loss=list(losses))


NEXT_PAIRS = "Next: bigram counts, which predict from the previous character, at 2.40."
NEXT_TRIPLES = "Next: trigram counts, which predict from the two previous characters, at 2.00."


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((), ""),
        ((4.2,), ""),
        ((4.2, 3.5), "Next: unigram counts, which know only how often each character occurs, at 3.10."),
        ((4.2, 3.5, 3.0), f"Now better than unigram counts (since step 100). {NEXT_PAIRS}"),
        ((4.2, 2.3, 2.2), f"Now better than bigram counts (since step 50). {NEXT_TRIPLES}"),
        ((4.2, 2.3, 2.6, 2.3), f"Now better than bigram counts (since step 150). {NEXT_TRIPLES}"),
        ((4.2, 1.9), "Now better than trigram counts (since step 50). It is better than all n-gram baselines."),
    ],
)
def test_the_last_passed_baseline_is_reported(losses, expected):
    assert passed_baselines(curve_of(*losses), REFERENCES) == expected


def test_a_baseline_that_was_passed_and_lost_again_is_reported():
    sentence = "Now better than unigram counts (since step 50). It was better than bigram counts at step 50, but "
    assert passed_baselines(curve_of(4.2, 2.3, 2.6), REFERENCES) == f"{sentence}is no longer."
    assert "trigram" in passed_baselines(curve_of(4.2, 1.9, 2.2), REFERENCES, over=True)


def test_without_ngram_baselines_nothing_is_reported():
    assert passed_baselines(curve_of(4.2, 2.3), REFERENCES[:1]) == passed_baselines(curve_of(4.2, 2.3), []) == ""


def test_a_finished_run_reports_no_next_baseline():
    assert passed_baselines(curve_of(4.2, 2.3), REFERENCES, over=True) == "Better than bigram counts (since step 50)."


@pytest.mark.parametrize(
    ("place", "wait", "expected"),
    [(1, None, "Next in line."), (3, 40.2, "3rd in line, about 40 s."), (12, 7200, "12th in line, about 2.0 h.")],
)
def test_the_queue_place_includes_the_wait(place, wait, expected):
    sentence = status_text.state_sentence(Status("queued", 0, 1000, place=place), wait)
    assert sentence == f"{expected} You can close this page."


def test_ordinal_numbers():
    formatted = [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 20, 21, 22, 23, 24, 111)]
    assert " ".join(formatted) == "1st 2nd 3rd 4th 11th 12th 13th 20th 21st 22nd 23rd 24th 111th"


def test_gradient_numbers_include_precision_threads_and_device():
    start = Start(0, 1000, "bf16", 2, "cpu", "2.13", 100, 90, 10)
    curve = Curve(last=Step(10, 2.0, 0.0123456, 0.87654, 640, 1.0, 640.0))
    numbers = dict(status_text.gradients(run(events=lambda: [start]), Status("running", 10, 1000), curve))
    assert numbers == {
        "gradient norm": "0.877", "learning rate": "0.0123", "precision": "bf16", "threads": "2", "device": "cpu",
    }  # fmt: skip
