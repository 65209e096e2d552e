"""`python -m nanollm corpus`: statistics of a text."""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

from nanollm.cli import lookup
from nanollm.cli.texts import TEXT_HELP, add_text
from nanollm.data.builtin import builtin_by_id
from nanollm.data.corpus import CorpusStore


def add_commands(commands: Any) -> None:
    """Add `corpus` to the subparsers."""
    parser = commands.add_parser("corpus", help="show statistics of a text", description=corpus.__doc__)
    parser.set_defaults(command=corpus)
    parser.add_argument("text", nargs="?", metavar="TEXT", default="sample", help=f"{TEXT_HELP} (default: sample)")
    parser.add_argument("--encoding", help="encoding of a file that is not UTF-8, for example latin-1")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def corpus(arguments: argparse.Namespace) -> int:
    """Show the same statistics as the Corpus tab: size, n-gram baselines and character frequencies."""
    from nanollm.data.summary import as_json, as_lines, summarize

    with tempfile.TemporaryDirectory() as temporary:  # a file is only analyzed; built-in texts are kept
        corpora = CorpusStore(lookup.CORPORA if builtin_by_id(arguments.text) else temporary)
        facts = summarize(corpora, add_text(corpora, arguments.text, arguments.encoding))
        return lookup.print_result(arguments, as_json(facts), "\n".join(as_lines(facts)))
