"""The Compare tab without a browser: columns, warnings, rounds, and numbers equal to those of the core."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import ModelConfig
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.experiments.scaling import Plan
from nanollm.explain.surprisal import surprisal
from nanollm.inference.generate import generate_text
from nanollm.runs.process.worker import work
from nanollm.runs.store import Run, RunStore, Snapshot
from playground.compare import curves, guess_the_size, scored, sentences, texts
from playground.compare.columns import (
    MAX_COLUMNS,
    Column,
    comparison_warning,
    facts,
    models_request,
    parse_columns,
    start_streams,
)
from playground.compare.scored import Score, score_value
from playground.compare.tab import members
from playground.context import Context
from playground.services.streaming import run_streams
from playground.services.wire_format import BIT_STEPS
from playground.settings import Settings
from tests.experiments.test_scaling import recorded
from tests.run_folders import checkpoint, evaluated, make, write

TEXT = "the cat sat on the mat, and the rat ran.\n" * 100
QUICK = {"num_steps": 20, "batch_size": 4, "context_length": 16, "eval_interval": 10}
SAMPLING = {"temperature": 0.8, "top_k": 40, "max_length": 60, "seed": 42}


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The page's services over two trained runs of one text, the second of them larger."""
    ctx = Context.open(Settings(home=Path(tmp_path_factory.mktemp("home"))))
    corpus = CorpusStore(ctx.settings.corpora).add_text(TEXT, "cats")
    for width in (16, 32):
        settings = {**QUICK, "embedding_dim": width}
        work(ctx.runs.create(settings=settings, corpus=corpus, preset="nano", queued=False), ctx.settings.corpora)
    return ctx


@pytest.fixture(scope="module")
def runs(ctx: Context) -> list[Run]:
    """The smaller one, then the larger."""
    return sorted(ctx.runs.list(), key=lambda run: run.model_config.num_parameters)


def request_for(
    runs: list[Run], prompt: str = "the ", steps: list[int] | None = None, **sampling: Any
) -> dict[str, Any]:
    pairs = zip(runs, steps or [None] * len(runs), strict=True)
    return {"models": [{"run": run.id, "step": step} for run, step in pairs], "prompt": prompt, **SAMPLING, **sampling}


def generated(ctx: Context, request: dict[str, Any]) -> list[Column]:
    """The columns of a request when all have finished."""
    columns = parse_columns(ctx, request)
    start_streams(ctx, request, columns)
    for _ in run_streams([column.stream for column in columns if column.stream]):
        pass
    return columns


def test_every_column_generates_the_same_text_as_its_model_alone(ctx: Context, runs: list[Run]) -> None:
    for column in generated(ctx, request_for([*runs, runs[0]], steps=[20, 20, 0])):
        assert column.run and column.snapshot
        loaded = ctx.models.at(column.snapshot)
        assert "the " + column.text == generate_text(loaded.model, loaded.tokenizer, "the ", **SAMPLING)


def test_every_update_contains_the_state_of_the_stop_button(ctx: Context, runs: list[Run]) -> None:
    """The page merges simultaneous updates, and the last one of an earlier stream may be late: see streaming.py."""
    for updates in (
        texts._generate(ctx, "visitor", request_for(runs)),
        guess_the_size._generate(ctx, "visitor", request_for(runs), None),
    ):
        *running, last = (update[-1].interactive for update in updates)
        assert all(running) and not last


def test_facts_belong_to_the_snapshot_in_the_column(ctx: Context, runs: list[Run]) -> None:
    (column,) = parse_columns(ctx, request_for(runs[:1], steps=[10]))
    assert column.snapshot and column.snapshot.val_loss
    shown = dict(facts(column, "1,234"))
    parameters = sum(weight.numel() for weight in ctx.models.at(column.snapshot).model.parameters())
    assert shown["parameters"] == f"{parameters:,}" and shown["steps"] == "10"
    assert float(shown["validation loss"]) == pytest.approx(column.snapshot.val_loss, abs=0.005)


def test_a_column_with_a_problem_does_not_affect_the_others(ctx: Context, runs: list[Run]) -> None:
    request = request_for(runs)
    request["models"][0] = {"run": "gone", "step": 3}
    missing, existing = generated(ctx, request)
    assert missing.stream is None and "no longer here" in missing.problem
    assert len(existing.text) == SAMPLING["max_length"] and not existing.problem

    for column in generated(ctx, request_for(runs, "Ω the Ω")):
        assert column.unknown == "Ω" and "Ω" in column.problem and column.stream is None


@pytest.mark.parametrize(
    "request_value", [None, [], {}, {"models": []}, {"models": "x"}, {"models": [{}] * (MAX_COLUMNS + 1)}], ids=str
)
def test_malformed_requests_are_rejected(ctx: Context, request_value: object) -> None:
    with pytest.raises(InputError):
        parse_columns(ctx, request_value)


