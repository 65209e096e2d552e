"""live.py: what Train shows of a run is sent where it changed, is small however long the run, and is quick to make."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from nanollm import events
from nanollm.charts import VAL_POINTS
from nanollm.runs import folder as names
from nanollm.runs.record import write_status
from nanollm.runs.store import RunStore
from playground import live
from playground.context import Context
from playground.live import Wanted
from playground.settings import Settings
from tests.run_folders import evaluated, make, step, write

AS_USUAL = Wanted()


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return Context.open(Settings(home=tmp_path))


def look(ctx: Context, run_id: str | None, before: str = "", wanted: Wanted = AS_USUAL) -> Any:
    return live.look(ctx, run_id, ctx.corpora.list()[0], wanted, before)


def size(view: live.View) -> int:
    """Bytes that a look sends, but for the buttons."""
    told = [part for part in view.updates() if not isinstance(part, gr.Button) and part != gr.skip()]
    return len(json.dumps(told, separators=(",", ":")))


def test_nothing_is_sent_when_nothing_changed(ctx: Context) -> None:
    run = make(ctx.store)
    write(run, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    for wanted in (AS_USUAL, Wanted(axis="seconds", log=True), Wanted(overlays=(run.id,))):
        view = look(ctx, run.id, wanted=wanted)
        assert look(ctx, run.id, view.progress["stamp"], wanted) is None
        assert look(ctx, run.id, view.progress["stamp"], Wanted(log=not wanted.log)) is not None
    write(run, step(20))
    assert look(ctx, run.id, view.progress["stamp"], wanted) is not None


def test_where_only_the_state_changed_the_chart_is_not_sent_again(ctx: Context) -> None:
    run = make(ctx.store)
    write(run, step(10))
    write_status(run.folder, "paused", step=10)
    before = look(ctx, run.id).progress["stamp"]
    write_status(run.folder, "paused", step=10, reason="The disk was full.")
    view = look(ctx, run.id, before)
    assert view.chart == gr.skip() and "disk" in view.state


def test_before_there_is_a_run_the_lines_of_the_text_are_there(ctx: Context) -> None:
    ctx.counts.get(ctx.corpora.list()[0].sha256, patience=30)
    view = look(ctx, None)
    assert len(view.chart["layout"]["annotations"]) == 4 and view.chart["note"] == live.WAITING
    assert look(ctx, None, view.progress["stamp"]) is None


def test_runs_laid_over_keep_their_colours_and_lost_ones_are_left_out(ctx: Context) -> None:
    run, other = make(ctx.store), make(ctx.store)
    for one in (run, other):
        write(one, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    figure = look(ctx, run.id, wanted=Wanted(overlays=(other.id, run.id, "gone"))).chart
    named = [trace for trace in figure["data"] if trace["name"].startswith(other.title)]
    assert {trace["line"]["color"] for trace in named} == {f"var(--run-{ctx.catalogue.slot(other.id) + 1})"}
    assert len({trace["line"]["color"] for trace in figure["data"]}) == 3


@pytest.mark.parametrize("odd", [None, 3, {"a": 1}, ["x", 4, None]])
def test_a_chart_asked_for_oddly_is_the_usual_one(odd: Any) -> None:
    assert Wanted.of(odd, odd, odd, odd) == Wanted(overlays=("x",) if isinstance(odd, list) else ())


def test_a_run_of_a_million_recorded_steps_opens_in_a_second_and_fits_into_a_tick(ctx: Context) -> None:
    run = make(ctx.store, num_steps=1_000_000)
    line = events.to_json(step(1234567, loss=1.2345678901234567, seconds=12345.6789))
    recorded = [line.replace("1234567", str(n), 1) + "\n" for n in range(1, 1_000_001)]
    recorded[::5000] = [events.to_json(evaluated(n, 2.0)) + "\n" for n in range(1, 1_000_001, 5000)]
    (run.folder / names.METRICS).write_text("".join(recorded))
    write_status(run.folder, "completed", step=1_000_000)
    best = min(opening(ctx.store.root, run.id, ctx) for _ in range(3))
    assert best <= 1.0
    view = look(ctx, run.id, wanted=Wanted(health=True))
    assert size(live.View(**{**vars(view), "health_chart": gr.skip()})) <= 10_000
    assert max(view.chart["data"][0]["x"]) == 1_000_000
    validation = next(trace for trace in view.chart["data"] if trace["name"] == "validation")
    assert len(run.curve().eval_steps) == 200 and len(validation["x"]) <= VAL_POINTS  # no measurement is passed over


def opening(root: Path, run_id: str, ctx: Context) -> float:
    """Processor seconds that a server takes which has never read the run."""
    fresh = Context(ctx.settings, RunStore(root), ctx.launcher, ctx.corpora)
    began = time.process_time()
    assert look(fresh, run_id) is not None
    return time.process_time() - began
