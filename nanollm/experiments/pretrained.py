"""Builds the pretrained models from finished runs.

    python -m nanollm scale --corpus FILE --name stored
    python -m nanollm.experiments.pretrained --from checkpoints/stored

Each becomes a run folder under checkpoints/pretrained/, small enough to be distributed with the code: fewer snapshots,
float16 weights, no resume files and no log. Rounding changes the weights, so losses and samples of the snapshots are
measured again on the stored files. The curve between the snapshots remains as recorded in training.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nanollm.data.corpus import CorpusStore
from nanollm.data.dataset import Dataset
from nanollm.errors import InputError
from nanollm.experiments.scaling import EXPERIMENT, Experiment
from nanollm.explain.ablation import measure_means, save_means
from nanollm.explain.findings import measure_findings, save_findings
from nanollm.runs import run_files
from nanollm.runs.process.training import snapshot_sample
from nanollm.runs.record import Run, Snapshot, write_status
from nanollm.train.checkpoint import load_model, save_checkpoint
from nanollm.train.checkpoint_file import snapshot_name
from nanollm.train.evaluation import evaluate
from nanollm.train.events import Calibration, Checkpoint, Eval, Event, FinalEval, Resume, Sample, Start, to_json
from nanollm.train.workload import MAX_EVAL_CHARACTERS

SNAPSHOT_COUNTS = {"nano": 20, "small": 12, "medium": 4}  # snapshots per preset; larger models need more space
MAX_BYTES = 12_000_000  # limit for all pretrained models together
ROUNDING = 0.005  # tolerated change of a loss in nats due to rounding to float16

Item = TypeVar("Item")


@dataclass(frozen=True)
class StoredSnapshot:
    """A stored snapshot and what was measured on its file. Losses in nats per character."""

    step: int
    train_loss: float
    val_loss: float | None
    sample: str


def build_pretrained(
    runs: Sequence[Run], root: Path, corpora: CorpusStore, *, corpus_name: str | None = None, machine: str = ""
) -> list[Path]:
    """Build a pretrained folder for each run under `root`, replacing an earlier one of the same preset.

    `corpus_name` is the new name of their text; `machine` is recorded for runs that do not name their machine.
    Raises InputError, and changes nothing, if a run is not finished, not of a preset in SNAPSHOT_COUNTS or a fork,
    if two have the same preset, if their text is missing, or if the total size would exceed MAX_BYTES.
    """
    for run in runs:
        _require_finished(run)
    if len({run.preset for run in runs}) < len(runs):
        raise InputError("Two of these runs have the same preset: name one run per preset.")
    root.mkdir(parents=True, exist_ok=True)
    temporaries = [root / f".new-{run.preset}-{os.getpid()}" for run in runs]
    try:
        for run, temporary in zip(runs, temporaries, strict=True):
            _write(run, temporary, corpora, {"corpus_name": corpus_name, "machine": machine})
        staying = [path for path in root.glob("[!.]*") if path.name not in {run.preset for run in runs}]
        size = sum(map(_size, [*temporaries, *staying]))
        if size > MAX_BYTES:
            raise InputError(
                f"These models would take {size / 1e6:.1f} MB, but the limit is {MAX_BYTES / 1e6:.0f} MB: keep fewer "
                "snapshots."
            )
        pairs = zip(runs, temporaries, strict=True)
        return [_move_into_place(temporary, root / str(run.preset)) for run, temporary in pairs]
    finally:
        for temporary in temporaries:
            shutil.rmtree(temporary, ignore_errors=True)


def thin(items: Sequence[Item], count: int, best: int) -> list[Item]:
    """At most `count` (≥ 2) of the items: the first, the one at index `best`, and an even selection of the others.

    The last item is not always included, because it adds little if the best one is just before it.
    """
    if len(items) <= count:
        return list(items)
    wanted = {0, best}
    others = [index for index in range(len(items)) if index not in wanted]
    free = count - len(wanted)
    wanted |= {others[(2 * place + 1) * len(others) // (2 * free)] for place in range(free)}
    return [items[index] for index in sorted(wanted)]


def runs_in(sources: Sequence[Path]) -> list[Run]:
    """The runs in the given folders; of an experiment, the first run of each preset. Raises InputError."""
    runs: list[Run] = []
    for source in sources:
        if not (source / EXPERIMENT).exists():
            runs.append(Run.open(source))
            continue
        first: dict[str | None, Run] = {}
        for run in Experiment.open(source).runs():
            first.setdefault(run.preset, run)
        runs += [run for preset, run in first.items() if preset in SNAPSHOT_COUNTS]
    return runs


def _require_finished(run: Run) -> None:
    if run.preset not in SNAPSHOT_COUNTS:
        raise InputError(f"{run.title!r} has preset {run.preset}: choose a run of {', '.join(SNAPSHOT_COUNTS)}.")
    if run.parent:
        raise InputError(f"{run.title!r} is a fork: use a run that can be reproduced from scratch.")
    if (state := run.status().state) != "completed":
        raise InputError(f"{run.title!r} is {state}: let it finish first.")


def _write(run: Run, temporary: Path, corpora: CorpusStore, labels: Mapping[str, str | None]) -> None:
    snapshots = run.snapshots()
    best = next(index for index, snapshot in enumerate(snapshots) if snapshot.best)
    sha256 = str(run.corpus.get("sha256"))
    data = Dataset.from_ids(corpora.encoded(sha256)[1], run.train_config.validation_fraction)
    temporary.mkdir()
    stored = [_store(snapshot, temporary, data) for snapshot in thin(snapshots, SNAPSHOT_COUNTS[str(run.preset)], best)]
    baselines = run.baselines or corpora.baselines(sha256, run.train_config.validation_fraction)
    run_files.write_json(temporary / run_files.BASELINES, asdict(baselines))
    rows = _events(run, {snapshot.step: snapshot for snapshot in stored})
    (temporary / run_files.METRICS).write_text("".join(to_json(row) + "\n" for row in rows), encoding="utf-8")
    run_files.write_json(temporary / run_files.RUN, _about(run, stored, labels))
    status = run.status()
    best_loss = min((s.val_loss for s in stored if s.val_loss is not None), default=None)
    more: dict[str, Any] = {"seconds": status.seconds, "elapsed": status.elapsed, "val_loss": best_loss}
    write_status(temporary, "completed", step=status.step, **more, peak_bytes=status.peak_bytes)


def _store(snapshot: Snapshot, temporary: Path, data: Dataset) -> StoredSnapshot:
    """Write a snapshot in half precision and measure the written model."""
    path = temporary / snapshot_name(snapshot.step)
    loaded = load_model(snapshot.path)
    facts = {"step": snapshot.step, "tokenizer": loaded.tokenizer, "train_config": loaded.info.train_config}
    save_checkpoint(path, loaded.model, **facts, half=True)
    reloaded = load_model(path)  # float32 with the values rounded to float16
    val_loss = evaluate(reloaded.model, data.val, max_characters=len(data.val))
    train_loss = evaluate(reloaded.model, data.train, max_characters=min(len(data.val), MAX_EVAL_CHARACTERS))
    assert train_loss is not None, "the training split is not empty"
    save_checkpoint(path, reloaded.model, **facts, half=True, train_loss=train_loss, val_loss=val_loss)
    held_out = data.val if len(data.val) > 1 else data.train
    means = measure_means(reloaded.model, held_out)
    save_means(run_files.means_path(path), means)  # so that ablation does not need the text
    found = measure_findings(reloaded.model, reloaded.tokenizer, held_out, means, backups=snapshot.best)
    save_findings(run_files.findings_path(path), found)
    seed = loaded.info.train_config.seed if loaded.info.train_config else 0
    sample = snapshot_sample(reloaded.model, reloaded.tokenizer, seed)
    return StoredSnapshot(snapshot.step, train_loss, val_loss, sample)


def _events(run: Run, stored: dict[int, StoredSnapshot]) -> list[Event]:
    """The run's events with only these snapshots, and with the losses and samples measured on the stored files.

    Evaluations between the snapshots are kept only if they are comparable: losses on different parts of the text must
    not appear on one curve.
    """
    rows: list[Event] = []
    comparable = _comparable(run, stored)
    for event in run.events():
        measured = stored.get(event.step)
        if isinstance(event, Resume | Calibration | FinalEval) or (isinstance(event, Start) and rows):
            continue  # interruptions are irrelevant for the model, and its losses are those of the stored snapshots
        if isinstance(event, Checkpoint):
            if measured and event.kind in ("snapshot", "best"):
                rows.append(replace(event, kind="snapshot", replaces=""))
        elif isinstance(event, Sample):
            if measured:
                rows.append(replace(event, text=measured.sample))
        elif isinstance(event, Eval):
            if measured:
                losses = {"train_loss": measured.train_loss, "val_loss": measured.val_loss}
                rows.append(replace(event, **losses, train_error=0.0, val_error=0.0, characters=0))
            elif comparable:
                rows.append(event)
        else:
            rows.append(event)
    return rows


def _comparable(run: Run, stored: dict[int, StoredSnapshot]) -> bool:
    """Whether the losses in training are of the whole split and close to those of the stored snapshots."""
    if any(isinstance(event, Eval) and event.val_error for event in run.events()):
        return False
    pairs = [(event.val_loss, stored[event.step].val_loss) for event in run.events()
             if isinstance(event, Eval) and event.step in stored]  # fmt: skip
    return all(abs(there - here) < ROUNDING for there, here in pairs if there is not None and here is not None)


def _about(run: Run, stored: Sequence[StoredSnapshot], labels: Mapping[str, str | None]) -> dict:
    """The content of run.json: that of the run, plus where it was trained and its best losses."""
    about = run_files.read_json(run.folder / run_files.RUN)
    start = next(event for event in run.events() if isinstance(event, Start))
    best = min(stored, key=lambda snapshot: (snapshot.val_loss is None, snapshot.val_loss or 0.0, -snapshot.step))
    corpus = {**run.corpus, "name": labels["corpus_name"] or run.corpus.get("name")}
    made = {
        "torch": start.torch,
        "machine": start.machine or labels["machine"],
        "device": start.device,
        "precision": start.precision,
        "threads": start.threads,
        "weights": "float16",
        "best_step": best.step,
        "train_loss": best.train_loss,
        "val_loss": best.val_loss,
    }
    return {**about, "title": f"{run.preset} · {corpus['name']}", "corpus": corpus, "made": made}


def _move_into_place(temporary: Path, folder: Path) -> Path:
    """Rename a new folder to its final name, replacing an existing one afterwards."""
    former = temporary.with_name(f".old-{temporary.name}")
    if folder.exists():
        os.rename(folder, former)
    os.rename(temporary, folder)
    shutil.rmtree(former, ignore_errors=True)
    return folder


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def describe(folder: Path) -> str:
    """Describe a pretrained folder in one line: snapshots, size, losses and origin."""
    made = run_files.read_json(folder / run_files.RUN)["made"]
    loss = f"validation loss {made['val_loss']:.4f}" if made["val_loss"] is not None else "no validation loss"
    files = len(list(folder.glob("checkpoint_*.safetensors")))
    return (
        f"{folder.name}: {files} snapshots, {_size(folder) / 1e6:.2f} MB; {loss} at step {made['best_step']:,}, "
        f"training loss {made['train_loss']:.4f}; {made['machine'] or 'unknown machine'}, torch {made['torch']}"
    )


if __name__ == "__main__":
    from nanollm.cli.pretrained import main

    sys.exit(main())
