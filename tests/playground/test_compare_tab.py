"""Compare without a browser: who may be compared, what a round asks, and that all numbers are the core's."""

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
from playground.compare import curves, scored, sentences, texts
from playground.compare import guess_the_size as blind
from playground.compare.columns import (
    MAX_COLUMNS,
    Column,
    comparison_warning,
    facts,
    models_request,
    parse_columns,
    start_streams,
)
from playground.compare.compare_difference import Score
from playground.compare.compare_difference import scored as packed
from playground.compare.tab import members
from playground.context import Context
from playground.services.streaming import run_streams
from playground.services.wire_format import BIT_STEPS
from playground.settings import Settings
from tests.experiments.test_scaling import recorded
from tests.run_folders import checkpoint, evaluated, make, write

TEXT = "the cat sat on the mat, and the rat ran.\n" * 100
QUICK = {"num_steps": 20, "batch_size": 4, "context_length": 16, "eval_interval": 10}
DIALS = {"temperature": 0.8, "top_k": 40, "max_length": 60, "seed": 42}


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


def asked(runs: list[Run], prompt: str = "the ", steps: list[int] | None = None, **dials: Any) -> dict[str, Any]:
    moments = zip(runs, steps or [None] * len(runs), strict=True)
    return {"models": [{"run": run.id, "step": step} for run, step in moments], "prompt": prompt, **DIALS, **dials}


def written(ctx: Context, question: dict[str, Any]) -> list[Column]:
    """The parse_columns of a question when everybody has finished."""
    columns = parse_columns(ctx, question)
    start_streams(ctx, question, columns)
    for _ in run_streams([column.stream for column in columns if column.stream]):
        pass
    return columns


def test_every_column_writes_what_its_model_writes_alone(ctx: Context, runs: list[Run]) -> None:
    for column in written(ctx, asked([*runs, runs[0]], steps=[20, 20, 0])):
        assert column.run and column.snapshot
        loaded = ctx.models.at(column.snapshot)
        assert "the " + column.text == generate_text(loaded.model, loaded.tokenizer, "the ", **DIALS)


def test_every_update_says_whether_stop_can_be_pressed(ctx: Context, runs: list[Run]) -> None:
    """The page merges updates that come at once, and an earlier write's last one may come late: see streaming.py."""
    for updates in (texts._write(ctx, "visitor", asked(runs)), blind._write(ctx, "visitor", asked(runs), None)):
        *under_way, over = (update[-1].interactive for update in updates)
        assert all(under_way) and not over


def test_facts_are_those_of_the_moment_in_the_column(ctx: Context, runs: list[Run]) -> None:
    (column,) = parse_columns(ctx, asked(runs[:1], steps=[10]))
    assert column.snapshot and column.snapshot.val_loss
    told = dict(facts(column, "1,234"))
    parameters = sum(weight.numel() for weight in ctx.models.at(column.snapshot).model.parameters())
    assert told["parameters"] == f"{parameters:,}" and told["steps"] == "10"
    assert float(told["validation loss"]) == pytest.approx(column.snapshot.val_loss, abs=0.005)


def test_a_column_that_cannot_write_leaves_the_others_alone(ctx: Context, runs: list[Run]) -> None:
    question = asked(runs)
    question["models"][0] = {"run": "gone", "step": 3}
    gone, there = written(ctx, question)
    assert gone.stream is None and "no longer here" in gone.problem
    assert len(there.text) == DIALS["max_length"] and not there.problem

    for column in written(ctx, asked(runs, "Ω the Ω")):
        assert column.unknown == "Ω" and "Ω" in column.problem and column.stream is None


@pytest.mark.parametrize(
    "odd", [None, [], {}, {"models": []}, {"models": "x"}, {"models": [{}] * (MAX_COLUMNS + 1)}], ids=str
)
def test_an_odd_question_gets_a_sentence(ctx: Context, odd: object) -> None:
    with pytest.raises(InputError):
        parse_columns(ctx, odd)


def test_odd_models_and_dials_get_a_sentence_each(ctx: Context, runs: list[Run]) -> None:
    for column in parse_columns(ctx, {"models": [None, 7, {"run": 7}, {"run": ["x"]}]}):
        assert column.run is None and column.problem
    for dials in ({"temperature": math.nan}, {"top_k": "x"}, {"seed": None}, {"max_length": -1}, {"prompt": 7}):
        question = asked(runs) | dials
        assert all(column.problem and column.stream is None for column in written(ctx, question))


