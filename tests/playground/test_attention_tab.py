"""The views of the Attention tab match the core functions, on a random model in a real run folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from nanollm.charts.inspection import history_figure
from nanollm.config import ModelConfig
from nanollm.data.corpus import CorpusStore, split
from nanollm.errors import InputError
from nanollm.explain.ablation import (
    Ablation,
    Part,
    Predictions,
    measure_ablation,
    measure_means,
    rank_heads,
    save_means,
)
from nanollm.explain.backup_heads import BackupPair
from nanollm.explain.findings import measure_findings, save_findings
from nanollm.explain.head_types import UNKNOWN
from nanollm.inference.generate import generate_text
from nanollm.runs.store import RunStore
from nanollm.runs.transfer.archive import export, import_
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import save_checkpoint
from nanollm.train.checkpoint_file import snapshot_name
from playground.attention import sentences
from playground.attention.views import ablation, attention_map, head_types, logit_lens, model_overview, ranking
from playground.context import Context
from playground.services.inspections import View
from playground.services.lru_cache import LRUCache
from playground.settings import Settings
from tests import run_folders
from tests.conftest import ROOT, random_model
from tests.planted import Planted

TEXT = "the cat sat on the mat, and the rat ran from the cat.\n" * 40
STEPS = (0, 4, 9)


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run with three snapshots and its text; every part of the random model affects the output."""
    home = tmp_path_factory.mktemp("home")
    corpus = CorpusStore(home / "data" / "corpora").add_text(TEXT, "cats")
    run = RunStore(home / "checkpoints").create(settings={}, corpus=corpus, preset="nano", queued=False)
    tokenizer = CharTokenizer.from_text(TEXT)
    config = ModelConfig(tokenizer.vocab_size, 16, 2, 16, num_heads=2, context_length=32)
    for step in STEPS:
        save_checkpoint(run.folder / snapshot_name(step), random_model(config, step), step=step, tokenizer=tokenizer)
    run_folders.write(run, run_folders.step(STEPS[-1]))
    return Context.open(Settings(home=home))


def view(ctx: Context, text: str = "the cat sat", step: int | None = None) -> View:
    return ctx.inspections.view({"run": ctx.runs.list()[0].id, "step": step}, text)


def test_a_deleted_snapshot_can_still_be_inspected(ctx: Context) -> None:
    """The best snapshot is deleted when a better one replaces it, possibly while a user inspects it."""
    seen = view(ctx)
    deleted = replace(seen, snapshot=replace(seen.snapshot, path=seen.snapshot.path.with_name("deleted")))
    assert ctx.inspections.frame(deleted) == ctx.inspections.frame(seen)
    assert (
        ctx.inspections.meter(deleted)[1] == ctx.inspections.meter(seen)[1] and ctx.inspections.ranking(deleted) is None
    )


@pytest.fixture(scope="module")
def parts(ctx: Context) -> dict[str, Any]:
    modules = {
        "attention_map": attention_map,
        "ablation": ablation,
        "head_types": head_types,
        "logit_lens": logit_lens,
        "model_overview": model_overview,
    }
    with gr.Blocks():
        return {name: module.layout(ctx) for name, module in modules.items()}


def test_a_long_text_is_cut_to_its_last_characters(ctx: Context) -> None:
    seen = view(ctx, TEXT)
    assert seen.text == TEXT[-32:]
    assert "last 32 of 2,160 characters" in seen.about
    assert view(ctx).about == ""
    with pytest.raises(InputError, match="'Z'"):
        view(ctx, "Z" + TEXT)
    for empty in ("", None, 7):
        with pytest.raises(InputError, match="no text"):
            view(ctx, empty)  # type: ignore[arg-type]


def test_the_example_is_taken_from_the_runs_text_if_characters_are_unknown(ctx: Context) -> None:
    selection = {"run": ctx.runs.list()[0].id, "step": None}
    example = ctx.inspections.example(selection, "The old clock said")
    assert example in TEXT and len(example) == len("The old clock said")


def test_frames_are_cached_per_snapshot(ctx: Context) -> None:
    seen = view(ctx, step=0)
    assert ctx.inspections.frame(seen) is ctx.inspections.frame(view(ctx, step=0))
    assert ctx.inspections.frame(seen) is not ctx.inspections.frame(view(ctx, step=4))


