"""Guarantee A5: files of an unknown format version are refused with a message and not modified."""

from __future__ import annotations

import json

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.experiments.scaling import EXPERIMENT, Experiment
from nanollm.runs import run_files
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore

OTHER_VERSIONS = [0, 2, 99, "2", None, [], {"a": 1}]


@pytest.mark.parametrize("version", OTHER_VERSIONS, ids=repr)
def test_a_run_with_another_format_is_refused(store: RunStore, make, version: object) -> None:
    run, other = make(), make()
    path = run.folder / run_files.RUN
    before = path.read_bytes()
    path.write_text(json.dumps({**json.loads(before), "format": version}))
    for read in (lambda: store.get(run.id), lambda: Run.open(run.folder), lambda: store.delete(run.id)):
        with pytest.raises(InputError, match=r"format .*, but this version of nano-llm reads format 1: open it with"):
            read()
    assert [one.id for one in store.list()] == [other.id] and path.exists()
    path.write_bytes(before)
    assert store.get(run.id).title == run.title


@pytest.mark.parametrize("version", OTHER_VERSIONS, ids=repr)
def test_an_experiment_with_another_format_is_refused(store: RunStore, corpora: CorpusStore, version: object) -> None:
    folder = store.root / "scaling-1"
    folder.mkdir(parents=True)
    (folder / EXPERIMENT).write_text(json.dumps({"format": version, "plan": {}, "members": []}))
    with pytest.raises(InputError, match=r"reads format 1: open it with the version"):
        Experiment.open(folder, store)
