"""Guarantee C9: names are labels, never paths; no name creates a file outside the storage folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.experiments.scaling import Experiment
from nanollm.limits import PUBLIC
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.store import RunStore
from playground.public.ownership import VisitorCorpusStore, VisitorRunStore
from playground.public.visitor import Visitor

NAMES = {
    "parent": "../../../../outside",
    "parent with backslashes": "..\\..\\outside",
    "absolute": "/tmp/outside",
    "NUL": "a\0b",
    "long": "n" * 10_000,
    "one dot": ".",
    "two dots": "..",
    "empty": "",
    "hidden": ".hidden",
    "lines": "a\nb\r\nc",
    "home": "~root",
    "pipe": "| touch outside",
    "percent-encoded": "%2e%2e%2foutside",
    "right to left": "\u202egnp.exe",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_create_no_files_outside_the_storage_folders(tmp_path: Path, name: str) -> None:
    home = tmp_path / "around" / "home"
    all_runs, all_corpora = RunStore(home / "checkpoints", PUBLIC), CorpusStore(home / "corpora", PUBLIC)
    store = VisitorRunStore(all_runs, lambda: Visitor("a" * 64))
    corpora = VisitorCorpusStore(all_corpora, store)
    file = tmp_path / "upload.txt"
    file.write_text("some words. " * 200)
    info = corpora.add_file(file, name)
    corpora.add_text("other words. " * 200, name)
    corpora.rename(info.sha256, name)
    assert all(0 < len(one.name) <= 200 and one.name.isprintable() for one in corpora.list())
    run = store.create(settings={}, corpus=info, preset="nano")
    try:
        store.rename(run.id, name)
    except InputError as error:
        assert "visible character" in str(error)
    assert 0 < len(store.get(run.id).title) <= 200 and store.get(run.id).title.isprintable()
    launcher = Launcher(all_runs, all_corpora.root)
    for access in (
        all_runs.get,
        all_runs.delete,
        launcher.stop,
        launcher.resume,
        all_corpora.get,
        all_corpora.delete,
        corpora.get,
    ):
        with pytest.raises(InputError) as caught:
            access(name)
        assert "outside" not in str(caught.value) and len(str(caught.value)) < 200
    if "\0" not in name:
        with pytest.raises((InputError, OSError)):
            Experiment.open(all_runs.root / name[:200], all_runs)
    outside = {path for path in tmp_path.rglob("*") if path.is_file() and home not in path.parents}
    assert outside == {file} and not Path("/tmp/outside").exists()
    known = {run.id, "corpora", "checkpoints", "shelves", "a" * 64, "control", ".lock"}
    assert all(path.name in known or not path.is_dir() for path in home.rglob("*"))