def test_malformed_models_and_settings_are_reported_per_column(ctx: Context, runs: list[Run]) -> None:
    for column in parse_columns(ctx, {"models": [None, 7, {"run": 7}, {"run": ["x"]}]}):
        assert column.run is None and column.problem
    for sampling in ({"temperature": math.nan}, {"top_k": "x"}, {"seed": None}, {"max_length": -1}, {"prompt": 7}):
        request = request_for(runs) | sampling
        assert all(column.problem and column.stream is None for column in generated(ctx, request))


def test_a_request_contains_as_many_models_as_columns() -> None:
    models = [{"run": name} for name in "abcd"]
    assert models_request(3, models) == {"models": models[:3]}
    assert models_request(None, models) == {"models": models}


class TestComparisonWarning:
    def test_runs_on_one_text_are_comparable(self, runs: list[Run]) -> None:
        assert comparison_warning(runs) == comparison_warning([]) == comparison_warning([None, runs[0]]) == ""

    def test_runs_on_different_texts_are_not_comparable(self, ctx: Context, runs: list[Run]) -> None:
        other = make(ctx.runs)
        assert other.model_config.vocab_size != runs[0].model_config.vocab_size
        assert comparison_warning([*runs, other]) == sentences.BOTH_DIFFERENT
        ctx.runs.delete(other.id)

    def test_different_vocabularies_are_not_comparable(self, ctx: Context, runs: list[Run]) -> None:
        forked = ctx.runs.create(settings=QUICK, corpus=ctx.corpora.get(runs[0].corpus["sha256"]), queued=False)
        forked.model_config = ModelConfig(vocab_size=99, embedding_dim=16, num_layers=1, ffn_hidden_dim=16)
        assert comparison_warning([runs[0], forked]) == sentences.DIFFERENT_VOCABULARIES
        ctx.runs.delete(forked.id)

    def test_an_unknown_text_may_be_a_different_one(self, ctx: Context, runs: list[Run]) -> None:
        folder = ctx.runs.root / "bare"
        checkpoint(folder, "final", 5)
        assert comparison_warning([Run.open(folder), runs[0]]) == sentences.UNKNOWN_CORPORA
        ctx.runs.delete("bare")


class TestGuessTheSize:
    def column(self, parameters: int, step: int) -> Column:
        """A column with a model of a given size and step."""
        run = object.__new__(Run)
        run.model_config = ModelConfig(vocab_size=parameters, embedding_dim=8, num_layers=1, ffn_hidden_dim=8)
        return Column(run, Snapshot(step, Path(), None, None, False))

    @given(st.lists(st.tuples(st.integers(2, 6), st.integers(0, 3)), min_size=2, max_size=MAX_COLUMNS))
    def test_a_question_has_exactly_one_answer(self, models: list[tuple[int, int]]) -> None:
        columns = [self.column(*model) for model in models]
        sizes, steps = zip(*models, strict=True)
        try:
            question, right = guess_the_size.choose_question(columns)
        except InputError:
            assert sizes.count(max(sizes)) > 1 and steps.count(max(steps)) > 1
            return
        amounts = sizes if question in sentences.LARGER else steps
        assert [i for i, amount in enumerate(amounts) if amount == max(amounts)] == [right]

    def test_the_browser_gets_no_names_before_the_guess(self, ctx: Context, runs: list[Run]) -> None:
        updates = list(guess_the_size._generate(ctx, "visitor", request_for(runs), None))
        now = updates[-1][1]
        for cards, *_ in updates:
            sent = json.dumps(cards, ensure_ascii=False)
            assert cards["names"] is None and cards["right"] is None
            assert not any(run.title in sent or run.id in sent for run in runs)
        revealed = now.cards(over=True, chosen=0)
        assert {name["title"] for name in revealed["names"]} == {run.title for run in runs}
        assert revealed["names"][revealed["right"]]["title"] == runs[1].title

    def test_all_texts_have_the_same_length(self, ctx: Context, runs: list[Run]) -> None:
        lengths = [
            [len(text) for text in cards["texts"]]
            for cards, *_ in guess_the_size._generate(ctx, "visitor", request_for(runs), None)
        ]
        assert all(len(set(each)) == 1 for each in lengths)
        assert lengths[-1] == [SAMPLING["max_length"]] * 2
        *_, (cards, *_) = guess_the_size._generate(ctx, "visitor", {**request_for(runs), "max_length": 5000}, None)
        assert [len(text) for text in cards["texts"]] == [guess_the_size.MAX_LENGTH] * 2

    def test_a_round_needs_two_models_that_can_generate(self, ctx: Context, runs: list[Run]) -> None:
        without_length = {**request_for(runs), "max_length": None}
        for request in (request_for(runs[:1]), request_for(runs, "Ω"), request_for([runs[0], runs[0]]), without_length):
            with pytest.raises(InputError):
                list(guess_the_size._generate(ctx, "visitor", request, None))


