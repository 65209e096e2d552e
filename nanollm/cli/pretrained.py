"""`python -m nanollm.experiments.pretrained`: build the pretrained models from finished runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nanollm.cli.exit_status import Parser, status_of
from nanollm.cli.lookup import CHECKPOINTS, CORPORA
from nanollm.data.corpus import CorpusStore
from nanollm.experiments.pretrained import build_pretrained, describe, runs_in
from nanollm.runs import run_files


def main(argv: Sequence[str] | None = None) -> int:
    """Build the pretrained models from finished runs."""
    parser = Parser(prog="python -m nanollm.experiments.pretrained", description=main.__doc__)
    parser.add_argument(
        "--from", dest="sources", nargs="+", type=Path, required=True, metavar="DIR",
        help="folders of finished runs, or of a scaling experiment (the first run of each preset)",
    )  # fmt: skip
    parser.add_argument(
        "--to",
        type=Path,
        default=CHECKPOINTS / run_files.PRETRAINED,
        help="output folder (default: checkpoints/pretrained)",
    )
    parser.add_argument(
        "--corpora", type=Path, default=CORPORA, help="folder with their training text (default: data/corpora)"
    )
    parser.add_argument("--corpus-name", help="display name of the text (default: its name in the runs)")
    parser.add_argument("--machine", default="", help="training machine, for runs that did not record it")
    arguments = parser.parse_args(argv)
    return status_of(lambda: _build(arguments))


def _build(arguments: argparse.Namespace) -> int:
    labels = {"corpus_name": arguments.corpus_name, "machine": arguments.machine}
    for folder in build_pretrained(runs_in(arguments.sources), arguments.to, CorpusStore(arguments.corpora), **labels):
        print(describe(folder))
    return 0
