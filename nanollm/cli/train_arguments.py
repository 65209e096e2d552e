"""The flags of `python -m nanollm train`, and the run that they ask for: a new one, a continued one, one to resume."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from nanollm.config import PRESETS, ModelConfig, TrainConfig, renamed_settings
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.runs.store import Corpus, Run, RunStore

Bring = Callable[[CorpusStore, str], Corpus]  # a text by the name that somebody typed
Find = Callable[[str], Run]  # a run likewise


def add_train_arguments(parser: argparse.ArgumentParser, texts: str) -> None:
    """Add every setting of the two configs under its own name, and what a run is made of; `texts` says what may be."""
    parser.add_argument("--preset", choices=PRESETS, help="where all settings start (default: nano)")
    parser.add_argument("--corpus", metavar="TEXT", help=f"{texts} (default: sample; with --from, that run's)")
    parser.add_argument(
        "--from",
        dest="parent",
        metavar="RUN",
        help="start from the weights and settings of that run (its folder or id), with a schedule of its own",
    )
    parser.add_argument("--step", type=int, help="with --from: the run's snapshot of that step (default: its last)")
    parser.add_argument("--title", help="name of the run, for showing only")
    parser.add_argument("--run-dir", type=Path, help="folder of the run (default: a new one under checkpoints/)")
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished run in --run-dir")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    for field in _setting_fields():
        flag = f"--{field.name.replace('_', '-')}"
        more: dict[str, Any] = {"nargs": "?", "const": True} if field.type == "bool" else {}
        parser.add_argument(
            flag, type=_value, default=argparse.SUPPRESS, metavar="X", help=field.metadata["help"], **more
        )
    for name in renamed_settings():  # accepted here, so that make_configs() can reject them with the current name
        parser.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def asked_run(arguments: argparse.Namespace, checkpoints: Path, corpora: CorpusStore, bring: Bring, find: Find) -> Run:
    """The run that the flags ask for, ready to be trained; a new one goes under `checkpoints` or into --run-dir.

    Raises InputError for flags that contradict each other, a folder in which there is something, and whatever
    RunStore.create() and fork() refuse.
    """
    if arguments.resume:
        return _to_resume(arguments)
    folder = arguments.run_dir.absolute() if arguments.run_dir else None
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{str(arguments.run_dir)!r} is not empty: choose a folder that is still to be made, "
            "or go on with the run in it by --resume."
        )
    store = RunStore(folder.parent if folder else checkpoints)
    run = (
        _new(arguments, store, corpora, bring)
        if arguments.parent is None
        else _continued(arguments, store, corpora, bring, find)
    )
    if folder is None:
        return run
    try:
        os.replace(run.folder, folder)
    except OSError:  # somebody was faster
        store.delete(run.id)
        raise InputError(f"{str(arguments.run_dir)!r} is being used by another run: choose another folder.") from None
    return Run.open(folder)


def _to_resume(arguments: argparse.Namespace) -> Run:
    """The unfinished run in --run-dir. Raises InputError if anything else was asked for beside it."""
    about_a_new_one = ("preset", "corpus", "parent", "step", "title")
    given = [*(name for name in about_a_new_one if getattr(arguments, name) is not None), *_given(arguments)]
    if given:
        raise InputError(f"A run that goes on keeps its text and settings: leave {', '.join(given)} out.")
    if arguments.run_dir is None:
        raise InputError("--resume goes on with the run in a folder: name it with --run-dir.")
    return Run.open(arguments.run_dir.absolute())


def _new(arguments: argparse.Namespace, store: RunStore, corpora: CorpusStore, bring: Bring) -> Run:
    if arguments.step is not None:
        raise InputError("--step chooses a snapshot of the run to continue: name that run with --from.")
    text = "sample" if arguments.corpus is None else arguments.corpus
    corpus, preset = bring(corpora, text), arguments.preset or "nano"
    return store.create(settings=_given(arguments), corpus=corpus, preset=preset, title=arguments.title, queued=False)


def _continued(arguments: argparse.Namespace, store: RunStore, corpora: CorpusStore, bring: Bring, find: Find) -> Run:
    if arguments.preset is not None:
        raise InputError("A run that continues another keeps its shape and settings: leave --preset out.")
    return store.fork(
        find(arguments.parent),
        corpora=corpora,
        settings=_given(arguments),
        corpus=bring(corpora, arguments.corpus) if arguments.corpus is not None else None,
        step=arguments.step,
        title=arguments.title,
        queued=False,
    )


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings among the flags."""
    names = [*(field.name for field in _setting_fields()), *renamed_settings()]
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def _setting_fields() -> list[Field[Any]]:
    """The fields of both configs that a person sets; the text decides vocab_size."""
    return [f for f in (*fields(ModelConfig), *fields(TrainConfig)) if f.name != "vocab_size"]


def _value(text: str) -> Any:
    """Parse a flag's value as bool, int or float, else keep the text; the config checks its type and bounds."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