def test_the_cache_evicts_the_least_recently_used_entry() -> None:
    kept: LRUCache[int] = LRUCache(2)
    made: list[int] = []

    def make(value: int) -> int:
        made.append(value)
        return value

    for key in (1, 2, 1, 3, 1, 2):
        assert kept.get(key, lambda key=key: make(key)) == key
    assert made == [1, 2, 3, 2]


def test_held_out_text_is_the_validation_split_of_the_run(ctx: Context) -> None:
    seen = view(ctx)
    _, ids = ctx.corpora.encoded(seen.run.corpus["sha256"])
    expected = split(ids, seen.run.train_config.validation_fraction)[1]
    np.testing.assert_array_equal(ctx.inspections.held_out(seen.run, seen.loaded), expected)


def test_held_out_text_is_the_same_with_a_larger_vocabulary(ctx: Context, tmp_path: Path) -> None:
    """A fork keeps its parent's vocabulary, which may be larger than that of its text."""
    corpus = ctx.corpora.add_text(TEXT, "cats")
    store = RunStore(tmp_path)
    run = store.create(settings={}, corpus=corpus, preset="nano", queued=False)
    wider = CharTokenizer.from_text(TEXT + "XYZ")
    config = ModelConfig(wider.vocab_size, 16, 1, 16, num_heads=2, context_length=32)
    save_checkpoint(run.folder / snapshot_name(0), random_model(config), step=0, tokenizer=wider)
    run_folders.write(run, run_folders.step(0))
    seen = ctx.inspections._read_held_out(run, type(ctx.models)(store).get(run.id, 0))
    assert wider.decode(seen) == TEXT[len(TEXT) - len(seen) :]


def test_the_heatmap_is_sent_without_cell_values(ctx: Context, parts: dict[str, Any]) -> None:
    shown = attention_map.show(ctx, parts["attention_map"], view(ctx), {"layer": 2, "head": 1})
    figure = shown[parts["attention_map"].heatmap]
    assert figure["data"][0]["z"] == [] and len(figure["layout"]["xaxis"]["ticktext"]) == len("the cat sat")
    assert "found.weights[1, 0]" in shown[parts["attention_map"].python]


@pytest.mark.parametrize("kind", ["mean", "zero"])
def test_ablation_values_match_the_core(ctx: Context, parts: dict[str, Any], kind: str) -> None:
    its, seen = parts["ablation"], view(ctx)
    off = ["L1·H2", "L2·FF"]
    shown = ablation.show(ctx, its, seen, None, off, kind, 7)
    model, tokenizer = seen.loaded.model, seen.loaded.tokenizer
    means = measure_means(model, ctx.inspections.held_out(seen.run, seen.loaded)) if kind == "mean" else None
    found = measure_ablation(model, tokenizer, seen.text, [Part("head", 0, 1), Part("feed_forward", 1)], means)
    rises = [reading.loss - found.original.loss for reading in (*found.alone, found.together)]
    rows = shown[its.effects]["rows"]
    assert [row["label"] for row in rows] == ["L2·FF", "L1·H2", "together"]
    assert [row["value"] for row in rows] == pytest.approx(rises, abs=1e-5)
    assert f"{found.together.loss:.2f} nats per character instead of {found.original.loss:.2f}" in shown[its.cost]
    texts = shown[its.writing]
    assert seen.text + texts["texts"][0] == generate_text(model, tokenizer, seen.text, ablation.GENERATED, seed=7)
    at = texts["difference"]
    one, other = texts["texts"]
    assert one[:at] == other[:at] and one[at] != other[at]
    assert shown[its.why] == (sentences.REPLACED_BY_ZERO if kind == "zero" else sentences.REPLACED_BY_MEAN)


def test_backup_heads_are_only_reported_beyond_the_noise() -> None:
    chance = np.random.default_rng(0).normal(size=(3, 100))
    rises = np.array([0.1, 0.1, 0.5])[:, None]

    def legend(scatter: float) -> str:
        none = np.zeros(0)
        one, other, both = (Predictions(losses, none) for losses in rises + scatter * chance)
        off = (Part("head", 0, 0), Part("head", 0, 1))
        found = Ablation("a" * 101, 0, off, Predictions(np.zeros(100), none), both, (one, other))
        return ablation._effects(found)["legend"]

    assert "back each other up" in legend(0.1)
    assert "back each other up" not in legend(4.0)


