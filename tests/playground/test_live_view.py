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


def update(ctx: Context, run_id: str | None, before: str = "", options: ChartOptions = DEFAULTS) -> Any:
    return live_view.update(ctx, run_id, ctx.corpora.list()[0], options, before)


def size(view: live_view.View) -> int:
    """Return the size of an update in bytes, serialized like Gradio does."""
    sent = [postprocessed(part) for part in view.updates()]
    answer = {"data": sent, "is_generating": False, "duration": 0.01234567890123, "average_duration": 0.01234567890123}
    return len(json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode())


def postprocessed(part: Any) -> Any:
    if isinstance(part, gr.Button):
        return {"visible": part.visible, "interactive": part.interactive, "__type__": "update"}
    return part


def test_nothing_is_sent_when_nothing_changed(ctx: Context) -> None:
    run = make(ctx.runs)
    write(run, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    for options in (DEFAULTS, ChartOptions(axis="seconds", log=True), ChartOptions(overlays=(run.id,))):
        view = update(ctx, run.id, options=options)
        assert update(ctx, run.id, view.progress["stamp"], options) is None
        assert update(ctx, run.id, view.progress["stamp"], ChartOptions(log=not options.log)) is not None
    write(run, step(20))
    assert update(ctx, run.id, view.progress["stamp"], options) is not None


def test_a_change_of_state_does_not_resend_the_chart(ctx: Context) -> None:
    run = make(ctx.runs)
    write(run, step(10))
    write_status(run.folder, "paused", step=10)
    before = update(ctx, run.id).progress["stamp"]
    write_status(run.folder, "paused", step=10, reason="The disk was full.")
    view = update(ctx, run.id, before)
    assert view.chart == gr.skip() and "disk" in view.state


def test_without_a_run_the_baselines_of_the_text_are_shown(ctx: Context) -> None:
    ctx.baselines.get(ctx.corpora.list()[0].sha256, patience=30)
    view = update(ctx, None)
    assert len(view.chart["layout"]["annotations"]) == 4 and view.passed == sentences.WAITING
    assert (
        dict(view.numbers) == {"validation loss": "–", "perplexity": "–", "time left": "–"}
        and view.progress["run"] == ""
    )
    assert update(ctx, None, view.progress["stamp"]) is None
    for num_steps, right in (
        (200, 200),
        (3000.0, 3000),
        (None, 200),
        ("many", 200),
    ):  # up to the number of steps in the form
        view = update(ctx, None, options=ChartOptions.of("steps", "linear", [], False, num_steps))
        assert [trace["x"] for trace in view.chart["data"]] == [[0, right]] * 4


def test_before_the_first_measurement_the_baselines_are_announced(ctx: Context) -> None:
    run = make(ctx.runs)
    first = update(ctx, run.id)
    assert first.passed == sentences.WAITING and first.progress["run"] == run.id and first.progress["own"]
    assert first.chart["layout"]["annotations"][-1]["text"] == "Waiting in the queue…"
    write(run, evaluated(0, 4.0))
    started = update(ctx, run.id, first.progress["stamp"])
    assert started.passed == "" and len(started.chart["layout"]["annotations"]) == 1  # uniform guess


def test_overlaid_runs_keep_their_colors_and_missing_ones_are_omitted(ctx: Context) -> None:
    run, other = make(ctx.runs), make(ctx.runs)
    for one in (run, other):
        write(one, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    figure = update(ctx, run.id, options=ChartOptions(overlays=(other.id, run.id, "gone"))).chart
    named = [trace for trace in figure["data"] if trace["name"].startswith(other.title)]
    assert {trace["line"]["color"] for trace in named} == {f"var(--run-{ctx.catalogue.slot(other.id) + 1})"}
    assert len({trace["line"]["color"] for trace in figure["data"]}) == 3


def test_overlaying_a_run_on_another_text_shows_a_warning(ctx: Context) -> None:
    run, same = make(ctx.runs), make(ctx.runs)
    write(run, evaluated(0, 4.0))
    other = ctx.runs.create(settings={}, corpus=CorpusRef("other.txt", "cd" * 32, 5000, 40), title="the other")
    warning = update(ctx, run.id, options=ChartOptions(overlays=(same.id, other.id))).passed
    assert warning == "“the other” trained on another text: do not compare the losses."
    assert update(ctx, run.id, options=ChartOptions(overlays=(same.id,))).passed == ""


@pytest.mark.parametrize("value", [None, 3, {"a": 1}, ["x", 4, None]])
def test_invalid_chart_options_are_replaced_by_defaults(value: Any) -> None:
    assert ChartOptions.of(value, value, value, value) == ChartOptions(
        overlays=("x",) if isinstance(value, list) else ()
    )


def all_updates(ctx: Context, run_id: str, options: ChartOptions) -> list[live_view.View]:
    """Return the views that are sent, update by update, until nothing changes."""
    views, stamp = [], ""
    while (view := update(ctx, run_id, stamp, options)) is not None:
        views.append(view)
        stamp = view.progress["stamp"]
    return views


def test_the_gradients_chart_follows_the_loss_chart_and_is_sent_when_opened(ctx: Context) -> None:
    run = make(ctx.runs)
    write(run, evaluated(0, 4.0), step(10), step(20))
    first, second = all_updates(ctx, run.id, ChartOptions(gradients=True))
    assert first.chart != gr.skip() and first.gradients_chart == gr.skip()
    assert second.chart == gr.skip() and second.gradients_chart != gr.skip()
    (closed,) = all_updates(ctx, run.id, DEFAULTS)
    opened = update(ctx, run.id, closed.progress["stamp"], ChartOptions(gradients=True))
    assert opened.chart == gr.skip() and opened.gradients_chart != gr.skip()


def test_both_charts_keep_updating_while_a_run_trains(ctx: Context) -> None:
    run, stamp = make(ctx.runs, num_steps=1000), ""
    sent = {"chart": 0, "gradients_chart": 0}
    for number in range(10, 1001, 10):
        write(run, step(number))
        view = update(ctx, run.id, stamp, ChartOptions(gradients=True))
        stamp = view.progress["stamp"]
        for name in sent:
            sent[name] += getattr(view, name) != gr.skip()
    assert sent["chart"] + sent["gradients_chart"] == 100 and sent["chart"] >= 50 and sent["gradients_chart"] >= 1
    assert update(ctx, run.id, stamp, ChartOptions(gradients=True)) is None or sent["chart"] < 100


@pytest.mark.parametrize("stamp", ["", "invalid", "[1, 2]", "{}", "null", "[" * 5000])
def test_an_invalid_stamp_sends_everything(ctx: Context, stamp: str) -> None:
    run = make(ctx.runs)
    write(run, step(10))
    assert update(ctx, run.id, stamp).chart != gr.skip()


def test_a_missing_run_is_reported_once(ctx: Context) -> None:
    view = live_view.unavailable("This run is no longer here.", "")
    assert view is not None and view.state == "This run is no longer here."
    assert live_view.unavailable("This run is no longer here.", view.progress["stamp"]) is None


def test_a_pretrained_run_is_replaced_by_the_baselines_of_another_selected_text(ctx: Context) -> None:
    shipped = ctx.runs.root / "pretrained"
    shipped.mkdir(parents=True)
    run = make(ctx.runs)
    write(run, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    checkpoint(run.folder, "00000010", 10)
    write_status(run.folder, "completed", step=10)
    run.folder.rename(shipped / "nano")
    ctx.baselines.get(ctx.corpora.list()[0].sha256, patience=30)
    view = update(ctx, "pretrained-nano")
    assert view.passed == sentences.WAITING and "tale.txt" in view.state and "sample.txt" in view.state
    assert [button.visible for button in view.controls] == [name in ("continue", "fork") for name in live_view.CONTROLS]
    assert "Continue" in view.new_run_hint and "Fork" in view.new_run_hint
    overlaid = update(ctx, "pretrained-nano", options=ChartOptions(overlays=("pretrained-nano",)))
    assert any(trace["name"].endswith("validation") for trace in overlaid.chart["data"])


LONG_TITLE = "nano · learning rate 0.0123, embedding dim 123 and a name of a user"


@pytest.fixture(scope="module")
def million() -> list[str]:
    """Return the lines of a run with a million recorded steps, an evaluation every 5,000 steps, and three samples."""
    line = events.to_json(step(1234567, loss=1.2345678901234567, seconds=12345.6789))
    recorded = [line.replace("1234567", str(n), 1) + "\n" for n in range(1, 1_000_001)]
    recorded[::5000] = [events.to_json(evaluated(n, 2.0)) + "\n" for n in range(1, 1_000_001, 5000)]
    return recorded + [events.to_json(events.Sample(n, "ROMEO:", 'a "word"\n' * 50)) + "\n" for n in (1, 2, 1_000_000)]


def test_a_run_with_a_million_recorded_steps_opens_within_a_second(ctx: Context, million: list[str]) -> None:
    run = make(ctx.runs, num_steps=1_000_000)
    (run.folder / run_files.METRICS).write_text("".join(million))
    write_status(run.folder, "completed", step=1_000_000)
    best = min(seconds_to_open(ctx.runs.root, run.id, ctx) for _ in range(3))
    assert_within(best, 1.0, time.process_time)
    view = update(ctx, run.id)
    assert max(view.chart["data"][0]["x"]) == 1_000_000
    validation = next(trace for trace in view.chart["data"] if trace["name"] == "validation")
    assert len(run.curve().eval_steps) == 200 and len(validation["x"]) <= VAL_POINTS  # no evaluation is missing


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, million: list[str]) -> tuple[Context, list[str]]:
    """Return a page and the ids of as many long runs as one chart can show."""
    ctx = Context.open(Settings(home=tmp_path_factory.mktemp("long")))
    runs = [make(ctx.runs, num_steps=1_000_000) for _ in range(MAX_OVERLAYS + 1)]
    for run in runs:
        (run.folder / run_files.METRICS).write_text("".join(million[::100] + million[-3:]))
        write_status(run.folder, "completed", step=1_000_000)
        ctx.runs.rename(run.id, LONG_TITLE)
    run_files.write_json(runs[0].folder / run_files.BASELINES, asdict(Baselines(3.3, 3.1, 2.4, 2.0, 100)))
    return ctx, [run.id for run in runs]


@pytest.mark.parametrize("options", [DEFAULTS, ChartOptions("seconds", log=True), ChartOptions("seconds")])
@pytest.mark.parametrize("overlays", [0, 1, 2, MAX_OVERLAYS])
def test_updates_stay_below_10_kb_for_long_runs_with_overlays(
    long: tuple[Context, list[str]], overlays: int, options: ChartOptions
) -> None:
    ctx, (shown, *others) = long
    options = replace(options, overlays=tuple(others[:overlays]), gradients=True)
    sent = [size(view) for view in all_updates(ctx, shown, options)]
    assert len(sent) == 2 and max(sent) <= 10_000


def seconds_to_open(root: Path, run_id: str, ctx: Context) -> float:
    """Return the CPU seconds that the first update takes on a server that has not read the run yet."""
    fresh = Context(ctx.settings, RunStore(root), ctx.launcher, ctx.corpora)
    began = time.process_time()
    assert update(fresh, run_id) is not None
    return time.process_time() - began
