"""`python -m nanollm.experiments.findings`: measure the pretrained models' findings again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nanollm.cli.exit_status import status_of
from nanollm.cli.main import CHECKPOINTS, CORPORA, Parser
from nanollm.data.corpus import CorpusStore
from nanollm.experiments.findings import measure_all
from nanollm.runs import folder as names


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is found out about every snapshot of the shipped models, and keep it beside them."""
    parser = Parser(prog="python -m nanollm.experiments.findings", description=main.__doc__)
    parser.add_argument("--of", type=Path, default=CHECKPOINTS / names.SHIPPED, help="the folder that holds them")
    parser.add_argument("--corpora", type=Path, default=CORPORA, help="where their text is kept")
    arguments = parser.parse_args(argv)
    return status_of(lambda: measure_all(arguments.of, CorpusStore(arguments.corpora)))
