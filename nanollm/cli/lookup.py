"""How commands find the runs and checkpoints that their arguments name, and print results."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from nanollm.errors import InputError
from nanollm.runs.store import Run, RunStore

HOME = Path(os.environ.get("NANOLLM_HOME", "."))
CHECKPOINTS = HOME / "checkpoints"
CORPORA = HOME / "data" / "corpora"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the positional checkpoint or run and --step, which find_checkpoint() reads."""
    parser.add_argument(
        "model", nargs="?", metavar="CHECKPOINT_OR_RUN", help="a .safetensors file, or a run's folder or id"
    )
    parser.add_argument("--step", type=int, help="the run's snapshot at this step (default: its last)")


def find_checkpoint(arguments: argparse.Namespace) -> Path:
    """The checkpoint file of the named file or run; by default of the newest run, or else of a pretrained model.

    Raises InputError if the file, run or snapshot does not exist.
    """
    name, step = arguments.model, arguments.step
    if name is not None and Path(name).is_file():
        if step is not None:
            raise InputError(f"--step selects a snapshot of a run, but {name!r} is a single checkpoint: omit --step.")
        return Path(name)
    if name is not None:
        return find_run(name).snapshot(step).path
    for run in RunStore(CHECKPOINTS).list():
        if run.snapshots():
            return run.snapshot(step).path
    raise InputError("There is no model yet: train one first (python -m nanollm train), or name a checkpoint.")


def find_run(name: str) -> Run:
    """The run with this folder or id. Raises InputError if there is none."""
    return Run.open(name) if Path(name).exists() else RunStore(CHECKPOINTS).get(name)


def print_result(arguments: argparse.Namespace, data: object, text: str) -> int:
    """Print a result as JSON if --json was given, else as text. Returns exit status 0."""
    print(json.dumps(data) if arguments.json else text)
    return 0