def test_without_ablation_there_is_one_text_and_no_effect(ctx: Context, parts: dict[str, Any]) -> None:
    its = parts["ablation"]
    shown = ablation.show(ctx, its, view(ctx), None, ["L9", "nonsense"], "mean", True)
    assert shown[its.effects]["rows"] == [] and shown[its.why] == sentences.REPLACED_BY_MEAN
    assert len(shown[its.writing]["texts"]) == 1
    assert "Nothing is switched off" in shown[its.cost]
    assert "gives nothing to predict" in ablation.show(ctx, its, view(ctx, "t"), None, [], "mean", 1)[its.cost]


def test_saved_means_are_used_and_missing_means_are_explained(ctx: Context, tmp_path: Path) -> None:
    store, tokenizer = RunStore(tmp_path), CharTokenizer.from_text(TEXT)
    run = store.create(settings={}, corpus=run_folders.TALE, preset="nano", queued=False)  # a text that is not stored
    model = random_model(ModelConfig(tokenizer.vocab_size, 16, 1, 16, num_heads=2, context_length=32))
    save_checkpoint(run.folder / snapshot_name(0), model, step=0, tokenizer=tokenizer)
    run_folders.write(run, run_folders.step(0))
    other = Context.open(Settings(home=tmp_path))
    other.models._runs = store
    seen = other.inspections.view({"run": run.id, "step": 0}, "the cat")
    means, lack = other.inspections.means(seen)
    assert means is None and "its text is not available" in lack
    kept = measure_means(model, tokenizer.encode(TEXT))
    save_means(run.snapshot(0).means_path, kept)
    means, lack = other.inspections.means(seen)
    assert means is not None and lack == ""
    np.testing.assert_array_equal(means.heads, kept.heads)
    assert other.inspections.judged_by(seen)[1] == "only the text above"


def test_logit_shares_add_up_and_a_click_selects_the_character(ctx: Context, parts: dict[str, Any]) -> None:
    its, seen = parts["logit_lens"], view(ctx)
    for where in (None, 3, 99):
        shown = logit_lens.show(ctx, its, seen, None, where, None)
        *rows, together = shown[its.shares]["rows"]
        assert float(together["text"].replace("−", "-")) == pytest.approx(sum(row["value"] for row in rows), abs=0.006)
        table = shown[its.table]
        assert len(table["rows"]) == 3 and table["picked"] == table["rows"][-1]["characters"][0]["character"]
    picked = json.dumps({"at": [3, seen.typed], "character": "r"})
    assert logit_lens.show(ctx, its, seen, None, 3, picked)[its.table]["picked"] == "r"
    assert "“r”" in logit_lens.show(ctx, its, seen, None, 3, picked)[its.shares]["caption"]
    at_another = logit_lens.show(ctx, its, seen, None, 4, picked)[its.table]
    assert (
        at_another["picked"] == at_another["rows"][-1]["characters"][0]["character"]
    )  # it was selected at another position
    for invalid in ({"at": [3, seen.typed], "character": "Ж"}, "r", {"at": [3, seen.typed]}, {"at": 3}, [], 7):
        assert (
            logit_lens.show(ctx, its, seen, None, 3, json.dumps(invalid))[its.table]["picked"]
            in seen.loaded.tokenizer.characters
        )


def test_a_planted_head_gets_a_type_and_a_random_one_does_not(
    ctx: Context, parts: dict[str, Any], tmp_path: Path
) -> None:
    its = parts["head_types"]
    assert UNKNOWN in head_types.show(ctx, its, view(ctx), {"layer": 1, "head": 1})[its.name]
    tokenizer = CharTokenizer.from_text(TEXT)
    run = RunStore(tmp_path / "checkpoints").create(settings={}, corpus=run_folders.TALE, preset="nano", queued=False)
    planted = Planted(tokenizer.vocab_size, 32).back(0, 1, 1)
    save_checkpoint(run.folder / snapshot_name(0), planted.model, step=0, tokenizer=tokenizer)
    run_folders.write(run, run_folders.step(0))
    other = Context.open(Settings(home=tmp_path))
    shown = head_types.show(
        other, its, other.inspections.view({"run": run.id, "step": 0}, TEXT), {"layer": 1, "head": 2}
    )
    assert shown[its.name] == "L1·H2: previous character"
    assert shown[its.all_names]["of"]["L1·H2"] == "previous character"
    best = max(shown[its.scores]["rows"], key=lambda row: row["value"])
    assert best["label"] == "previous character" and best["strong"] and best["value"] > 0.9