class TestScored:
    def test_losses_and_bits_equal_those_of_the_core(self, ctx: Context, runs: list[Run]) -> None:
        text = "the rat sat."
        sent = score_value(text, scored.score_all(ctx, parse_columns(ctx, request_for(runs)), text))
        for run, model in zip(runs, sent["models"], strict=True):
            loaded = ctx.models.get(run.id, None)
            bits = surprisal(loaded.model, loaded.tokenizer, text).bits
            unpacked = np.frombuffer(base64.b64decode(model["bits"]), "<u2") / BIT_STEPS
            assert unpacked == pytest.approx(bits, abs=0.6 / BIT_STEPS)
            assert float(model["loss"]) == pytest.approx(bits.mean() * math.log(2), abs=1e-3)

    def test_unreadable_texts_are_reported_per_model(self, ctx: Context, runs: list[Run]) -> None:
        columns = parse_columns(ctx, request_for(runs))
        assert scored.score_all(ctx, columns, "Ω") == []
        assert all("Ω" in column.problem and column.run and column.run.title in column.problem for column in columns)
        columns = parse_columns(ctx, request_for(runs))
        assert scored.score_all(ctx, columns, "") == [] and len({column.problem for column in columns}) == 1

    def test_held_out_text_was_not_used_in_training(self, ctx: Context, runs: list[Run]) -> None:
        text = scored.held_out(ctx, parse_columns(ctx, request_for(runs)))
        trained = 1 - runs[0].train_config.validation_fraction
        assert text and text in TEXT[int(len(TEXT) * trained) :]
        with pytest.raises(InputError):
            scored.held_out(ctx, [Column(problem="gone")])

    @given(st.lists(st.floats(0, 70), min_size=1, max_size=50))
    def test_bits_are_quantized(self, bits: list[float]) -> None:
        run = object.__new__(Run)
        run.title, run.model_config = "x", ModelConfig(vocab_size=9, embedding_dim=8, num_layers=1, ffn_hidden_dim=8)
        (model,) = score_value("x" * len(bits), [Score(run, 1, 0, np.array(bits))])["models"]
        unpacked = np.frombuffer(base64.b64decode(model["bits"]), "<u2") / BIT_STEPS
        assert unpacked == pytest.approx(np.minimum(bits, 65535 / BIT_STEPS), abs=0.6 / BIT_STEPS)


class TestCurves:
    def test_every_run_has_two_lines_and_every_baseline_one(self, ctx: Context, runs: list[Run]) -> None:
        for axis in sentences.AXES.values():
            figure = curves.curves(ctx, runs, axis)
            assert figure
            solid = [trace for trace in figure["data"] if trace["line"].get("width") == 2]
            for run, trace in zip(runs, solid, strict=True):
                measured = [round(loss, 4) for loss in run.curve().val_loss if loss is not None]
                assert trace["y"] == measured[-len(trace["y"]) :]
            assert len(figure["data"]) == 2 * len(runs) + 4

    def test_runs_that_are_not_comparable_have_no_baselines(self, ctx: Context, runs: list[Run]) -> None:
        other = make(ctx.runs)
        write(other, evaluated(0, 3.0), evaluated(10, 2.0))
        figure = curves.curves(ctx, [*runs, other], "steps")
        assert figure and len(figure["data"]) == 2 * 3
        write(other, evaluated(20, 99.0))  # a diverged run does not compress the others
        figure = curves.curves(ctx, [*runs, other], "steps")
        assert figure and figure["layout"]["yaxis"]["autorangeoptions"]["clipmax"] < 10
        ctx.runs.delete(other.id)

    def test_long_runs_are_thinned_but_keep_both_ends(self, ctx: Context) -> None:
        run = make(ctx.runs)
        write(run, *(evaluated(number, 3.0) for number in range(0, 5010, 10)))
        figure = curves.curves(ctx, [run], "steps")
        assert figure
        x = figure["data"][1]["x"]
        assert len(x) <= curves.MAX_POINTS + 1 and (x[0], x[-1]) == (0, 5000)
        ctx.runs.delete(run.id)

    def test_without_measurements_there_is_no_figure(self, ctx: Context) -> None:
        run = make(ctx.runs)
        assert curves.curves(ctx, [], "steps") is None and curves.curves(ctx, [run], "steps") is None
        ctx.runs.delete(run.id)

    def test_only_existing_runs_are_chosen(self, ctx: Context, runs: list[Run]) -> None:
        chosen = curves.chosen_runs(ctx, [runs[1].id, "gone", 7, runs[0].id, runs[1].id])
        assert [run.id for run in chosen] == [runs[1].id, runs[0].id]
        assert curves.chosen_runs(ctx, None) == curves.chosen_runs(ctx, "x") == []


def test_an_experiment_lists_every_size_before_the_second_seed(ctx: Context, tmp_path: Path) -> None:
    experiment = recorded(RunStore(tmp_path / "runs"), Plan(("nano", "small"), 1.0, (1, 2)))
    assert members(experiment) == []
    for run in experiment.runs():
        checkpoint(run.folder, "00000000", 0)
        checkpoint(run.folder, f"{run.train_config.num_steps:08}", run.train_config.num_steps)
    known = {run.id: run for run in experiment.runs()}
    found = [known[model["run"]] for model in members(experiment)]
    assert [(run.preset, run.train_config.seed) for run in found] == [
        ("nano", 1), ("small", 1), ("nano", 2), ("small", 2),
    ]  # fmt: skip
    assert [model["step"] for model in members(experiment)] == [run.train_config.num_steps for run in found]
