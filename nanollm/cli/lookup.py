"""How commands find the runs, checkpoints and texts that their arguments name."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from nanollm.cli.progress import progress_bar
from nanollm.data.builtin import BUILTINS, add_by_name, builtin_by_id
from nanollm.data.corpus import CorpusInfo, CorpusStore
from nanollm.errors import InputError
from nanollm.runs.store import Run, RunStore

HOME = Path(os.environ.get("NANOLLM_HOME", "."))
CHECKPOINTS = HOME / "checkpoints"
CORPORA = HOME / "data" / "corpora"
TEXT_HELP = f"a text file, or one of {', '.join(builtin.id for builtin in BUILTINS)}"


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


def add_text(corpora: CorpusStore, text: str, encoding: str | None = None) -> CorpusInfo:
    """Add a text file or built-in text to the store, with a progress bar for downloads. Raises InputError."""
    if encoding is not None and builtin_by_id(text):
        raise InputError("--encoding applies to text files only: omit it for a built-in text.")

    def show_progress(received: int, size: int) -> None:
        end = "\n" if received == size else ""
        print(f"\rDownloading {text} {progress_bar(received / size)}\033[K", end=end, file=sys.stderr, flush=True)

    return add_by_name(corpora, text, encoding=encoding, progress=show_progress if sys.stderr.isatty() else None)


def print_result(arguments: argparse.Namespace, data: object, text: str) -> int:
    """Print a result as JSON if --json was given, else as text. Returns exit status 0."""
    print(json.dumps(data) if arguments.json else text)
    return 0
