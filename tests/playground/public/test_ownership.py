"""A public page's stores: each visitor meets their own runs and texts, and of everybody else's not a trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.limits import Limits
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.process.liveness import Pulse
from nanollm.runs.record import write_status
from nanollm.runs.store import GONE, Run, RunStore
from playground.public.ownership import LOOKED, NO_TEXT, NOBODY, Shelf, VisitorLauncher, VisitorStore
from playground.public.visitor import EVERYBODY, Visitor
from playground.services.catalogue import Catalogue
from tests.run_folders import checkpoint
from tests.runs.process.test_launcher import STAND_IN, use

ANNA, BERT = Visitor("a" * 64), Visitor("b" * 64)
LIMITS = Limits(runs=3, queued=1, texts=2, queue_seconds=900)
NEVER = "20200101-000000-0000"


class Page:
    """The services of a public page, and who asks at the moment."""

    def __init__(self, home: Path) -> None:
        self.asks = ANNA
        self.house = RunStore(home / "checkpoints", LIMITS)
        self.texts = CorpusStore(home / "corpora", LIMITS)
        self.store = VisitorStore(self.house, lambda: self.asks)
        self.trainer = Launcher(self.house, self.texts.root)
        self.launcher = VisitorLauncher(self.trainer, self.store)
        self.shelf = Shelf(self.texts, self.store)
        self.catalogue = Catalogue(self.house, self.texts, max_age=0, visitor=lambda: self.asks)

    def begin(self, visitor: Visitor, text: str = "a tale of two strangers. " * 60) -> Run:
        self.asks = visitor
        run = self.store.create(settings={}, corpus=self.shelf.add_text(text, "tale.txt"), preset="nano")
        write_status(run.folder, "paused", step=0)  # out of the line
        return run


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, STAND_IN)
    page = Page(tmp_path)
    yield page
    page.trainer.close()
    for child in page.trainer._children:
        child.kill()
        child.wait()


class TestRuns:
    def test_each_sees_their_own_and_what_came_along(self, page: Page) -> None:
        checkpoint(page.house.root / "pretrained" / "nano", "00000010", 10, 1.0)
        hers, his = page.begin(ANNA), page.begin(BERT)
        for visitor, own in ((ANNA, hers), (BERT, his)):
            page.asks = visitor
            assert [run.id for run in page.store.list()] == [own.id, "pretrained-nano"]
            assert page.store.get(own.id).owner == visitor.owner
        page.asks = EVERYBODY
        assert [run.id for run in page.store.list()] == ["pretrained-nano"]

    def test_anothers_run_is_not_there_in_the_words_of_one_that_never_was(self, page: Page) -> None:
        run = page.begin(ANNA)
        with Pulse(run.folder):
            write_status(run.folder, "running", step=0)
            for page.asks in (BERT, EVERYBODY, Visitor("", {run.id: ""}), Visitor(BERT.owner, {run.id: "0" * 32})):
                for run_id in (run.id, NEVER):
                    for act in (
                        page.store.get,
                        page.store.delete,
                        page.launcher.start,
                        page.launcher.pause,
                        page.launcher.stop,
                        page.launcher.resume,
                        lambda run_id: page.store.rename(run_id, "mine"),
                    ):
                        with pytest.raises(InputError) as caught:
                            act(run_id)
                        assert str(caught.value) == GONE
                with pytest.raises(InputError) as caught:
                    page.store.fork(run, corpora=page.shelf, settings={})
                assert str(caught.value) == GONE
            assert list((run.folder / "control").iterdir()) == [] and page.house.get(run.id).title == run.title

    def test_who_has_the_link_may_look_and_nothing_else(self, page: Page) -> None:
        run = page.begin(ANNA)
        checkpoint(run.folder, "00000000", 0)
        page.asks = replace(BERT, looks={run.id: run.look})
        assert [one.id for one in page.store.list()] == [run.id] and page.store.get(run.id).title == run.title
        for act in (page.store.delete, page.launcher.stop, page.launcher.resume, page.launcher.pause):
            with pytest.raises(InputError) as caught:
                act(run.id)
            assert str(caught.value) == LOOKED
        with pytest.raises(InputError, match="look at it"):
            page.store.fork(run, corpora=page.shelf, settings={})
        with pytest.raises(InputError) as caught:
            page.shelf.get(run.corpus["sha256"])
        assert str(caught.value) == NO_TEXT

    def test_a_visitor_keeps_some_and_has_one_in_line(self, page: Page) -> None:
        info = page.shelf.add_text("a tale of two strangers. " * 60, "tale.txt")
        first = page.store.create(settings={}, corpus=info, preset="nano")
        with pytest.raises(InputError, match="in line already: wait until it trains, or stop it"):
            page.store.create(settings={}, corpus=info, preset="nano")
        page.launcher.stop(first.id)
        others = [page.begin(ANNA) for _ in range(2)]
        with pytest.raises(InputError, match=r"You keep 3 runs here.*delete one first"):
            page.store.create(settings={}, corpus=info, preset="nano")
        page.launcher.resume(others[0].id)  # trains
        page.launcher.resume(others[1].id)  # is next
        with pytest.raises(InputError, match="in line already"):
            page.launcher.resume(first.id)
        page.asks = EVERYBODY
        with pytest.raises(InputError) as caught:
            page.store.create(settings={}, corpus=info, preset="nano")
        assert str(caught.value) == NOBODY

    def test_a_line_that_is_too_long_takes_nobody_more(self, page: Page) -> None:
        refused = []
        for n in range(200):
            page.asks = Visitor(f"{n:064}")
            try:
                info = page.shelf.add_text("a tale of two strangers. " * 60, "tale.txt")
                page.store.create(settings={}, corpus=info, preset="sprint")
            except InputError as error:
                refused.append(str(error))
                break
        assert n >= 25 and refused and "The line is full for about 1" in refused[0]


class TestTexts:
    def test_each_has_a_shelf_and_the_same_text_is_kept_once(self, page: Page) -> None:
        hers = page.shelf.add_text("the same words", "hers")
        page.asks = BERT
        with pytest.raises(InputError) as caught:
            page.shelf.get(hers.sha256)
        assert str(caught.value) == NO_TEXT
        for reading in (page.shelf.read, page.shelf.frequencies, page.shelf.entropy, page.shelf.delete):
            with pytest.raises(InputError) as caught:
                reading(hers.sha256)
            assert str(caught.value) == NO_TEXT
        assert [info.name for info in page.shelf.list()] == ["sample.txt"]
        his = page.shelf.add_text("the same words", "his")
        assert his.sha256 == hers.sha256 and len(list(page.texts.root.glob("*.txt"))) == 1
        page.shelf.rename(his.sha256, "renamed")
        assert page.shelf.get(his.sha256).name == "renamed"
        page.asks = ANNA
        assert [info.name for info in page.shelf.list()] == ["sample.txt", "hers"]
        page.shelf.delete(hers.sha256)
        page.asks = BERT
        assert page.shelf.read(his.sha256) == "the same words"  # still on his
        page.shelf.delete(his.sha256)
        assert not list(page.texts.root.glob("*.txt"))

    def test_a_text_that_anothers_run_needs_stays_for_it(self, page: Page) -> None:
        run = page.begin(ANNA)
        page.begin(BERT)
        page.store.delete(page.store.list()[0].id)
        page.shelf.delete(run.corpus["sha256"])
        assert page.texts.get(run.corpus["sha256"])
        page.asks = ANNA
        with pytest.raises(InputError, match="still needs this text"):
            page.shelf.delete(run.corpus["sha256"], needed_by=page.store.needing(run.corpus["sha256"]))

    def test_some_are_kept_and_what_is_everybodys_stays(self, page: Page) -> None:
        common = page.texts.add_text("for everybody", "common", builtin="x")
        page.shelf.add_text("one", "one")
        page.shelf.add_text("two", "two")
        with pytest.raises(InputError, match=r"You keep 2 texts here.*delete one first"):
            page.shelf.add_text("three", "three")
        assert page.shelf.get(common.sha256).name == "common" and len(page.shelf.list()) == 4
        for act in (page.shelf.delete, lambda sha256: page.shelf.rename(sha256, "mine")):
            with pytest.raises(InputError, match="for everybody"):
                act(common.sha256)
        page.asks = EVERYBODY
        with pytest.raises(InputError) as caught:
            page.shelf.add_text("four", "four")
        assert str(caught.value) == NOBODY and len(page.shelf.list()) == 2


def test_the_list_shows_each_their_own_in_colours_of_their_own(page: Page) -> None:
    hers = [page.begin(ANNA) for _ in range(2)]
    his = page.begin(BERT)
    page.asks = replace(BERT, looks={hers[0].id: hers[0].look})
    rows = {row["id"]: row for row in page.catalogue.rows()}
    assert set(rows) == {his.id, hers[0].id}
    assert [rows[run.id]["mine"] for run in (his, hers[0])] == [True, False]
    assert [rows[run.id]["look"] for run in (his, hers[0])] == [his.look, hers[0].look]
    assert {row["slot"] for row in rows.values()} == {0, 1} and page.catalogue.slot(his.id) == rows[his.id]["slot"]
    page.asks = ANNA
    assert {row["id"] for row in page.catalogue.rows()} == {run.id for run in hers}
