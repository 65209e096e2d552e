"""The models that come with nano-llm, made from finished runs.

    python -m nanollm scale --corpus FILE --name shipped
    python -m nanollm.experiments.pretrained --from checkpoints/shipped

Each becomes a run folder under checkpoints/pretrained/, small enough to be handed on with the code: fewer snapshots,
weights in float16, nothing to resume from and no log. Rounding the weights changes the model, so whatever is said of a
snapshot (its losses, its sample) is measured again on the file as it is stored. The curve between the snapshots stays
as training recorded it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from nanollm.data.corpus import CorpusStore
from nanollm.data.dataset import Dataset
from nanollm.errors import InputError
from nanollm.experiments.scaling import EXPERIMENT, Experiment
from nanollm.explain.ablation import measure_means, save_means
from nanollm.explain.findings import measure_findings, save_findings
from nanollm.runs import run_files
from nanollm.runs.process.training import snapshot_sample
from nanollm.runs.record import Run, Snapshot, write_status
from nanollm.train.checkpoint import load_model, save_checkpoint, snapshot_name
from nanollm.train.evaluation import evaluate
from nanollm.train.events import Checkpoint, Eval, Event, Resume, Sample, Start, to_json
from nanollm.train.workload import MAX_EVAL_CHARACTERS

SNAPSHOT_COUNTS = {"nano": 20, "small": 12, "medium": 4}  # snapshots of each; a bigger model's take more room
MAX_BYTES = 12_000_000  # of all shipped models together
ROUNDING = 0.005  # nats that a loss may change by when weights are rounded to float16

Item = TypeVar("Item")


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot as it is stored: what was measured on its file, losses in nats a character."""

    step: int
    train_loss: float
    val_loss: float | None
    sample: str


def build_pretrained(
    runs: Sequence[Run], root: Path, corpora: CorpusStore, *, corpus_name: str | None = None, machine: str = ""
) -> list[Path]:
    """Make the shipped folder of each run under `root`, in the place of an earlier one of its preset.

    `corpus_name` is what their text is called from now on; `machine` goes into run.json where a run does not name its.
    Raises InputError, and changes nothing, if a run is not finished, not of a preset in SNAPSHOT_COUNTS or a fork,
    if two are of the same preset, if their text is gone, or if everything together would be larger than MAX_BYTES.
    """
    for run in runs:
        _require_finished(run)
    if len({run.preset for run in runs}) < len(runs):
        raise InputError("Two of these runs are of the same preset: name one of each.")
    root.mkdir(parents=True, exist_ok=True)
    asides = [root / f".new-{run.preset}-{os.getpid()}" for run in runs]
    try:
        for run, temporary in zip(runs, asides, strict=True):
            _write(run, temporary, corpora, {"corpus_name": corpus_name, "machine": machine})
        staying = [path for path in root.glob("[!.]*") if path.name not in {run.preset for run in runs}]
        size = sum(map(_size, [*asides, *staying]))
        if size > MAX_BYTES:
            raise InputError(f"These models would take {size / 1e6:.1f} MB, the limit is {MAX_BYTES / 1e6:.0f} MB.")
        return [_into_place(temporary, root / str(run.preset)) for run, temporary in zip(runs, asides, strict=True)]
    finally:
        for temporary in asides:
            shutil.rmtree(temporary, ignore_errors=True)


