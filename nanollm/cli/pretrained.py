"""`python -m nanollm.experiments.pretrained`: make the pretrained models from finished runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nanollm.cli.exit_status import status_of
from nanollm.cli.main import CHECKPOINTS, CORPORA, Parser
from nanollm.data.corpus import CorpusStore
from nanollm.experiments.pretrained import described, runs_in, ship
from nanollm.runs import folder as names


def main(argv: Sequence[str] | None = None) -> int:
    """Turn finished runs into the models that come with nano-llm."""
    parser = Parser(prog="python -m nanollm.experiments.pretrained", description=main.__doc__)
    parser.add_argument(
        "--from", dest="sources", nargs="+", type=Path, required=True, metavar="DIR",
        help="folders of finished runs, or of a scaling experiment (of each preset, its first run)",
    )  # fmt: skip
    parser.add_argument(
        "--to", type=Path, default=CHECKPOINTS / names.SHIPPED, help="where they go (default: checkpoints/pretrained)"
    )
    parser.add_argument(
        "--corpora", type=Path, default=CORPORA, help="where their text is kept (default: data/corpora)"
    )
    parser.add_argument("--corpus-name", help="what their text is called (default: as it was called in training)")
    parser.add_argument("--machine", default="", help="where they were trained, for runs that do not say so themselves")
    arguments = parser.parse_args(argv)
    return status_of(lambda: _ship(arguments))


def _ship(arguments: argparse.Namespace) -> int:
    said = {"corpus_name": arguments.corpus_name, "machine": arguments.machine}
    for folder in ship(runs_in(arguments.sources), arguments.to, CorpusStore(arguments.corpora), **said):
        print(described(folder))
    return 0
