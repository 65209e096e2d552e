"""The stores of a public page: visitors reach their own and shared runs and texts, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.limits import Limits
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.process.liveness import Heartbeat
from nanollm.runs.record import write_status
from nanollm.runs.store import RUN_NOT_FOUND, Run, RunStore
from playground.public.ownership import VisitorCorpusStore, VisitorLauncher, VisitorRunStore, viewer
from playground.public.sentences import NO_VISITOR, TEXT_NOT_FOUND, VIEW_ONLY
from playground.public.visitor import ANONYMOUS, Visitor
from playground.services.catalogue import Catalogue
from tests.fake_worker import replace_worker
from tests.run_folders import checkpoint

ANNA, BERT = Visitor("a" * 64), Visitor("b" * 64)
LIMITS = Limits(runs=3, queued=1, texts=2, queue_seconds=900)
NEVER = "20200101-000000-0000"


class Page:
    """The services of a public page, and the current visitor."""

    def __init__(self, home: Path) -> None:
        self.visitor = ANNA
        self.all_runs = RunStore(home / "checkpoints", LIMITS)
        self.all_corpora = CorpusStore(home / "corpora", LIMITS)
        self.runs = VisitorRunStore(self.all_runs, lambda: self.visitor)
        self.trainer = Launcher(self.all_runs, self.all_corpora.root)
        self.launcher = VisitorLauncher(self.trainer, self.runs)
        self.corpora = VisitorCorpusStore(self.all_corpora, self.runs)
        self.catalogue = Catalogue(self.all_runs, self.all_corpora, max_age=0, viewer=lambda: viewer(self.visitor))

    def begin(self, visitor: Visitor, text: str = "a tale of two visitors. " * 60) -> Run:
        self.visitor = visitor
        run = self.runs.create(settings={}, corpus=self.corpora.add_text(text, "tale.txt"), preset="nano")
        write_status(run.folder, "paused", step=0)  # not in the queue
        return run


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    replace_worker(monkeypatch)
    page = Page(tmp_path)
    yield page
    page.trainer.close()
    for child in page.trainer._children:
        child.kill()
        child.wait()


class TestRuns:
    def test_each_visitor_sees_their_own_and_the_shipped_runs(self, page: Page) -> None:
        checkpoint(page.all_runs.root / "pretrained" / "nano", "00000010", 10, 1.0)
        hers, his = page.begin(ANNA), page.begin(BERT)
        for visitor, own in ((ANNA, hers), (BERT, his)):
            page.visitor = visitor
            assert [run.id for run in page.runs.list()] == [own.id, "pretrained-nano"]
            assert page.runs.get(own.id).owner == visitor.owner
        page.visitor = ANONYMOUS
        assert [run.id for run in page.runs.list()] == ["pretrained-nano"]

    def test_another_visitors_run_fails_like_an_unknown_id(self, page: Page) -> None:
        run = page.begin(ANNA)
        with Heartbeat(run.folder):
            write_status(run.folder, "running", step=0)
            for page.visitor in (BERT, ANONYMOUS, Visitor("", {run.id: ""}), Visitor(BERT.owner, {run.id: "0" * 32})):
                for run_id in (run.id, NEVER):
                    for act in (
                        page.runs.get,
                        page.runs.delete,
                        page.launcher.start,
                        page.launcher.pause,
                        page.launcher.stop,
                        page.launcher.resume,
                        lambda run_id: page.runs.rename(run_id, "mine"),
                    ):
                        with pytest.raises(InputError) as caught:
                            act(run_id)
                        assert str(caught.value) == RUN_NOT_FOUND
                with pytest.raises(InputError) as caught:
                    page.runs.fork(run, corpora=page.corpora, settings={})
                assert str(caught.value) == RUN_NOT_FOUND
            assert list((run.folder / "control").iterdir()) == [] and page.all_runs.get(run.id).title == run.title

    def test_a_shared_link_permits_viewing_only(self, page: Page) -> None:
        run = page.begin(ANNA)
        checkpoint(run.folder, "00000000", 0)
        page.visitor = replace(BERT, view_keys={run.id: run.view_key})
        assert [one.id for one in page.runs.list()] == [run.id] and page.runs.get(run.id).title == run.title
        for act in (page.runs.delete, page.launcher.stop, page.launcher.resume, page.launcher.pause):
            with pytest.raises(InputError) as caught:
                act(run.id)
            assert str(caught.value) == VIEW_ONLY
        with pytest.raises(InputError, match="view it"):
            page.runs.fork(run, corpora=page.corpora, settings={})
        with pytest.raises(InputError) as caught:
            page.corpora.get(run.corpus["sha256"])
        assert str(caught.value) == TEXT_NOT_FOUND

    def test_a_visitor_has_limited_runs_and_one_in_the_queue(self, page: Page) -> None:
        info = page.corpora.add_text("a tale of two visitors. " * 60, "tale.txt")
        first = page.runs.create(settings={}, corpus=info, preset="nano")
        with pytest.raises(InputError, match=r"already in the queue\. Wait until it starts, or stop it"):
            page.runs.create(settings={}, corpus=info, preset="nano")
        page.launcher.stop(first.id)
        others = [page.begin(ANNA) for _ in range(2)]
        with pytest.raises(InputError, match=r"You have 3 runs.*Delete one first"):
            page.runs.create(settings={}, corpus=info, preset="nano")
        page.launcher.resume(others[0].id)  # trains
        page.launcher.resume(others[1].id)  # is next
        with pytest.raises(InputError, match="already in the queue"):
            page.launcher.resume(first.id)
        page.visitor = ANONYMOUS
        with pytest.raises(InputError) as caught:
            page.runs.create(settings={}, corpus=info, preset="nano")
        assert str(caught.value) == NO_VISITOR

    def test_a_full_queue_accepts_no_more_runs(self, page: Page) -> None:
        refused = []
        for n in range(200):
            page.visitor = Visitor(f"{n:064}")
            try:
                info = page.corpora.add_text("a tale of two visitors. " * 60, "tale.txt")
                page.runs.create(settings={}, corpus=info, preset="sprint")
            except InputError as error:
                refused.append(str(error))
                break
        assert n >= 25 and refused and "The queue is full for about 1" in refused[0]


class TestTexts:
    def test_each_visitor_has_a_list_and_equal_texts_are_stored_once(self, page: Page) -> None:
        hers = page.corpora.add_text("the same words", "hers")
        page.visitor = BERT
        with pytest.raises(InputError) as caught:
            page.corpora.get(hers.sha256)
        assert str(caught.value) == TEXT_NOT_FOUND
        for reading in (page.corpora.read, page.corpora.frequencies, page.corpora.entropy, page.corpora.delete):
            with pytest.raises(InputError) as caught:
                reading(hers.sha256)
            assert str(caught.value) == TEXT_NOT_FOUND
        assert [info.name for info in page.corpora.list()] == ["sample.txt"]
        his = page.corpora.add_text("the same words", "his")
        assert his.sha256 == hers.sha256 and len(list(page.all_corpora.root.glob("*.txt"))) == 1
        page.corpora.rename(his.sha256, "renamed")
        assert page.corpora.get(his.sha256).name == "renamed"
        page.visitor = ANNA
        assert [info.name for info in page.corpora.list()] == ["sample.txt", "hers"]
        page.corpora.delete(hers.sha256)
        page.visitor = BERT
        assert page.corpora.read(his.sha256) == "the same words"  # still in his list
        page.corpora.delete(his.sha256)
        assert not list(page.all_corpora.root.glob("*.txt"))

    def test_a_text_used_by_another_visitors_run_is_kept(self, page: Page) -> None:
        run = page.begin(ANNA)
        page.begin(BERT)
        page.runs.delete(page.runs.list()[0].id)
        page.corpora.delete(run.corpus["sha256"])
        assert page.all_corpora.get(run.corpus["sha256"])
        page.visitor = ANNA
        with pytest.raises(InputError, match="uses this text"):
            page.corpora.delete(run.corpus["sha256"], needed_by=page.runs.unfinished_titles(run.corpus["sha256"]))

    def test_texts_are_limited_and_shared_ones_cannot_be_changed(self, page: Page) -> None:
        common = page.all_corpora.add_text("shared by all", "common", builtin="x")
        page.corpora.add_text("one", "one")
        page.corpora.add_text("two", "two")
        with pytest.raises(InputError, match=r"You have 2 texts.*Delete one first"):
            page.corpora.add_text("three", "three")
        assert page.corpora.get(common.sha256).name == "common" and len(page.corpora.list()) == 4
        for act in (page.corpora.delete, lambda sha256: page.corpora.rename(sha256, "mine")):
            with pytest.raises(InputError, match="shared by all visitors"):
                act(common.sha256)
        page.visitor = ANONYMOUS
        with pytest.raises(InputError) as caught:
            page.corpora.add_text("four", "four")
        assert str(caught.value) == NO_VISITOR and len(page.corpora.list()) == 2


def test_the_catalogue_is_filtered_and_colored_per_visitor(page: Page) -> None:
    hers = [page.begin(ANNA) for _ in range(2)]
    his = page.begin(BERT)
    page.visitor = replace(BERT, view_keys={hers[0].id: hers[0].view_key})
    rows = {row["id"]: row for row in page.catalogue.rows()}
    assert set(rows) == {his.id, hers[0].id}
    assert [rows[run.id]["mine"] for run in (his, hers[0])] == [True, False]
    assert [rows[run.id]["look"] for run in (his, hers[0])] == [his.view_key, hers[0].view_key]
    assert {row["slot"] for row in rows.values()} == {0, 1} and page.catalogue.slot(his.id) == rows[his.id]["slot"]
    page.visitor = ANNA
    assert {row["id"] for row in page.catalogue.rows()} == {run.id for run in hers}
