"""`python -m nanollm scale`, from its flags to the report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from nanollm.cli.progress import ExperimentProgress
from nanollm.config import PRESETS, TrainConfig
from nanollm.errors import InputError
from nanollm.experiments.scaling import USUAL, Experiment, Plan, drive, pause, prepare
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.process.remote import Elsewhere
from nanollm.runs.store import Corpus, RunStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the command but --corpus."""
    parser.add_argument(
        "--presets", nargs="+", choices=PRESETS, default=USUAL, help="which sizes (default: nano small medium)"
    )
    parser.add_argument("--num-steps-scale", type=float, default=1.0, help="share of each preset's steps (default: 1)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[TrainConfig.seed], help="a run for each (default: 42)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--name", help="folder of the experiment under checkpoints/ (default: a new one)")
    where.add_argument("--run-dir", type=Path, help="folder of the experiment; its runs go beside it")
    parser.add_argument(
        "--launch-command",
        nargs="+",
        metavar="COMMAND",
        help="how a run is started on another machine, {command} being what is to run there; as many runs at once as "
        "there are commands (TRAINING.md has examples)",
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def scale(arguments: argparse.Namespace, checkpoints: Path, corpora: Path, corpus: Callable[[], Corpus]) -> int:
    """Do what the flags ask for; `corpus` brings the text. Returns the exit status, 1 if a run did not get through.

    Raises InputError before anything is trained if it cannot be, OSError if the report cannot be written.
    """
    plan = Plan(tuple(arguments.presets), arguments.num_steps_scale, tuple(arguments.seeds))
    folder = arguments.run_dir.absolute() if arguments.run_dir else _named(arguments.name, checkpoints)
    store = RunStore(folder.parent if folder else checkpoints)
    commands = arguments.launch_command
    launcher = Elsewhere(store, corpora, commands) if commands else Launcher(store, corpora)
    experiment = prepare(store, corpus(), plan, folder)
    if not _trained(experiment, launcher):
        print(f"Paused; the same command goes on. The experiment is {experiment.folder}")
        return 0
    from nanollm.experiments.report import write  # torch, plotly: not before they are needed
    from nanollm.experiments.results import read_results

    report = write(experiment)
    print(json.dumps(read_results(experiment.folder)) if arguments.json else f"The report is {report}")
    return 0 if experiment.finished() else 1


def _trained(experiment: Experiment, launcher: Launcher) -> bool:
    """Train until no run is left that can be; False if Ctrl-C made it pause."""
    tell = ExperimentProgress()
    try:
        for moment in drive(experiment, launcher):
            tell(moment)
    except KeyboardInterrupt:
        print("\nPausing: the run in training saves itself first.", file=sys.stderr)
        pause(experiment, launcher)
        return False
    finally:
        launcher.close()
    return True


def _named(name: str | None, checkpoints: Path) -> Path | None:
    if name is not None and (not name.strip() or name.startswith(".") or Path(name).name != name):
        raise InputError(f"{name!r} cannot be the name of an experiment: choose one without slashes or leading dots.")
    return checkpoints / name if name is not None else None
