"""Catalogue: the rows of the run list."""

from __future__ import annotations

import json

import pytest

from playground.services.catalogue import Catalogue, changed_rows
from tests import run_folders


def test_rows_are_json_with_the_fields_of_the_page(store, corpora):
    run = run_folders.make(store)
    run_folders.write(run, run_folders.evaluated(0, 3.0), run_folders.evaluated(10, 2.0))
    run_folders.checkpoint(run.folder, "00000000", 0, 3.0)
    run_folders.checkpoint(run.folder, "00000010", 10, 2.0)
    (row,) = json.loads(json.dumps(Catalogue(store, corpora).rows()))
    assert (row["id"], row["title"], row["state"]) == (run.id, run.title, "queued")
    assert (row["steps"], row["best"]) == ([0, 10], 1)


def test_a_run_keeps_its_color_when_others_are_deleted(store, corpora):
    catalogue = Catalogue(store, corpora)
    runs = [run_folders.make(store) for _ in range(3)]
    slots = {run.id: catalogue.slot(run.id) for run in runs}
    assert sorted(slots.values()) == [0, 1, 2]
    deleted = next(id for id, slot in slots.items() if slot == 1)
    store.delete(deleted)
    catalogue.rows(fresh=True)
    new = run_folders.make(store)
    assert catalogue.slot(new.id) == 1
    assert all(catalogue.slot(id) == slot for id, slot in slots.items() if id != deleted)


def test_new_snapshots_appear_in_the_row(store, corpora):
    catalogue = Catalogue(store, corpora)
    run = run_folders.make(store)
    assert catalogue.rows(fresh=True)[0]["steps"] == []
    run_folders.checkpoint(run.folder, "00000005", 5)
    run_folders.write(run, run_folders.step(5))
    assert catalogue.rows(fresh=True)[0]["steps"] == [5]


def test_an_unreadable_run_does_not_hide_the_others(store, corpora, monkeypatch, caplog):
    bad, good = run_folders.make(store), run_folders.make(store)
    catalogue = Catalogue(store, corpora)
    real = catalogue._row
    monkeypatch.setattr(catalogue, "_row", lambda run: 1 / 0 if run.id == bad.id else real(run))
    assert [row["id"] for row in catalogue.rows()] == [good.id]
    assert "cannot be listed" in caplog.text


def test_rows_are_cached(store, corpora, monkeypatch):
    catalogue = Catalogue(store, corpora, max_age=60)
    catalogue.rows()
    monkeypatch.setattr(store, "list", lambda: pytest.fail("read again"))
    catalogue.rows()


def test_a_row_names_the_missing_builtin_text(store, corpora, monkeypatch):
    text = "the plays"
    run = run_folders.make(store)
    assert Catalogue(store, corpora).rows()[0]["lacks"] is None  # not a built-in text, so it cannot be downloaded
    monkeypatch.setattr("nanollm.data.builtin.SHAKESPEARE_SHA256", run.corpus["sha256"])
    catalogue = Catalogue(store, corpora)
    assert catalogue.rows()[0]["lacks"] == "tiny-shakespeare"
    monkeypatch.setattr("nanollm.data.builtin.SHAKESPEARE_SHA256", corpora.add_text(text, "plays").sha256)
    assert catalogue.rows(fresh=True)[0]["lacks"] is None


def test_only_changed_rows_are_sent(store, corpora):
    runs = [run_folders.make(store) for _ in range(30)]
    catalogue = Catalogue(store, corpora)
    known = catalogue.rows(fresh=True)
    assert changed_rows([], known) == known and changed_rows(known, known) == {"changed": []}
    run_folders.write(runs[3], run_folders.step(5))
    run_folders.checkpoint(runs[3].folder, "00000005", 5)
    sent = changed_rows(known, rows := catalogue.rows(fresh=True))
    assert [row["id"] for row in sent["changed"]] == [runs[3].id]
    assert len(json.dumps(sent)) < 1000 < len(json.dumps(rows))
    store.delete(runs[7].id)
    assert len(changed_rows(rows, catalogue.rows(fresh=True))) == 29  # after a deletion all rows are sent


def test_queued_runs_have_their_place(store, corpora):
    first, second = run_folders.make(store), run_folders.make(store)
    places = {row["id"]: row["place"] for row in Catalogue(store, corpora).rows()}
    assert places == {first.id: 1, second.id: 2}