def test_the_columns_take_as_many_models_as_they_are() -> None:
    models = [{"run": name} for name in "abcd"]
    assert models_request(3, models) == {"models": models[:3]}
    assert models_request(None, models) == {"models": models}


class TestCaution:
    def test_one_text_can_be_compared(self, runs: list[Run]) -> None:
        assert comparison_warning(runs) == comparison_warning([]) == comparison_warning([None, runs[0]]) == ""

    def test_different_texts_cannot(self, ctx: Context, runs: list[Run]) -> None:
        other = make(ctx.runs)
        assert other.model_config.vocab_size != runs[0].model_config.vocab_size
        assert comparison_warning([*runs, other]) == sentences.BOTH_DIFFERENT
        ctx.runs.delete(other.id)

    def test_nor_can_models_that_know_different_characters(self, ctx: Context, runs: list[Run]) -> None:
        forked = ctx.runs.create(settings=QUICK, corpus=ctx.corpora.get(runs[0].corpus["sha256"]), queued=False)
        forked.model_config = ModelConfig(vocab_size=99, embedding_dim=16, num_layers=1, ffn_hidden_dim=16)
        assert comparison_warning([runs[0], forked]) == sentences.DIFFERENT_VOCABULARIES
        ctx.runs.delete(forked.id)

    def test_a_text_that_is_not_known_may_be_another(self, ctx: Context, runs: list[Run]) -> None:
        folder = ctx.runs.root / "bare"
        checkpoint(folder, "final", 5)
        assert comparison_warning([Run.open(folder), runs[0]]) == sentences.UNKNOWN_CORPORA
        ctx.runs.delete("bare")


class TestBlindRound:
    def column(self, parameters: int, step: int) -> Column:
        """A column of a model of about so many parameters; only its size and its age count here."""
        run = object.__new__(Run)
        run.model_config = ModelConfig(vocab_size=parameters, embedding_dim=8, num_layers=1, ffn_hidden_dim=8)
        return Column(run, Snapshot(step, Path(), None, None, False))

    @given(st.lists(st.tuples(st.integers(2, 6), st.integers(0, 3)), min_size=2, max_size=MAX_COLUMNS))
    def test_a_question_has_one_answer_or_is_not_asked(self, models: list[tuple[int, int]]) -> None:
        columns = [self.column(*model) for model in models]
        sizes, steps = zip(*models, strict=True)
        try:
            question, right = blind.riddle(columns)
        except InputError:
            assert sizes.count(max(sizes)) > 1 and steps.count(max(steps)) > 1
            return
        amounts = sizes if "large" in question or "larger" in question else steps
        assert [i for i, amount in enumerate(amounts) if amount == max(amounts)] == [right]

    def test_the_browser_gets_no_name_before_the_guess(self, ctx: Context, runs: list[Run]) -> None:
        updates = list(blind._write(ctx, "visitor", asked(runs), None))
        now = updates[-1][1]
        for cards, *_ in updates:
            sent = json.dumps(cards, ensure_ascii=False)
            assert cards["names"] is None and cards["right"] is None
            assert not any(run.title in sent or run.id in sent for run in runs)
        revealed = now.cards(over=True, chosen=0)
        assert {name["title"] for name in revealed["names"]} == {run.title for run in runs}
        assert revealed["names"][revealed["right"]]["title"] == runs[1].title

    def test_no_text_is_ahead_of_another(self, ctx: Context, runs: list[Run]) -> None:
        lengths = [
            [len(text) for text in cards["texts"]] for cards, *_ in blind._write(ctx, "visitor", asked(runs), None)
        ]
        assert all(len(set(each)) == 1 for each in lengths)
        assert lengths[-1] == [DIALS["max_length"]] * 2
        *_, (cards, *_) = blind._write(ctx, "visitor", {**asked(runs), "max_length": 5000}, None)
        assert [len(text) for text in cards["texts"]] == [blind.LENGTH] * 2

    def test_a_round_needs_two_that_can_write(self, ctx: Context, runs: list[Run]) -> None:
        lengthless = {**asked(runs), "max_length": None}
        for question in (asked(runs[:1]), asked(runs, "Ω"), asked([runs[0], runs[0]]), lengthless):
            with pytest.raises(InputError):
                list(blind._write(ctx, "visitor", question, None))


