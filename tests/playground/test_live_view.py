"""The live view of a run: only changes are sent, responses stay small for long runs, and updates are fast."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from nanollm.charts.loss import MAX_OVERLAYS, VAL_POINTS
from nanollm.data.ngrams import Baselines
from nanollm.runs import run_files
from nanollm.runs.record import write_status
from nanollm.runs.store import CorpusRef, RunStore
from nanollm.train import events
from playground.context import Context
from playground.settings import Settings
from playground.train import live_view, sentences
from playground.train.live_view import ChartOptions
from tests.run_folders import checkpoint, evaluated, make, step, write
from tests.speed import assert_within

DEFAULTS = ChartOptions()


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return Context.open(Settings(home=tmp_path))


def look(ctx: Context, run_id: str | None, before: str = "", options: ChartOptions = DEFAULTS) -> Any:
    return live_view.update(ctx, run_id, ctx.corpora.list()[0], options, before)


def size(view: live_view.View) -> int:
    """Bytes that a look sends, as Gradio packs them."""
    told = [postprocessed(part) for part in view.updates()]
    answer = {"data": told, "is_generating": False, "duration": 0.01234567890123, "average_duration": 0.01234567890123}
    return len(json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode())


def postprocessed(part: Any) -> Any:
    if isinstance(part, gr.Button):
        return {"visible": part.visible, "interactive": part.interactive, "__type__": "update"}
    return part


def test_nothing_is_sent_when_nothing_changed(ctx: Context) -> None:
    run = make(ctx.runs)
    write(run, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    for options in (DEFAULTS, ChartOptions(axis="seconds", log=True), ChartOptions(overlays=(run.id,))):
        view = look(ctx, run.id, options=options)
        assert look(ctx, run.id, view.progress["stamp"], options) is None
        assert look(ctx, run.id, view.progress["stamp"], ChartOptions(log=not options.log)) is not None
    write(run, step(20))
    assert look(ctx, run.id, view.progress["stamp"], options) is not None


def test_where_only_the_state_changed_the_chart_is_not_sent_again(ctx: Context) -> None:
    run = make(ctx.runs)
    write(run, step(10))
    write_status(run.folder, "paused", step=10)
    before = look(ctx, run.id).progress["stamp"]
    write_status(run.folder, "paused", step=10, reason="The disk was full.")
    view = look(ctx, run.id, before)
    assert view.chart == gr.skip() and "disk" in view.state


def test_before_there_is_a_run_the_lines_of_the_text_are_there(ctx: Context) -> None:
    ctx.baselines.get(ctx.corpora.list()[0].sha256, patience=30)
    view = look(ctx, None)
    assert len(view.chart["layout"]["annotations"]) == 4 and view.passed == sentences.WAITING
    assert (
        dict(view.numbers) == {"validation loss": "–", "perplexity": "–", "time left": "–"}
        and view.progress["run"] == ""
    )
    assert look(ctx, None, view.progress["stamp"]) is None
    for asked, right in ((200, 200), (3000.0, 3000), (None, 200), ("many", 200)):  # as far as the form asks for
        view = look(ctx, None, options=ChartOptions.of("steps", "linear", [], False, asked))
        assert [trace["x"] for trace in view.chart["data"]] == [[0, right]] * 4


def test_until_the_curve_begins_it_is_said_what_it_will_fall_through(ctx: Context) -> None:
    run = make(ctx.runs)
    first = look(ctx, run.id)
    assert first.passed == sentences.WAITING and first.progress["run"] == run.id and first.progress["own"]
    assert first.chart["layout"]["annotations"][-1]["text"] == "Waiting in the queue…"
    write(run, evaluated(0, 4.0))
    begun = look(ctx, run.id, first.progress["stamp"])
    assert begun.passed == "" and len(begun.chart["layout"]["annotations"]) == 1  # uniform guess


def test_runs_laid_over_keep_their_colours_and_lost_ones_are_left_out(ctx: Context) -> None:
    run, other = make(ctx.runs), make(ctx.runs)
    for one in (run, other):
        write(one, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    figure = look(ctx, run.id, options=ChartOptions(overlays=(other.id, run.id, "gone"))).chart
    named = [trace for trace in figure["data"] if trace["name"].startswith(other.title)]
    assert {trace["line"]["color"] for trace in named} == {f"var(--run-{ctx.catalogue.slot(other.id) + 1})"}
    assert len({trace["line"]["color"] for trace in figure["data"]}) == 3


def test_a_curve_of_another_text_is_laid_over_with_a_caution(ctx: Context) -> None:
    run, same = make(ctx.runs), make(ctx.runs)
    write(run, evaluated(0, 4.0))
    other = ctx.runs.create(settings={}, corpus=CorpusRef("other.txt", "cd" * 32, 5000, 40), title="the other")
    told = look(ctx, run.id, options=ChartOptions(overlays=(same.id, other.id))).passed
    assert told == "“the other” trained on another text: do not compare the losses."
    assert look(ctx, run.id, options=ChartOptions(overlays=(same.id,))).passed == ""


@pytest.mark.parametrize("odd", [None, 3, {"a": 1}, ["x", 4, None]])
def test_a_chart_asked_for_oddly_is_the_usual_one(odd: Any) -> None:
    assert ChartOptions.of(odd, odd, odd, odd) == ChartOptions(overlays=("x",) if isinstance(odd, list) else ())


def looks(ctx: Context, run_id: str, options: ChartOptions) -> list[live_view.View]:
    """All that is sent, look by look, until nothing more is to be said."""
    views, stamp = [], ""
    while (view := look(ctx, run_id, stamp, options)) is not None:
        views.append(view)
        stamp = view.progress["stamp"]
    return views


def test_the_folded_chart_comes_after_the_chart_of_another_run_and_at_once_when_it_is_opened(ctx: Context) -> None:
    run = make(ctx.runs)
    write(run, evaluated(0, 4.0), step(10), step(20))
    first, second = looks(ctx, run.id, ChartOptions(gradients=True))
    assert first.chart != gr.skip() and first.gradients_chart == gr.skip()
    assert second.chart == gr.skip() and second.gradients_chart != gr.skip()
    (shut,) = looks(ctx, run.id, DEFAULTS)
    opened = look(ctx, run.id, shut.progress["stamp"], ChartOptions(gradients=True))
    assert opened.chart == gr.skip() and opened.gradients_chart != gr.skip()


def test_while_it_trains_with_gradients_open_no_chart_is_left_behind(ctx: Context) -> None:
    run, stamp = make(ctx.runs, num_steps=1000), ""
    sent = {"chart": 0, "gradients_chart": 0}
    for number in range(10, 1001, 10):
        write(run, step(number))
        view = look(ctx, run.id, stamp, ChartOptions(gradients=True))
        stamp = view.progress["stamp"]
        for name in sent:
            sent[name] += getattr(view, name) != gr.skip()
    assert sent["chart"] + sent["gradients_chart"] == 100 and sent["chart"] >= 50 and sent["gradients_chart"] >= 1
    assert look(ctx, run.id, stamp, ChartOptions(gradients=True)) is None or sent["chart"] < 100


@pytest.mark.parametrize("stamp", ["", "odd", "[1, 2]", "{}", "null", "[" * 5000])
def test_a_stamp_that_was_made_up_counts_as_nothing_shown(ctx: Context, stamp: str) -> None:
    run = make(ctx.runs)
    write(run, step(10))
    assert look(ctx, run.id, stamp).chart != gr.skip()


def test_what_is_gone_is_said_once(ctx: Context) -> None:
    view = live_view.unavailable("This run is no longer here.", "")
    assert view is not None and view.state == "This run is no longer here."
    assert live_view.unavailable("This run is no longer here.", view.progress["stamp"]) is None


def test_over_a_text_of_ones_own_a_model_that_came_along_gives_way_to_what_awaits(ctx: Context) -> None:
    shipped = ctx.runs.root / "pretrained"
    shipped.mkdir(parents=True)
    run = make(ctx.runs)
    write(run, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    checkpoint(run.folder, "00000010", 10)
    write_status(run.folder, "completed", step=10)
    run.folder.rename(shipped / "nano")
    ctx.baselines.get(ctx.corpora.list()[0].sha256, patience=30)
    view = look(ctx, "pretrained-nano")
    assert view.passed == sentences.WAITING and "tale.txt" in view.state and "sample.txt" in view.state
    assert [button.visible for button in view.controls] == [name in ("continue", "fork") for name in live_view.CONTROLS]
    assert "Continue" in view.new_run_hint and "Fork" in view.new_run_hint
    laid = look(ctx, "pretrained-nano", options=ChartOptions(overlays=("pretrained-nano",)))
    assert any(trace["name"].endswith("validation") for trace in laid.chart["data"])


LONG_TITLE = "nano · learning rate 0.0123, embedding dim 123 and a name of its own"


@pytest.fixture(scope="module")
def million() -> list[str]:
    """The lines of a run that recorded a million steps, with a measurement and a sample every 5,000."""
    line = events.to_json(step(1234567, loss=1.2345678901234567, seconds=12345.6789))
    recorded = [line.replace("1234567", str(n), 1) + "\n" for n in range(1, 1_000_001)]
    recorded[::5000] = [events.to_json(evaluated(n, 2.0)) + "\n" for n in range(1, 1_000_001, 5000)]
    return recorded + [events.to_json(events.Sample(n, "ROMEO:", 'a "word"\n' * 50)) + "\n" for n in (1, 2, 1_000_000)]


def test_a_run_of_a_million_recorded_steps_opens_in_a_second(ctx: Context, million: list[str]) -> None:
    run = make(ctx.runs, num_steps=1_000_000)
    (run.folder / run_files.METRICS).write_text("".join(million))
    write_status(run.folder, "completed", step=1_000_000)
    best = min(opening(ctx.runs.root, run.id, ctx) for _ in range(3))
    assert_within(best, 1.0, time.process_time)
    view = look(ctx, run.id)
    assert max(view.chart["data"][0]["x"]) == 1_000_000
    validation = next(trace for trace in view.chart["data"] if trace["name"] == "validation")
    assert len(run.curve().eval_steps) == 200 and len(validation["x"]) <= VAL_POINTS  # no measurement is passed over


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, million: list[str]) -> tuple[Context, list[str]]:
    """A page with the ids of as many long runs as one chart can hold."""
    ctx = Context.open(Settings(home=tmp_path_factory.mktemp("long")))
    runs = [make(ctx.runs, num_steps=1_000_000) for _ in range(MAX_OVERLAYS + 1)]
    for run in runs:
        (run.folder / run_files.METRICS).write_text("".join(million[::100] + million[-3:]))
        write_status(run.folder, "completed", step=1_000_000)
        ctx.runs.rename(run.id, LONG_TITLE)
    run_files.write_json(runs[0].folder / run_files.BASELINES, asdict(Baselines(3.3, 3.1, 2.4, 2.0, 100)))
    return ctx, [run.id for run in runs]


@pytest.mark.parametrize("options", [DEFAULTS, ChartOptions("seconds", log=True), ChartOptions("seconds")])
@pytest.mark.parametrize("laid", [0, 1, 2, MAX_OVERLAYS])
def test_a_look_fits_into_a_tick_however_long_the_run_and_whatever_is_laid_over(
    long: tuple[Context, list[str]], laid: int, options: ChartOptions
) -> None:
    ctx, (shown, *others) = long
    options = replace(options, overlays=tuple(others[:laid]), gradients=True)
    sent = [size(view) for view in looks(ctx, shown, options)]
    assert len(sent) == 2 and max(sent) <= 10_000


def opening(root: Path, run_id: str, ctx: Context) -> float:
    """Processor seconds that a server takes which has never read the run."""
    fresh = Context(ctx.settings, RunStore(root), ctx.launcher, ctx.corpora)
    began = time.process_time()
    assert look(fresh, run_id) is not None
    return time.process_time() - began