def test_head_type_history_and_the_induction_summary(ctx: Context) -> None:
    run = ctx.runs.list()[0]
    found = [ctx.inspections.head_scores(view(ctx, step=step))[0] for step in STEPS]
    figure = head_types._history_figure(run, list(STEPS), found)
    assert set(figure["heads"]) == {"L1·H1", "L1·H2", "L2·H1", "L2·H2"}
    assert figure["heads"]["L2·H1"][0]["x"] == [1, 4, 9]  # step 0 is drawn at 1 on the logarithmic axis
    assert head_types._induction_heads(list(STEPS), found).startswith("No induction head")


def test_labels_at_the_ends_of_curves_do_not_overlap() -> None:
    scores = np.array([[0.0, 0.0, 0.0, np.nan], [0.31, 0.30, 0.1, np.nan]], np.float32)
    *lines, names = history_figure([0, 10], scores, ["one", "other", "little", "none"])["data"]
    assert len(lines) == 4 and [text.strip() for text in names["text"]] == ["one", "other"]
    assert names["y"] == [0.36, 0.3] and names["x"] == [10, 10]


def test_the_embedding_map_has_the_same_axes_at_every_step(ctx: Context, parts: dict[str, Any]) -> None:
    its = parts["model_overview"]
    figures = [model_overview.show_map(ctx, its, view(ctx, step=step))[its.map] for step in STEPS]
    ranges = [figure["layout"]["xaxis"]["range"] for figure in figures]
    assert ranges[0] == ranges[1] == ranges[2]
    shown = {text for trace in figures[0]["data"] for text in trace["text"]}
    assert len(shown) == len(set(TEXT)) and {"␣", "⏎", "t"} <= shown
    assert all(abs(value) <= ranges[0][1] for figure in figures for trace in figure["data"] for value in trace["x"])


def test_context_use_depends_on_the_typed_text_only_without_held_out_text(
    ctx: Context, textless: Context, parts: dict[str, Any]
) -> None:
    its = parts["model_overview"]
    assert model_overview.show_context_of_text(ctx, its, view(ctx)) == gr.skip()
    assert (
        "only the text above" in model_overview.show_context_of_text(textless, its, view(textless))[its.about_context]
    )


def test_context_use_shows_the_window_and_the_measured_text(ctx: Context, parts: dict[str, Any]) -> None:
    its = parts["model_overview"]
    shown = model_overview.show_context(ctx, its, view(ctx))
    assert shown[its.context]["layout"]["xaxis"]["tickvals"][-1] == 32
    assert "held-out text" in shown[its.about_context]


def test_a_ranking_is_cached_per_snapshot(ctx: Context) -> None:
    seen = view(ctx)
    found, button = ranking.update(ctx, seen, None)
    assert found["text"] == sentences.NOT_RANKED and button.interactive
    ids, where = ctx.inspections.judged_by(seen)
    effects = list(rank_heads(seen.loaded.model, ids, ctx.inspections.means(seen)[0]))
    ctx.inspections.keep_ranking(seen, effects, where)
    found, button = ranking.update(ctx, view(ctx, "the rat ran"), None)  # it was measured on held-out text
    most = max(effects, key=lambda effect: effect.increase)
    assert len(found["of"]) == 4 and most.part.label in found["text"] and not button.interactive
    assert found["stamp"] == ctx.inspections.frame(seen)["stamp"] != ctx.inspections.frame(view(ctx, step=0))["stamp"]
    assert ranking.update(ctx, view(ctx, step=0), None)[0]["text"] == sentences.NOT_RANKED


def test_a_running_ranking_is_cancelled_when_another_snapshot_is_selected(ctx: Context) -> None:
    session, seen = "a visitor", view(ctx, step=4)
    bars = ranking.bars(ctx, seen, session)
    assert [len(next(bars)["of"]) for _ in range(2)] == [0, 1]
    assert ranking.update(ctx, view(ctx, "the rat ran", step=4), session)[0] is None  # it continues
    assert len(next(bars)["of"]) == 2
    assert ranking.update(ctx, view(ctx, step=0), session)[0]["text"] == sentences.NOT_RANKED
    assert list(bars) == []
    assert ranking.update(ctx, seen, session)[0]["text"] == sentences.NOT_RANKED  # a partial ranking is discarded
    assert len(list(ranking.bars(ctx, seen, session))[-1]["of"]) == 4
    assert "Largest effect" in ranking.update(ctx, seen, session)[0]["text"]


