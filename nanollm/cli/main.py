"""`python -m nanollm COMMAND`: the command line, working on the same run folders as the page.

Results go to stdout (with `--json`, as JSON), progress and errors to stderr. Exit status 0: success; 1: the training
failed or diverged; 2: invalid request, with a one-sentence error; 130: interrupted with Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Sequence

from nanollm.cli import attention, corpus, runs, sample, scale, train
from nanollm.cli.exit_status import Parser, status_of

COMMANDS = (train, sample, attention, scale, runs, corpus)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (`argv` defaults to the process's arguments) and return its exit status."""
    arguments = build_parser().parse_args(argv)
    return status_of(lambda: arguments.command(arguments))


def build_parser() -> Parser:
    """The parser of `python -m nanollm` with all its subcommands."""
    parser = Parser(prog="python -m nanollm", description="Train small character-level Transformers and inspect them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_commands(commands)
    return parser
