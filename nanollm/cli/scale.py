"""`python -m nanollm scale`: train several model sizes on one text and write a report."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from nanollm.cli import lookup
from nanollm.cli.progress import ExperimentProgress
from nanollm.cli.texts import TEXT_HELP, add_text
from nanollm.config import PRESETS, TrainConfig
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.experiments.scaling import DEFAULT_PRESETS, Experiment, Plan, pause, prepare, run_experiment
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.process.remote import RemoteLauncher
from nanollm.runs.store import RunStore


def add_commands(commands: Any) -> None:
    """Add `scale` to the subparsers."""
    parser = commands.add_parser("scale", help="train and compare several model sizes", description=scale.__doc__)
    parser.set_defaults(command=scale)
    parser.add_argument("--corpus", metavar="TEXT", default="sample", help=f"{TEXT_HELP} (default: sample)")
    parser.add_argument(
        "--presets",
        nargs="+",
        choices=PRESETS,
        default=DEFAULT_PRESETS,
        help="presets to train (default: nano small medium)",
    )
    parser.add_argument("--num-steps-scale", type=float, default=1.0, help="factor on each preset's steps (default: 1)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[TrainConfig.seed], help="one run each (default: 42)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--name", help="folder of the experiment under checkpoints/ (default: a new one)")
    where.add_argument("--run-dir", type=Path, help="folder of the experiment; its runs are stored next to it")
    parser.add_argument(
        "--launch-command",
        nargs="+",
        metavar="COMMAND",
        help="commands that start a worker on another machine, with {command} as placeholder for the worker's command "
        "line; each runs one training at a time (examples: TRAINING.md)",
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def scale(arguments: argparse.Namespace) -> int:
    """Train a text at several model sizes and write a report. Ctrl-C pauses; the same command continues.

    Exit status 1 if a run could not be completed.
    """
    plan = Plan(tuple(arguments.presets), arguments.num_steps_scale, tuple(arguments.seeds))
    folder = arguments.run_dir.absolute() if arguments.run_dir else _experiment_folder(arguments.name)
    store = RunStore(folder.parent if folder else lookup.CHECKPOINTS)
    commands = arguments.launch_command
    launcher = RemoteLauncher(store, lookup.CORPORA, commands) if commands else Launcher(store, lookup.CORPORA)
    corpus = add_text(CorpusStore(lookup.CORPORA), arguments.corpus)
    experiment = prepare(store, corpus, plan, folder)
    if not _train(experiment, launcher):
        print(f"Paused; run the same command to continue. Experiment folder: {experiment.folder}")
        return 0
    from nanollm.experiments.report import write  # imports torch and plotly
    from nanollm.experiments.results import read_results

    report = write(experiment)
    print(json.dumps(read_results(experiment.folder)) if arguments.json else f"Report: {report}")
    return 0 if experiment.finished() else 1


def _train(experiment: Experiment, launcher: Launcher) -> bool:
    """Train all runs that can be trained; False if Ctrl-C paused them."""
    show_progress = ExperimentProgress()
    try:
        for progress in run_experiment(experiment, launcher):
            show_progress(progress)
    except KeyboardInterrupt:
        print("\nPausing: waiting for the current run to save its state.", file=sys.stderr)
        pause(experiment, launcher)
        return False
    finally:
        launcher.close()
    return True


def _experiment_folder(name: str | None) -> Path | None:
    if name is not None and (not name.strip() or name.startswith(".") or Path(name).name != name):
        raise InputError(f"{name!r} is not a valid experiment name: use one without slashes or a leading dot.")
    return lookup.CHECKPOINTS / name if name is not None else None
