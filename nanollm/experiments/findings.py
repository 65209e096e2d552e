"""Recomputes the findings of the pretrained models, for use after a measurement has changed.

    python -m nanollm.experiments.findings

Their training text must be in the store (the Corpus tab downloads it): findings are measured on its validation split.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nanollm.data.corpus import CorpusStore, split
from nanollm.explain.ablation import load_means
from nanollm.explain.findings import measure_findings, save_findings
from nanollm.runs import run_files
from nanollm.runs.record import Run
from nanollm.train.checkpoint import load_model


def measure_all(root: Path, corpora: CorpusStore) -> int:
    """Measure the findings of every snapshot of the runs under `root`, printing one line per run; returns 0."""
    for folder in sorted(path.parent for path in root.glob(f"*/{run_files.RUN}")):
        print(f"{folder.name}: {_measure(Run.open(folder), corpora)} snapshots", flush=True)
    return 0


def _measure(run: Run, corpora: CorpusStore) -> int:
    """Write the findings of every snapshot of a run; returns the number of snapshots."""
    _, ids = corpora.encoded(str(run.corpus.get("sha256")))
    train, held_out = split(ids, run.train_config.validation_fraction)
    ids = held_out if len(held_out) > 1 else train
    for snapshot in run.snapshots():
        loaded = load_model(snapshot.path)
        found = measure_findings(
            loaded.model, loaded.tokenizer, ids, load_means(snapshot.means_path), backups=snapshot.best
        )
        save_findings(snapshot.findings_path, found)
    return len(run.snapshots())


if __name__ == "__main__":
    from nanollm.cli.pretrained import main_findings

    sys.exit(main_findings())