class TestScored:
    def test_losses_and_bits_are_the_core_s(self, ctx: Context, runs: list[Run]) -> None:
        text = "the rat sat."
        sent = packed(text, scored.score_all(ctx, parse_columns(ctx, asked(runs)), text))
        for run, model in zip(runs, sent["models"], strict=True):
            loaded = ctx.models.get(run.id, None)
            bits = surprisal(loaded.model, loaded.tokenizer, text).bits
            unpacked = np.frombuffer(base64.b64decode(model["bits"]), "<u2") / BIT_STEPS
            assert unpacked == pytest.approx(bits, abs=0.6 / BIT_STEPS)
            assert float(model["loss"]) == pytest.approx(bits.mean() * math.log(2), abs=1e-3)

    def test_who_cannot_read_it_says_so(self, ctx: Context, runs: list[Run]) -> None:
        columns = parse_columns(ctx, asked(runs))
        assert scored.score_all(ctx, columns, "Ω") == []
        assert all("Ω" in column.problem and column.run and column.run.title in column.problem for column in columns)
        columns = parse_columns(ctx, asked(runs))
        assert scored.score_all(ctx, columns, "") == [] and len({column.problem for column in columns}) == 1

    def test_what_was_held_out_was_not_trained_on(self, ctx: Context, runs: list[Run]) -> None:
        text = scored.held_out(ctx, parse_columns(ctx, asked(runs)))
        trained = 1 - runs[0].train_config.validation_fraction
        assert text and text in TEXT[int(len(TEXT) * trained) :]
        with pytest.raises(InputError):
            scored.held_out(ctx, [Column(problem="gone")])

    @given(st.lists(st.floats(0, 70), min_size=1, max_size=50))
    def test_bits_travel_as_parts_of_a_bit(self, bits: list[float]) -> None:
        run = object.__new__(Run)
        run.title, run.model_config = "x", ModelConfig(vocab_size=9, embedding_dim=8, num_layers=1, ffn_hidden_dim=8)
        (model,) = packed("x" * len(bits), [Score(run, 1, 0, np.array(bits))])["models"]
        unpacked = np.frombuffer(base64.b64decode(model["bits"]), "<u2") / BIT_STEPS
        assert unpacked == pytest.approx(np.minimum(bits, 65535 / BIT_STEPS), abs=0.6 / BIT_STEPS)


class TestCurves:
    def test_every_chosen_run_has_its_two_lines_and_counting_its_own(self, ctx: Context, runs: list[Run]) -> None:
        for axis in curves.AXES.values():
            figure = curves.curves(ctx, runs, axis)
            assert figure
            solid = [trace for trace in figure["data"] if trace["line"].get("width") == 2]
            for run, trace in zip(runs, solid, strict=True):
                measured = [round(loss, 4) for loss in run.curve().val_loss if loss is not None]
                assert trace["y"] == measured[-len(trace["y"]) :]
            assert len(figure["data"]) == 2 * len(runs) + 4

    def test_runs_that_cannot_be_compared_are_not_held_against_counting(self, ctx: Context, runs: list[Run]) -> None:
        other = make(ctx.runs)
        write(other, evaluated(0, 3.0), evaluated(10, 2.0))
        figure = curves.curves(ctx, [*runs, other], "steps")
        assert figure and len(figure["data"]) == 2 * 3
        write(other, evaluated(20, 99.0))  # nor is all else pressed to the floor by one that diverged
        figure = curves.curves(ctx, [*runs, other], "steps")
        assert figure and figure["layout"]["yaxis"]["autorangeoptions"]["clipmax"] < 10
        ctx.runs.delete(other.id)

    def test_a_long_run_is_thinned_to_its_ends(self, ctx: Context) -> None:
        run = make(ctx.runs)
        write(run, *(evaluated(number, 3.0) for number in range(0, 5010, 10)))
        figure = curves.curves(ctx, [run], "steps")
        assert figure
        x = figure["data"][1]["x"]
        assert len(x) <= curves.MOST_POINTS + 1 and (x[0], x[-1]) == (0, 5000)
        ctx.runs.delete(run.id)

    def test_nothing_measured_is_no_figure(self, ctx: Context) -> None:
        run = make(ctx.runs)
        assert curves.curves(ctx, [], "steps") is None and curves.curves(ctx, [run], "steps") is None
        ctx.runs.delete(run.id)

    def test_only_runs_that_are_here_are_chosen(self, ctx: Context, runs: list[Run]) -> None:
        chosen = curves.chosen_runs(ctx, [runs[1].id, "gone", 7, runs[0].id, runs[1].id])
        assert [run.id for run in chosen] == [runs[1].id, runs[0].id]
        assert curves.chosen_runs(ctx, None) == curves.chosen_runs(ctx, "x") == []


def test_an_experiment_brings_every_size_before_a_second_seed(ctx: Context, tmp_path: Path) -> None:
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
