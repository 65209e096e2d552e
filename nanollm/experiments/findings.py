"""What the looks inside find in the models that come with nano-llm, measured again where the way of measuring changed.

    python -m nanollm.experiments.findings

Their text must be in the store (the page's Corpus tab fetches it): what it holds out is what they are judged by.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from nanollm.checkpoint import load_model
from nanollm.cli import CHECKPOINTS, CORPORA, Parser
from nanollm.corpus import CorpusStore, split
from nanollm.exit_status import status_of
from nanollm.explain.ablation import load_means
from nanollm.explain.findings import find, save_findings
from nanollm.runs import folder as names
from nanollm.runs.record import Run


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is found out about every snapshot of the shipped models, and keep it beside them."""
    parser = Parser(prog="python -m nanollm.experiments.findings", description=main.__doc__)
    parser.add_argument("--of", type=Path, default=CHECKPOINTS / names.SHIPPED, help="the folder that holds them")
    parser.add_argument("--corpora", type=Path, default=CORPORA, help="where their text is kept")
    arguments = parser.parse_args(argv)
    return status_of(lambda: _measure_all(arguments.of, CorpusStore(arguments.corpora)))


def _measure_all(root: Path, corpora: CorpusStore) -> int:
    for folder in sorted(path.parent for path in root.glob(f"*/{names.RUN}")):
        print(f"{folder.name}: {_measure(Run.open(folder), corpora)} snapshots", flush=True)
    return 0


def _measure(run: Run, corpora: CorpusStore) -> int:
    """Write the findings of every snapshot of a run; how many there are."""
    _, ids = corpora.encoded(str(run.corpus.get("sha256")))
    train, held_out = split(ids, run.train_config.validation_fraction)
    ids = held_out if len(held_out) > 1 else train
    for snapshot in run.snapshots():
        loaded = load_model(snapshot.path)
        found = find(loaded.model, loaded.tokenizer, ids, load_means(snapshot.means_path), backups=snapshot.best)
        save_findings(snapshot.findings_path, found)
    return len(run.snapshots())


if __name__ == "__main__":
    sys.exit(main())
