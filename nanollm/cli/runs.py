"""`python -m nanollm runs`, `push` and `pull`: list, control, export and import runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nanollm.cli import lookup
from nanollm.errors import InputError
from nanollm.runs import summary
from nanollm.runs.store import RunStore

ACTIONS = ("list", "show", "stop", "pause", "resume", "delete", "export", "import")
NO_RUNS = "There are no runs yet. Start one with: python -m nanollm train"


def add_commands(commands: Any) -> None:
    """Add `runs`, `push` and `pull` to the subparsers."""
    parser = commands.add_parser("runs", help="list, show, control, export and import runs", description=runs.__doc__)
    parser.set_defaults(command=runs)
    parser.add_argument("action", nargs="?", default="list", choices=ACTIONS)
    parser.add_argument("run", nargs="?", metavar="ID", help="the run (not for list); for import, the zip file")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="for export: the zip file (default: ID.zip)")
    parser.add_argument("--json", action="store_true", help="print as JSON")

    parser = commands.add_parser("push", help="upload a run to the Hugging Face Hub", description=push.__doc__)
    parser.set_defaults(command=push)
    parser.add_argument("run", metavar="RUN", help="the run (its folder or id)")
    parser.add_argument("name", metavar="OWNER/NAME", help="the repository")

    parser = commands.add_parser("pull", help="download a run from the Hugging Face Hub", description=pull.__doc__)
    parser.set_defaults(command=pull)
    parser.add_argument("name", metavar="OWNER/NAME", help="the repository")


def runs(arguments: argparse.Namespace) -> int:
    """List all runs, or show, pause, stop, resume, delete, export or import one.

    A resumed run trains in the background. `export` writes a zip file, `import` reads one.
    """
    store = RunStore(lookup.CHECKPOINTS)
    action = arguments.action
    if action == "list":
        rows = [summary.as_json(run) for run in store.list()]
        return lookup.print_result(arguments, rows, "\n".join(map(summary.as_row, rows)) or NO_RUNS)
    if arguments.run is None:
        argument = "FILE" if action == "import" else "ID (runs list shows them)"
        raise InputError(f"The run is missing: python -m nanollm runs {action} {argument}.")
    if arguments.file is not None and action != "export":
        raise InputError(f"runs {action} takes only a run, not a file: omit {str(arguments.file)!r}.")
    if action == "delete":
        store.delete(arguments.run)
        return lookup.print_result(arguments, {"deleted": arguments.run}, "Deleted.")
    if action == "export":
        from nanollm.runs.transfer.archive import export

        run = store.get(arguments.run)
        file = export(run, arguments.file or Path(f"{run.id}.zip"))
        return lookup.print_result(arguments, {"file": str(file)}, f"Exported to {file}")
    run_id = _import(store, arguments.run) if action == "import" else arguments.run
    if action in ("stop", "pause", "resume"):
        from nanollm.runs.process.launcher import Launcher

        getattr(Launcher(store, lookup.CORPORA), action)(run_id)
    run = store.get(run_id)
    return lookup.print_result(arguments, summary.as_json(run), "\n".join(summary.as_lines(run)))


def _import(store: RunStore, file: str) -> str:
    from nanollm.runs.transfer.archive import import_

    return import_(store, file).id


def push(arguments: argparse.Namespace) -> int:
    """Upload a run to the Hugging Face Hub as a model repository with a model card. Requires `hf auth login` once."""
    from nanollm.runs.transfer.hub import push

    print(f"Uploaded to {push(lookup.find_run(arguments.run), arguments.name)}")
    return 0


def pull(arguments: argparse.Namespace) -> int:
    """Download a run that `push` has uploaded to the Hugging Face Hub. All its files are validated."""
    from nanollm.runs.transfer.hub import pull

    print(f"Downloaded to {pull(RunStore(lookup.CHECKPOINTS), arguments.name).folder}")
    return 0