@pytest.fixture(scope="module")
def textless(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run with one snapshot whose text is not stored."""
    home = tmp_path_factory.mktemp("textless")
    tokenizer = CharTokenizer.from_text(TEXT)
    run = RunStore(home / "checkpoints").create(settings={}, corpus=run_folders.TALE, preset="nano", queued=False)
    model = random_model(ModelConfig(tokenizer.vocab_size, 16, 1, 16, num_heads=2, context_length=32))
    save_checkpoint(run.folder / snapshot_name(0), model, step=0, tokenizer=tokenizer)
    run_folders.write(run, run_folders.step(0))
    return Context.open(Settings(home=home))


def test_results_measured_on_the_typed_text_are_not_reused_for_another_text(textless: Context) -> None:
    inspections, one, other = textless.inspections, view(textless, "the cat sat"), view(textless, "the mat ran")
    ids, where = inspections.judged_by(one)
    inspections.keep_ranking(one, list(rank_heads(one.loaded.model, ids)), where)
    summary = ranking.update(textless, one, None)[0]["text"]
    assert "only the text above" in summary and "all effects are within the noise" in summary
    assert ranking.update(textless, other, None)[0]["text"] == sentences.NOT_RANKED
    assert (
        inspections.meter(one)[0].truncated[-1] != inspections.meter(other)[0].truncated[-1]
    )  # although both texts have the same length
    assert inspections.known_scores(one) is None
    inspections.head_scores(one)
    assert inspections.known_scores(one) is not None and inspections.known_scores(other) is None


def test_head_types_name_the_text_they_were_measured_on(ctx: Context, textless: Context, parts: dict[str, Any]) -> None:
    its = parts["head_types"]
    for context, where in ((ctx, "held-out text"), (textless, "only the text above")):
        shown = head_types.show(context, its, view(context), {"layer": 1, "head": 1})
        assert f"Measured on {where}." in shown[its.scores]["legend"]
    shown = head_types.show(textless, its, view(textless, "t"), {"layer": 1, "head": 1})
    assert "too short" in shown[its.name] and shown[its.all_names] is None and shown[its.history_key] is None


def test_saved_findings_do_not_need_the_text(textless: Context, parts: dict[str, Any]) -> None:
    seen = view(textless)
    model, tokenizer = seen.loaded.model, seen.loaded.tokenizer
    pair = Part("head", 0, 0), Part("head", 0, 1)
    found = replace(
        measure_findings(model, tokenizer, tokenizer.encode(TEXT), None),
        backup=BackupPair(pair, (0.02, 0.03), 0.31, 0.01),
    )
    assert ablation.show(textless, parts["ablation"], seen, None, [], "mean", 1)[parts["ablation"].pair] == ""
    save_findings(seen.snapshot.findings_path, found)
    try:
        scores, where = textless.inspections.head_scores(seen)
        np.testing.assert_array_equal(scores.scores, found.scores.scores)
        assert where == textless.inspections.meter(seen)[1] == "held-out text"
        found_ranking, button = ranking.update(textless, seen, None)
        assert len(found_ranking["of"]) == 2 and not button.interactive and "±" in found_ranking["text"]
        assert head_types.known_names(textless, seen) is not None
        for off, offered in (([], True), (["L1·H1", "L1·H2"], False)):
            shown = ablation.show(textless, parts["ablation"], seen, None, off, "zero", 1)
            assert "L1·H1 and L1·H2 back each other up" in shown[parts["ablation"].pair]
            assert "0.260 ± 0.010 more" in shown[parts["ablation"].pair]
            assert shown[parts["ablation"].both].interactive == offered
        assert textless.inspections.key(seen) == textless.inspections.key(view(textless, "the rat"))
    finally:
        seen.snapshot.findings_path.unlink()


@pytest.mark.skipif(not (ROOT / "checkpoints" / "pretrained").is_dir(), reason="the pretrained models are missing")
def test_an_imported_run_includes_its_ranking_and_head_types(tmp_path: Path) -> None:
    ctx, shipped = Context.open(Settings(home=tmp_path)), RunStore(ROOT / "checkpoints").get("pretrained-nano")
    run = import_(ctx.runs, export(shipped, tmp_path / "run.zip"))
    seen = ctx.inspections.view({"run": run.id, "step": None}, "the cat sat")
    found, button = ranking.update(ctx, seen, None)
    assert len(found["of"]) == run.model_config.num_layers * run.model_config.heads and not button.interactive
    assert head_types.known_names(ctx, seen) is not None
