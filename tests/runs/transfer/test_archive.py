"""archive.py: export and import are lossless, and no private data is exported."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from nanollm.errors import InputError
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.store import Run, RunStore
from nanollm.runs.transfer.archive import archive_files, export, import_
from nanollm.train.checkpoint import load_model
from tests.conftest import ROOT
from tests.run_folders import make


@pytest.fixture
def shipped() -> Run:
    return RunStore(ROOT / "checkpoints").get("pretrained-nano")


def test_export_and_import_are_lossless(shipped: Run, store: RunStore, tmp_path: Path) -> None:
    run = import_(store, export(shipped, tmp_path / "run.zip"))
    assert [other.id for other in store.list()] == [run.id] and run.id != shipped.id and not run.read_only
    assert (run.title, run.preset, run.settings, run.corpus) == (
        *(shipped.title, shipped.preset, shipped.settings, shipped.corpus),
    )
    assert (run.model_config, run.train_config) == (shipped.model_config, shipped.train_config)
    assert run.events() == shipped.events() and run.baselines == shipped.baselines
    assert [(s.step, s.best, s.val_loss) for s in run.snapshots()] == [
        (s.step, s.best, s.val_loss) for s in shipped.snapshots()
    ]
    for ours, theirs in zip(run.snapshots(), shipped.snapshots(), strict=True):
        assert ours.path.read_bytes() == theirs.path.read_bytes()
        assert ours.means_path.read_bytes() == theirs.means_path.read_bytes()
        assert ours.findings_path.read_bytes() == theirs.findings_path.read_bytes()
    status = run.status()
    original = shipped.status()
    assert (status.state, status.step, status.val_loss) == ("completed", original.step, original.val_loss)
    again = export(run, tmp_path / "again.zip")
    compared = ("run.json", "metrics.jsonl")  # compared above; they are rewritten in the current format
    assert {name: content for name, content in archive_files(run) if name not in compared} == {
        name: content for name, content in archive_files(shipped) if name not in compared
    }
    assert len(again.read_bytes()) == pytest.approx(len((tmp_path / "run.zip").read_bytes()), rel=0.01)


def test_exporting_twice_gives_identical_files(shipped: Run, tmp_path: Path) -> None:
    first, second = (export(shipped, tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_an_imported_run_can_be_forked_but_not_resumed(
    store: RunStore, corpora, launcher: Launcher, tmp_path: Path, text: str
) -> None:
    corpus = corpora.add_text(text[:5000], "tale.txt")
    made = _trained(store, corpora, corpus)
    run = import_(store, export(made, tmp_path / "run.zip"))
    assert run.status().state == "completed" and not run.resume_files()
    with pytest.raises(InputError, match="completed"):
        launcher.resume(run.id)
    fork = store.fork(run, corpora=corpora, settings={}, queued=False)
    assert fork.parent and fork.parent.run == run.id


def test_private_data_are_not_exported(store: RunStore, corpora, tmp_path: Path, text: str) -> None:
    run = _trained(store, corpora, corpora.add_text(text[:5000], "tale.txt"))
    about = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**about, "owner": "alice", "look": "a key"}))
    (run.folder / "worker.log").write_text("/a/path")
    with zipfile.ZipFile(export(store.get(run.id), tmp_path / "run.zip")) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name in entries if name.startswith(("resume", "worker", "heartbeat", "control", "parent"))]
    assert set(json.loads(entries["run.json"])) == {
        *("format", "title", "created", "preset", "settings", "corpus", "model", "train", "parent"),
    }
    assert not [name for name, content in entries.items() if str(tmp_path).encode() in content]


def test_an_unfinished_run_is_imported_as_stopped(store: RunStore, corpora, tmp_path: Path, text: str) -> None:
    run = _trained(store, corpora, corpora.add_text(text[:5000], "tale.txt"))
    metrics = run.folder / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes() + b'{"type": "st')  # a line that is being written
    (run.folder / "status.json").write_text('{"state": "paused", "step": 8}')
    assert import_(store, export(store.get(run.id), tmp_path / "run.zip")).status().state == "stopped"


def test_invalid_exports_and_imports_are_refused(shipped: Run, store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no snapshot yet"):
        export(make(store), tmp_path / "run.zip")
    (tmp_path / "there.zip").touch()
    with pytest.raises(InputError, match="already exists"):
        export(make(store), tmp_path / "there.zip")
    with pytest.raises(InputError, match="choose another folder"):
        export(shipped, tmp_path / "there.zip" / "run.zip")
    assert [p.name for p in tmp_path.glob("*.zip")] == ["there.zip"]
    with pytest.raises(InputError, match="cannot be"):
        import_(store, tmp_path / "none.zip")
    with pytest.raises(InputError, match="cannot be"):
        import_(store, tmp_path)


def test_snapshots_of_two_runs_are_refused(shipped: Run, store: RunStore, tmp_path: Path) -> None:
    """Each file is valid, but they belong to different runs."""
    other = RunStore(ROOT / "checkpoints").get("pretrained-small").snapshot()
    first, second, *_ = shipped.snapshots()
    entries = dict(archive_files(shipped))
    for name, content in (
        (first.path.name, other.path.read_bytes()),
        (first.path.name, second.path.read_bytes()),
        (first.means_path.name, other.means_path.read_bytes()),
        (first.findings_path.name, other.findings_path.read_bytes()),
    ):
        with zipfile.ZipFile(tmp_path / "mixed.zip", "w") as archive:
            for one, kept in {**entries, name: content}.items():
                archive.writestr(one, kept)
        with pytest.raises(InputError, match="belongs to another run"):
            import_(store, tmp_path / "mixed.zip")
    assert store.list() == [] and not list(store.root.iterdir())


def test_claimed_sizes_are_checked_before_allocation(shipped: Run, tmp_path: Path) -> None:
    """A small file may claim a model with billions of parameters."""
    from nanollm.train.checkpoint import read_tensors, write_tensors

    tensors, facts = read_tensors(shipped.snapshot().path)
    facts.pop("format")
    facts["model"] |= {"embedding_dim": 4096, "num_layers": 64, "ffn_hidden_dim": 16_384}
    write_tensors(tmp_path / "greedy.safetensors", tensors, facts)
    with pytest.raises(InputError, match="not a nano-llm checkpoint"):
        load_model(tmp_path / "greedy.safetensors")


def _trained(store: RunStore, corpora, corpus) -> Run:
    from nanollm.runs.process.worker import work
    from tests.tiny_runs import TINY

    run = store.create(settings={**TINY, "num_steps": 8}, corpus=corpus, queued=False)
    assert work(run, corpora.root).state == "completed"
    return run
