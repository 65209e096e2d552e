"""doctor.py on recorded curves of real runs: every problem is diagnosed, and healthy runs give no advice."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import PRESETS, make_configs
from nanollm.data.corpus import CorpusStore
from nanollm.data.ngrams import Baselines
from nanollm.errors import InputError
from nanollm.runs.doctor import TrainingRecord, apply_advice, diagnose
from nanollm.runs.record import Curve, write_status
from nanollm.runs.store import Run, RunStore
from nanollm.train.events import Eval
from tests import recorded
from tests.recorded import FOLDER, RUNS
from tests.run_folders import checkpoint, step, write

LEARNED = 0.9
EXPECTED_RULES = {
    "diverged": "too_high",
    "too-high": "too_high",
    "too-low": "too_low",
    "overfitting": "overfitting",
    "falling": "still_falling",
    "small-text": "corpus_too_small",
}


def case(name: str) -> TrainingRecord:
    """Return a recorded run as the doctor sees it."""
    known = recorded.load(name)
    model, train = make_configs({**PRESETS[known["preset"]], **known["settings"]}, known["vocab_size"])
    baselines = Baselines(**known["baselines"]) if known["baselines"] else None
    learned = int(known["characters"] * LEARNED)
    return TrainingRecord(Curve(**known["curve"]), model, train, known["state"], learned, known["preset"], baselines)


def expected_rule(name: str) -> str:
    return next(rule for start, rule in EXPECTED_RULES.items() if name.startswith(start))


PROBLEMS = [name for name in RUNS if not name.startswith("healthy")]
HEALTHY = [name for name in RUNS if name.startswith("healthy")]


def test_all_recorded_runs_are_present_and_small() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(RUNS)
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) < 100_000


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_gives_no_advice(name: str) -> None:
    assert diagnose(case(name)) == []


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_has_evidence_and_a_fix(name: str) -> None:
    advice = {advice.rule: advice for advice in diagnose(case(name))}
    advice = advice[expected_rule(name)]
    for words in (advice.sentence, advice.evidence):
        assert words[0].isupper() and words.endswith(".")
    assert any(character.isdigit() for character in advice.evidence)
    assert advice.continues or advice.settings or advice.preset


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_rules_work_without_baselines(name: str) -> None:
    assert expected_rule(name) in {advice.rule for advice in diagnose(replace(case(name), baselines=None))}


def test_the_suggested_learning_rate_is_that_of_the_preset() -> None:
    for name in ("too-high-nano", "too-low-nano"):
        (advice,) = diagnose(case(name))
        assert advice.settings == {"learning_rate": PRESETS["nano"]["learning_rate"]}


def test_overfitting_is_reported_since_the_step_with_the_lowest_loss() -> None:
    problem = case("overfitting-sprint")
    step, _, _ = min(problem.measured, key=lambda one: one[2])
    assert any(f"since step {step:,}" in advice.sentence for advice in diagnose(problem))


@pytest.mark.parametrize("name", HEALTHY)
def test_no_prefix_of_a_healthy_curve_gives_advice(name: str) -> None:
    whole = case(name)
    for reached in whole.curve.eval_steps[:-1]:
        steps = sum(step <= reached for step in whole.curve.steps)
        evals = sum(step <= reached for step in whole.curve.eval_steps)
        columns = ("steps", "loss"), ("eval_steps", "train_loss", "val_loss")
        cut = {
            name: getattr(whole.curve, name)[:count]
            for names, count in zip(columns, (steps, evals), strict=True)
            for name in names
        }
        assert diagnose(replace(whole, curve=Curve(**cut), state="running")) == []


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), max_size=20), st.sampled_from(["running", "completed"]))
def test_any_curve_is_diagnosed_without_an_error(losses: list[float | None], state: str) -> None:
    count = len(losses)
    curve = Curve(eval_steps=list(range(count)), train_loss=losses, val_loss=losses[::-1])
    for advice in diagnose(replace(case("healthy-nano"), curve=curve, state=state)):
        assert "nan" not in advice.evidence and math.isfinite(len(advice.sentence))


def test_a_fork_on_another_text_is_not_diagnosed_as_too_high() -> None:
    """A fork may start far above the uniform-guess loss; only a further rise indicates a high learning rate."""
    healthy = case("healthy-nano")
    begun = Curve(**{**recorded.load("healthy-nano")["curve"]})
    begun.train_loss[0] = begun.val_loss[0] = 9.0
    assert diagnose(replace(healthy, curve=begun)) == []
    spiking = Curve(eval_steps=[0, 10, 20], train_loss=[9.0, 12.0, 8.0], val_loss=[9.0, 12.0, 8.0])
    (advice,) = diagnose(replace(healthy, curve=spiking))
    assert advice.rule == "too_high" and "it started at 9.00" in advice.evidence


def write_run(name: str, store: RunStore, corpora: CorpusStore) -> Run:
    """Write a run folder with a recorded curve and two snapshots."""
    known, corpus = recorded.load(name), corpora.list()[0]
    text = corpora.page(corpus.sha256, 0, known["characters"])
    if known["characters"] < corpus.characters:
        corpus = corpora.add_text(text, "a part")
    run = store.create(settings=known["settings"], corpus=corpus, preset=known["preset"], queued=False)
    curve = Curve(**known["curve"])
    losses = zip(curve.eval_steps, curve.train_loss, curve.val_loss, strict=True)
    happened = [step(number, loss) for number, loss in zip(curve.steps, curve.loss, strict=True)]
    happened += [Eval(number, train, val, number / 100) for number, train, val in losses]
    write(run, *sorted(happened, key=lambda event: event.step))
    for number in (0, curve.eval_steps[-1]):
        checkpoint(run.folder, f"{number:08}", number, characters=text)
    write_status(run.folder, known["state"], step=curve.eval_steps[-1])
    return run


class TestApplyAdvice:
    @pytest.mark.parametrize("name", PROBLEMS)
    def test_every_advice_can_be_applied(self, name, store, corpora) -> None:
        problem = write_run(name, store, corpora)
        advice = diagnose(problem)
        assert expected_rule(name) in {one.rule for one in advice}
        for index, one in enumerate(advice):
            fixed = apply_advice(store, problem, index, corpora)
            assert fixed.status().state == "queued" and (fixed.parent is not None) == one.continues
            created = {**fixed.model_config.__dict__, **fixed.train_config.__dict__}
            assert all(created[setting] == value for setting, value in one.settings.items())

    def test_advice_to_use_nano_creates_a_nano_run(self, store, corpora) -> None:
        text = corpora.add_text("to be or not to be, that is the question\n" * 40, "short")
        unusual = dict(num_heads=3, embedding_dim=192, dropout=0.3, position="learned", seed=9, accumulation_steps=2)
        problem = store.create(settings=unusual, corpus=text, preset="medium", queued=False)
        write(problem, Eval(0, 3.0, 3.0, 0.0), Eval(100, 0.1, 2.5, 1.0))
        write_status(problem.folder, "completed", step=100)
        index = [advice.rule for advice in diagnose(problem)].index("corpus_too_small")
        fixed = apply_advice(store, problem, index, corpora)
        assert (fixed.model_config, replace(fixed.train_config, seed=42)) == make_configs(PRESETS["nano"], 15)
        assert fixed.train_config.seed == 9 and fixed.title.startswith("nano")

    def test_advice_for_a_fork_restarts_from_its_first_snapshot(self, store, corpora) -> None:
        parent = write_run("healthy-nano", store, corpora)
        problem = store.fork(parent, corpora=corpora, settings={"learning_rate": 1.0}, queued=False)
        text = corpora.read(corpora.list()[0].sha256)
        checkpoint(problem.folder, "00000000", 0, characters=text)
        write(problem, Eval(0, 2.0, 2.0, 0.0), step(10, loss=50.0))
        write_status(problem.folder, "diverged", step=10)
        fixed = apply_advice(store, problem, 0, corpora)
        assert fixed.parent and (fixed.parent.run, fixed.parent.step) == (problem.id, 0)
        assert fixed.train_config.learning_rate == PRESETS["nano"]["learning_rate"]

    def test_the_suggested_settings_create_a_queued_run(self, store: RunStore, corpora: CorpusStore) -> None:
        corpus = corpora.list()[0]
        problem = store.create(settings={"learning_rate": 1.0, "seed": 9}, corpus=corpus, preset="nano")
        write(problem, step(10, loss=50.0))
        write_status(problem.folder, "diverged", step=10)
        fixed = apply_advice(store, problem, 0, corpora)
        assert fixed.status().state == "queued"
        assert fixed.train_config.learning_rate == PRESETS["nano"]["learning_rate"] and fixed.train_config.seed == 9
        assert "learning rate 0.02" in fixed.title

    @pytest.mark.parametrize("index", [None, -1, 5, True, "0"])
    def test_an_invalid_index_is_refused(self, store: RunStore, corpora: CorpusStore, index) -> None:
        run = store.create(settings={}, corpus=corpora.list()[0], preset="nano")
        with pytest.raises(InputError, match="outdated"):
            apply_advice(store, run, index, corpora)


def test_recorded_curves_have_the_current_columns(tmp_path: Path) -> None:
    name = "diverged"
    assert set(recorded.record(name)["curve"]) == set(recorded.load(name)["curve"])
