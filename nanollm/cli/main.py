"""`python -m nanollm COMMAND`: the command line, working on the same run folders as the page.

Results go to stdout (with `--json`, as JSON), progress and errors to stderr. Exit status 0: success; 1: the training
failed or diverged; 2: invalid request, with a one-sentence error; 130: interrupted with Ctrl-C.

Only the module of the requested command is imported, so that listing runs does not wait for numpy or PyTorch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from nanollm.cli.exit_status import Parser, status_of

# The commands of each module, in the order of --help.
MODULES = {
    "train": ("train",),
    "sample": ("sample",),
    "attention": ("attention",),
    "scale": ("scale",),
    "runs": ("runs", "push", "pull"),
    "corpus": ("corpus",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (`argv` defaults to the process's arguments) and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = build_parser(argv[0] if argv else None).parse_args(argv)
    return status_of(lambda: arguments.command(arguments))


def build_parser(command: str | None = None) -> Parser:
    """The parser of `python -m nanollm` for one command; with all its subcommands if `command` is none of them."""
    parser = Parser(prog="python -m nanollm", description="Train small character-level Transformers and inspect them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    requested = [module for module, names in MODULES.items() if command in names]
    for module in requested or MODULES:
        import_module(f"nanollm.cli.{module}").add_commands(commands)
    return parser
