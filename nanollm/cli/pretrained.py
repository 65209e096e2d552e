"""`python -m nanollm.experiments.pretrained` and `.findings`: build the pretrained models, measure their findings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nanollm.cli.exit_status import Parser, status_of
from nanollm.cli.lookup import CHECKPOINTS, CORPORA
from nanollm.data.corpus import CorpusStore
from nanollm.runs import run_files


def main(argv: Sequence[str] | None = None) -> int:
    """Build the pretrained models from finished runs."""
    parser = _parser("pretrained", main.__doc__, "--to", "output folder")
    parser.add_argument(
        "--from", dest="sources", nargs="+", type=Path, required=True, metavar="DIR",
        help="folders of finished runs, or of a scaling experiment (the first run of each preset)",
    )  # fmt: skip
    parser.add_argument("--corpus-name", help="display name of the text (default: its name in the runs)")
    parser.add_argument("--machine", default="", help="training machine, for runs that did not record it")
    arguments = parser.parse_args(argv)
    return status_of(lambda: _build(arguments))


def main_findings(argv: Sequence[str] | None = None) -> int:
    """Measure the findings of every snapshot of the pretrained models and save them beside the snapshots."""
    from nanollm.experiments.findings import measure_all

    arguments = _parser("findings", main_findings.__doc__, "--of", "their folder").parse_args(argv)
    return status_of(lambda: measure_all(arguments.of, CorpusStore(arguments.corpora)))


def _parser(module: str, description: str | None, flag: str, folder: str) -> Parser:
    """A parser with the flag of the models' folder, and --corpora."""
    parser = Parser(prog=f"python -m nanollm.experiments.{module}", description=description)
    default = CHECKPOINTS / run_files.PRETRAINED
    parser.add_argument(flag, type=Path, default=default, help=f"{folder} (default: %(default)s)")
    text = "folder with their training text (default: %(default)s)"
    parser.add_argument("--corpora", type=Path, default=CORPORA, help=text)
    return parser


def _build(arguments: argparse.Namespace) -> int:
    from nanollm.experiments.pretrained import build_pretrained, describe, runs_in

    labels = {"corpus_name": arguments.corpus_name, "machine": arguments.machine}
    for folder in build_pretrained(runs_in(arguments.sources), arguments.to, CorpusStore(arguments.corpora), **labels):
        print(describe(folder))
    return 0
