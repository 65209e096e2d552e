"""`python -m nanollm.experiments.findings`: measure the pretrained models' findings again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nanollm.cli.exit_status import Parser, status_of
from nanollm.cli.lookup import CHECKPOINTS, CORPORA
from nanollm.data.corpus import CorpusStore
from nanollm.experiments.findings import measure_all
from nanollm.runs import run_files


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the findings of every snapshot of the pretrained models and save them beside the snapshots."""
    parser = Parser(prog="python -m nanollm.experiments.findings", description=main.__doc__)
    parser.add_argument(
        "--of",
        type=Path,
        default=CHECKPOINTS / run_files.PRETRAINED,
        help="their folder (default: checkpoints/pretrained)",
    )
    parser.add_argument(
        "--corpora", type=Path, default=CORPORA, help="folder with their training text (default: data/corpora)"
    )
    arguments = parser.parse_args(argv)
    return status_of(lambda: measure_all(arguments.of, CorpusStore(arguments.corpora)))