def thin(items: Sequence[Item], count: int, best: int) -> list[Item]:
    """At most `count` (≥ 2) of the items: the first, that at index `best`, and others evenly spread over the rest.

    The last has no right of its own: beside a best one just before it, it would show nothing new.
    """
    if len(items) <= count:
        return list(items)
    wanted = {0, best}
    others = [index for index in range(len(items)) if index not in wanted]
    free = count - len(wanted)
    wanted |= {others[(2 * place + 1) * len(others) // (2 * free)] for place in range(free)}
    return [items[index] for index in sorted(wanted)]


def runs_in(sources: Sequence[Path]) -> list[Run]:
    """The runs in the named folders; of an experiment, the first one of each preset. Raises InputError."""
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
        raise InputError(f"{run.title!r} is not a run of {', '.join(SNAPSHOT_COUNTS)}: only those are shipped.")
    if run.parent:
        raise InputError(f"{run.title!r} continues another run: ship one that anybody can repeat from the beginning.")
    if (state := run.status().state) != "completed":
        raise InputError(f"{run.title!r} is {state}: let it finish first.")


def _write(run: Run, temporary: Path, corpora: CorpusStore, said: Mapping[str, str | None]) -> None:
    snapshots = run.snapshots()
    best = next(index for index, snapshot in enumerate(snapshots) if snapshot.best)
    sha256 = str(run.corpus.get("sha256"))
    data = Dataset.from_ids(corpora.encoded(sha256)[1], run.train_config.validation_fraction)
    temporary.mkdir()
    shipped = [
        _store(snapshot, temporary, data) for snapshot in thin(snapshots, SNAPSHOT_COUNTS[str(run.preset)], best)
    ]
    baselines = run.baselines or corpora.baselines(sha256, run.train_config.validation_fraction)
    run_files.write_json(temporary / run_files.BASELINES, asdict(baselines))
    rows = _events(run, {snapshot.step: snapshot for snapshot in shipped})
    (temporary / run_files.METRICS).write_text("".join(to_json(row) + "\n" for row in rows), encoding="utf-8")
    run_files.write_json(temporary / run_files.RUN, _about(run, shipped, said))
    status = run.status()
    best_loss = min((s.val_loss for s in shipped if s.val_loss is not None), default=None)
    more = {"seconds": status.seconds, "val_loss": best_loss, "peak_bytes": status.peak_bytes}
    write_status(temporary, "completed", step=status.step, **more)


def _store(snapshot: Snapshot, temporary: Path, data: Dataset) -> StoredSnapshot:
    """Write a snapshot in half precision, and measure what was written."""
    path = temporary / snapshot_name(snapshot.step)
    loaded = load_model(snapshot.path)
    facts = {"step": snapshot.step, "tokenizer": loaded.tokenizer, "train_config": loaded.info.train_config}
    save_checkpoint(path, loaded.model, **facts, half=True)
    stored = load_model(path)  # float32 again, with the numbers that float16 has kept
    val_loss = evaluate(stored.model, data.val, max_characters=len(data.val))
    train_loss = evaluate(stored.model, data.train, max_characters=min(len(data.val), MAX_EVAL_CHARACTERS))
    assert train_loss is not None, "a run learned from this text"
    save_checkpoint(path, stored.model, **facts, half=True, train_loss=train_loss, val_loss=val_loss)
    held_out = data.val if len(data.val) > 1 else data.train
    means = measure_means(stored.model, held_out)
    save_means(run_files.means_path(path), means)  # so that ablation needs no text
    found = measure_findings(stored.model, stored.tokenizer, held_out, means, backups=snapshot.best)
    save_findings(run_files.findings_path(path), found)
    seed = loaded.info.train_config.seed if loaded.info.train_config else 0
    return StoredSnapshot(snapshot.step, train_loss, val_loss, snapshot_sample(stored.model, stored.tokenizer, seed))


def _events(run: Run, shipped: dict[int, StoredSnapshot]) -> list[Event]:
    """The run's record as if it had kept only these snapshots, and as it looks with what was measured on them.

    What training measured between them stays where it measured as is measured here: losses on different parts of a text
    do not belong on one curve.
    """
    rows: list[Event] = []
    comparable = _comparable(run, shipped)
    for event in run.events():
        measured = shipped.get(event.step)
        if isinstance(event, Resume) or (isinstance(event, Start) and rows):
            continue  # where it was interrupted says nothing about the model
        if isinstance(event, Checkpoint):
            if measured and event.kind in ("snapshot", "best"):
                rows.append(replace(event, kind="snapshot", replaces=""))
        elif isinstance(event, Sample):
            if measured:
                rows.append(replace(event, text=measured.sample))
        elif isinstance(event, Eval):
            if measured:
                rows.append(replace(event, train_loss=measured.train_loss, val_loss=measured.val_loss))
            elif comparable:
                rows.append(event)
        else:
            rows.append(event)
    return rows


def _comparable(run: Run, shipped: dict[int, StoredSnapshot]) -> bool:
    """Whether training found nearly the losses that the stored snapshots have."""
    pairs = [(event.val_loss, shipped[event.step].val_loss) for event in run.events()
             if isinstance(event, Eval) and event.step in shipped]  # fmt: skip
    return all(abs(there - here) < ROUNDING for there, here in pairs if there is not None and here is not None)


def _about(run: Run, shipped: Sequence[StoredSnapshot], said: Mapping[str, str | None]) -> dict:
    """run.json: what the run said of itself, and where and how well it was trained."""
    about = run_files.read_json(run.folder / run_files.RUN)
    start = next(event for event in run.events() if isinstance(event, Start))
    best = min(shipped, key=lambda snapshot: (snapshot.val_loss is None, snapshot.val_loss or 0.0, -snapshot.step))
    corpus = {**run.corpus, "name": said["corpus_name"] or run.corpus.get("name")}
    made = {
        "torch": start.torch,
        "machine": start.machine or said["machine"],
        "device": start.device,
        "precision": start.precision,
        "threads": start.threads,
        "weights": "float16",
        "best_step": best.step,
        "train_loss": best.train_loss,
        "val_loss": best.val_loss,
    }
    return {**about, "title": f"{run.preset} · {corpus['name']}", "corpus": corpus, "made": made}


def _into_place(temporary: Path, folder: Path) -> Path:
    """Give a new folder its name; the one that had it before is gone only once the new one is there."""
    former = temporary.with_name(f".old-{temporary.name}")
    if folder.exists():
        os.rename(folder, former)
    os.rename(temporary, folder)
    shutil.rmtree(former, ignore_errors=True)
    return folder


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def describe(folder: Path) -> str:
    """One line on a pretrained folder: its snapshots, size, losses and origin."""
    made = run_files.read_json(folder / run_files.RUN)["made"]
    loss = f"validation loss {made['val_loss']:.4f}" if made["val_loss"] is not None else "no validation loss"
    files = len(list(folder.glob("checkpoint_*.safetensors")))
    return (
        f"{folder.name}: {files} snapshots, {_size(folder) / 1e6:.2f} MB; {loss} at step {made['best_step']:,}, "
        f"training loss {made['train_loss']:.4f}; {made['machine'] or 'an unnamed machine'}, torch {made['torch']}"
    )


if __name__ == "__main__":
    from nanollm.cli.pretrained import main

    sys.exit(main())
