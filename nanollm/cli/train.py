"""`python -m nanollm train`: create, fork or resume a run and train it in this process."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanollm.cli import lookup
from nanollm.cli.exit_status import status_of
from nanollm.cli.progress import Progress
from nanollm.cli.texts import TEXT_HELP, add_text
from nanollm.config import PRESETS, ModelConfig, TrainConfig, renamed_settings
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.runs import summary
from nanollm.runs.run_files import RUN
from nanollm.runs.store import Run, RunStore

if TYPE_CHECKING:
    from nanollm.train.distributed import Ranks


def add_commands(commands: Any) -> None:
    """Add `train` to the subparsers."""
    parser = commands.add_parser("train", help="train a model on a text", description=train.__doc__)
    parser.set_defaults(command=train)
    parser.add_argument("--preset", choices=PRESETS, help="preset whose settings the flags override (default: nano)")
    parser.add_argument("--corpus", metavar="TEXT", help=f"{TEXT_HELP} (default: sample; with --from, that run's text)")
    parser.add_argument(
        "--from", dest="parent", metavar="RUN", help="fork this run (its folder or id): use its weights and settings"
    )
    parser.add_argument("--step", type=int, help="with --from: the snapshot at this step (default: the last)")
    parser.add_argument("--title", help="display name of the run")
    parser.add_argument("--run-dir", type=Path, help="folder of the run (default: a new one under checkpoints/)")
    parser.add_argument("--resume", action="store_true", help="resume the unfinished run in --run-dir")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_setting_arguments(parser)


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every field of both configs."""
    for field in _setting_fields():
        flag = f"--{field.name.replace('_', '-')}"
        more: dict[str, Any] = {"nargs": "?", "const": True} if field.type == "bool" else {}
        parser.add_argument(
            flag, type=_value, default=argparse.SUPPRESS, metavar="X", help=field.metadata["help"], **more
        )
    for name in renamed_settings():  # accepted here, so that make_configs() can reject them with the current name
        parser.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def train(arguments: argparse.Namespace) -> int:
    """Train a model. Ctrl-C pauses the run; `runs resume` continues it. torchrun starts it on several processes."""
    if "RANK" not in os.environ:  # set by torchrun
        return _train_run(requested_run(arguments), arguments.json)
    from nanollm.runs.process.ranks import follow
    from nanollm.train.distributed import exit_now, process_group

    if arguments.run_dir is None:
        raise InputError("Distributed training needs a shared run folder: name it with --run-dir.")
    with process_group() as ranks:
        exit_now(status_of(lambda: _train_as_rank_0(arguments, ranks) if ranks.is_main else follow(ranks)))


def _train_as_rank_0(arguments: argparse.Namespace, ranks: Ranks) -> int:
    from nanollm.train.distributed import was_restarted

    resumes = was_restarted() and (arguments.run_dir / RUN).exists()
    run = Run.open(arguments.run_dir.absolute()) if resumes else requested_run(arguments)
    return _train_run(run, arguments.json, ranks)


def _train_run(run: Run, as_json: bool, ranks: Ranks | None = None) -> int:
    from nanollm.runs.process.worker import work

    if run.parent:
        print(run.parent.describe(), file=sys.stderr)
    status = work(run, lookup.CORPORA, Progress(run), ranks)
    result = {
        **{"run": run.id, "folder": str(run.folder), "title": run.title, "state": status.state, "step": status.step},
        **{
            "parameters": run.model_config.num_parameters,
            "seconds": status.seconds,
            "elapsed": status.elapsed,
            **summary.losses(run),
        },
    }
    if as_json:
        print(json.dumps(result))
    elif status.state in ("failed", "diverged"):
        print(f"{status.state.capitalize()}: {status.reason}", file=sys.stderr)
    else:
        print(
            f"{status.state.capitalize()} at step {status.step:,}{summary.loss_summary(run)}. Run folder: {run.folder}"
        )
    return 1 if status.state in ("failed", "diverged") else 0


def requested_run(arguments: argparse.Namespace) -> Run:
    """The run that the flags describe: new, forked or to be resumed, under checkpoints/ or in --run-dir.

    Raises InputError for contradictory flags, a folder that is not empty, and everything that RunStore.create() and
    RunStore.fork() reject.
    """
    if arguments.resume:
        return _run_to_resume(arguments)
    folder = arguments.run_dir.absolute() if arguments.run_dir else None
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{str(arguments.run_dir)!r} is not empty: choose a new folder, or resume the run in it with --resume."
        )
    store, corpora = RunStore(folder.parent if folder else lookup.CHECKPOINTS), CorpusStore(lookup.CORPORA)
    create = _new_run if arguments.parent is None else _forked_run
    run = create(arguments, store, corpora)
    if folder is None:
        return run
    try:
        os.replace(run.folder, folder)
    except OSError:  # another process created it in the meantime
        store.delete(run.id)
        raise InputError(f"{str(arguments.run_dir)!r} is used by another run: choose another folder.") from None
    return Run.open(folder)


def _run_to_resume(arguments: argparse.Namespace) -> Run:
    """The unfinished run in --run-dir. Raises InputError for flags that only apply to new runs."""
    new_run_flags = ("preset", "corpus", "parent", "step", "title")
    given = [*(name for name in new_run_flags if getattr(arguments, name) is not None), *_overrides(arguments)]
    if given:
        raise InputError(f"A resumed run keeps its text and settings: omit {', '.join(given)}.")
    if arguments.run_dir is None:
        raise InputError("--resume needs the folder of a run: name it with --run-dir.")
    return Run.open(arguments.run_dir.absolute())


def _new_run(arguments: argparse.Namespace, store: RunStore, corpora: CorpusStore) -> Run:
    if arguments.step is not None:
        raise InputError("--step selects a snapshot of the run to fork: name that run with --from.")
    corpus = add_text(corpora, "sample" if arguments.corpus is None else arguments.corpus)
    settings, preset = _overrides(arguments), arguments.preset or "nano"
    return store.create(settings=settings, corpus=corpus, preset=preset, title=arguments.title, queued=False)


def _forked_run(arguments: argparse.Namespace, store: RunStore, corpora: CorpusStore) -> Run:
    if arguments.preset is not None:
        raise InputError("A forked run keeps its parent's model and settings: omit --preset.")
    return store.fork(
        lookup.find_run(arguments.parent),
        corpora=corpora,
        settings=_overrides(arguments),
        corpus=add_text(corpora, arguments.corpus) if arguments.corpus is not None else None,
        step=arguments.step,
        title=arguments.title,
        queued=False,
    )


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings given as flags."""
    names = [*(field.name for field in _setting_fields()), *renamed_settings()]
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def _setting_fields() -> list[Field[Any]]:
    """The fields of both configs, without vocab_size, which the text determines."""
    return [f for f in (*fields(ModelConfig), *fields(TrainConfig)) if f.name != "vocab_size"]


def _value(text: str) -> Any:
    """Parse a flag's value as bool, int, float or else str; the config validates it."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
