"""live.py: what Train shows of a run is sent where it changed, is small however long the run, and is quick to make."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from nanollm import events
from nanollm.baselines import Baselines
from nanollm.loss_chart import MAX_OVERLAYS, VAL_POINTS
from nanollm.runs import folder as names
from nanollm.runs.record import write_status
from nanollm.runs.store import CorpusRef, RunStore
from playground import live, words
from playground.context import Context
from playground.live import Wanted
from playground.settings import Settings
from tests.run_folders import checkpoint, evaluated, make, step, write
from tests.speed import assert_within

AS_USUAL = Wanted()


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return Context.open(Settings(home=tmp_path))


def look(ctx: Context, run_id: str | None, before: str = "", wanted: Wanted = AS_USUAL) -> Any:
    return live.look(ctx, run_id, ctx.corpora.list()[0], wanted, before)


def size(view: live.View) -> int:
    """Bytes that a look sends, as Gradio packs them."""
    told = [postprocessed(part) for part in view.updates()]
    answer = {"data": told, "is_generating": False, "duration": 0.01234567890123, "average_duration": 0.01234567890123}
    return len(json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode())


def postprocessed(part: Any) -> Any:
    if isinstance(part, gr.Button):
        return {"visible": part.visible, "interactive": part.interactive, "__type__": "update"}
    return part


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
    assert len(view.chart["layout"]["annotations"]) == 4 and view.passed == live.WAITING
    assert dict(view.numbers) == dict.fromkeys(words.NUMBERS, "–") and view.progress["run"] == ""
    assert look(ctx, None, view.progress["stamp"]) is None
    for asked, right in ((200, 200), (3000.0, 3000), (None, 200), ("many", 200)):  # as far as the form asks for
        view = look(ctx, None, wanted=Wanted.of("steps", "linear", [], False, asked))
        assert [trace["x"] for trace in view.chart["data"]] == [[0, right]] * 4


def test_until_the_curve_begins_it_is_said_what_it_will_fall_through(ctx: Context) -> None:
    run = make(ctx.store)
    first = look(ctx, run.id)
    assert first.passed == live.WAITING and first.progress["run"] == run.id and first.progress["own"]
    assert first.chart["layout"]["annotations"][-1]["text"] == "Waiting in line…"
    write(run, evaluated(0, 4.0))
    begun = look(ctx, run.id, first.progress["stamp"])
    assert begun.passed == "" and len(begun.chart["layout"]["annotations"]) == 1  # blind guessing


def test_runs_laid_over_keep_their_colours_and_lost_ones_are_left_out(ctx: Context) -> None:
    run, other = make(ctx.store), make(ctx.store)
    for one in (run, other):
        write(one, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    figure = look(ctx, run.id, wanted=Wanted(overlays=(other.id, run.id, "gone"))).chart
    named = [trace for trace in figure["data"] if trace["name"].startswith(other.title)]
    assert {trace["line"]["color"] for trace in named} == {f"var(--run-{ctx.catalogue.slot(other.id) + 1})"}
    assert len({trace["line"]["color"] for trace in figure["data"]}) == 3


def test_a_curve_of_another_text_is_laid_over_with_a_caution(ctx: Context) -> None:
    run, same = make(ctx.store), make(ctx.store)
    write(run, evaluated(0, 4.0))
    other = ctx.store.create(settings={}, corpus=CorpusRef("other.txt", "cd" * 32, 5000, 40), title="the other")
    told = look(ctx, run.id, wanted=Wanted(overlays=(same.id, other.id))).passed
    assert told == "“the other” learned another text: do not compare the losses."
    assert look(ctx, run.id, wanted=Wanted(overlays=(same.id,))).passed == ""


@pytest.mark.parametrize("odd", [None, 3, {"a": 1}, ["x", 4, None]])
def test_a_chart_asked_for_oddly_is_the_usual_one(odd: Any) -> None:
    assert Wanted.of(odd, odd, odd, odd) == Wanted(overlays=("x",) if isinstance(odd, list) else ())


def looks(ctx: Context, run_id: str, wanted: Wanted) -> list[live.View]:
    """All that is sent, look by look, until nothing more is to be said."""
    views, stamp = [], ""
    while (view := look(ctx, run_id, stamp, wanted)) is not None:
        views.append(view)
        stamp = view.progress["stamp"]
    return views


def test_the_folded_chart_comes_after_the_chart_of_another_run_and_at_once_when_it_is_opened(ctx: Context) -> None:
    run = make(ctx.store)
    write(run, evaluated(0, 4.0), step(10), step(20))
    first, second = looks(ctx, run.id, Wanted(health=True))
    assert first.chart != gr.skip() and first.health_chart == gr.skip()
    assert second.chart == gr.skip() and second.health_chart != gr.skip()
    (shut,) = looks(ctx, run.id, AS_USUAL)
    opened = look(ctx, run.id, shut.progress["stamp"], Wanted(health=True))
    assert opened.chart == gr.skip() and opened.health_chart != gr.skip()


def test_while_it_trains_with_health_open_no_chart_is_left_behind(ctx: Context) -> None:
    run, stamp = make(ctx.store, num_steps=1000), ""
    sent = {"chart": 0, "health_chart": 0}
    for number in range(10, 1001, 10):
        write(run, step(number))
        view = look(ctx, run.id, stamp, Wanted(health=True))
        stamp = view.progress["stamp"]
        for name in sent:
            sent[name] += getattr(view, name) != gr.skip()
    assert sent["chart"] + sent["health_chart"] == 100 and sent["chart"] >= 50 and sent["health_chart"] >= 1
    assert look(ctx, run.id, stamp, Wanted(health=True)) is None or sent["chart"] < 100


@pytest.mark.parametrize("stamp", ["", "odd", "[1, 2]", "{}", "null", "[" * 5000])
def test_a_stamp_that_was_made_up_counts_as_nothing_shown(ctx: Context, stamp: str) -> None:
    run = make(ctx.store)
    write(run, step(10))
    assert look(ctx, run.id, stamp).chart != gr.skip()


def test_what_is_gone_is_said_once(ctx: Context) -> None:
    view = live.gone("This run is no longer here.", "")
    assert view is not None and view.state == "This run is no longer here."
    assert live.gone("This run is no longer here.", view.progress["stamp"]) is None


def test_over_a_text_of_ones_own_a_model_that_came_along_gives_way_to_what_awaits(ctx: Context) -> None:
    shipped = ctx.store.root / "pretrained"
    shipped.mkdir(parents=True)
    run = make(ctx.store)
    write(run, evaluated(0, 4.0), step(10), evaluated(10, 3.0))
    checkpoint(run.folder, "00000010", 10)
    write_status(run.folder, "completed", step=10)
    run.folder.rename(shipped / "nano")
    ctx.counts.get(ctx.corpora.list()[0].sha256, patience=30)
    view = look(ctx, "pretrained-nano")
    assert view.passed == live.WAITING and "tale.txt" in view.state and "sample.txt" in view.state
    assert [button.visible for button in view.controls] == [name in ("onward", "fork") for name in live.CONTROLS]
    assert "Continue" in view.going_on and "Fork" in view.going_on
    laid = look(ctx, "pretrained-nano", wanted=Wanted(overlays=("pretrained-nano",)))
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
    run = make(ctx.store, num_steps=1_000_000)
    (run.folder / names.METRICS).write_text("".join(million))
    write_status(run.folder, "completed", step=1_000_000)
    best = min(opening(ctx.store.root, run.id, ctx) for _ in range(3))
    assert_within(best, 1.0, time.process_time)
    view = look(ctx, run.id)
    assert max(view.chart["data"][0]["x"]) == 1_000_000
    validation = next(trace for trace in view.chart["data"] if trace["name"] == "validation")
    assert len(run.curve().eval_steps) == 200 and len(validation["x"]) <= VAL_POINTS  # no measurement is passed over


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, million: list[str]) -> tuple[Context, list[str]]:
    """A page with the ids of as many long runs as one chart can hold."""
    ctx = Context.open(Settings(home=tmp_path_factory.mktemp("long")))
    runs = [make(ctx.store, num_steps=1_000_000) for _ in range(MAX_OVERLAYS + 1)]
    for run in runs:
        (run.folder / names.METRICS).write_text("".join(million[::100] + million[-3:]))
        write_status(run.folder, "completed", step=1_000_000)
        ctx.store.rename(run.id, LONG_TITLE)
    names.write_json(runs[0].folder / names.BASELINES, asdict(Baselines(3.3, 3.1, 2.4, 2.0, 100)))
    return ctx, [run.id for run in runs]


@pytest.mark.parametrize("wanted", [AS_USUAL, Wanted("seconds", log=True), Wanted("seconds")])
@pytest.mark.parametrize("laid", [0, 1, 2, MAX_OVERLAYS])
def test_a_look_fits_into_a_tick_however_long_the_run_and_whatever_is_laid_over(
    long: tuple[Context, list[str]], laid: int, wanted: Wanted
) -> None:
    ctx, (shown, *others) = long
    wanted = replace(wanted, overlays=tuple(others[:laid]), health=True)
    sent = [size(view) for view in looks(ctx, shown, wanted)]
    assert len(sent) == 2 and max(sent) <= 10_000


def opening(root: Path, run_id: str, ctx: Context) -> float:
    """Processor seconds that a server takes which has never read the run."""
    fresh = Context(ctx.settings, RunStore(root), ctx.launcher, ctx.corpora)
    began = time.process_time()
    assert look(fresh, run_id) is not None
    return time.process_time() - began
