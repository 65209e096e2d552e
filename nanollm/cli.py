"""The command line: the page's words again, over the same run folders.

Results go to stdout (`--json` for machines), progress and errors to stderr. Exit status 0: done; 1: the run failed;
2: the request was wrong, said in one sentence.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any, NoReturn

from nanollm.config import PRESETS, ModelConfig, TrainConfig
from nanollm.corpus import BUNDLED, CorpusStore, read_file
from nanollm.errors import InputError
from nanollm.events import Eval, Event, Start, Step
from nanollm.inference.generate import add_sampling_arguments, write
from nanollm.plaintext import Survey
from nanollm.runs.launcher import Launcher
from nanollm.runs.store import Run, RunStore
from nanollm.tokenizer import visible

HOME = Path(os.environ.get("NANOLLM_HOME", "."))
CHECKPOINTS = HOME / "checkpoints"
CORPORA = HOME / "data" / "corpora"
BAR_WIDTH = 24
NO_RUNS = "There are no runs yet: python -m nanollm train"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message.rstrip('.')}: see {self.prog} --help.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename or 'A file'}: {error.strerror or error}.", file=sys.stderr)
    return 2


def _parser() -> Parser:
    parser = Parser(prog="python -m nanollm", description="Small character-level Transformers, to train and look into.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model on a text", description=_train.__doc__)
    train.set_defaults(command=_train)
    train.add_argument("--preset", choices=PRESETS, help="where all settings start (default: nano)")
    train.add_argument("--corpus", type=Path, help="a text file (default: the bundled text; with --from, that run's)")
    train.add_argument(
        "--from",
        dest="parent",
        metavar="RUN",
        help="start from the weights and settings of that run (its folder or id), with a schedule of its own",
    )
    train.add_argument("--step", type=int, help="with --from: the run's snapshot of that step (default: its last)")
    train.add_argument("--title", help="name of the run, for showing only")
    train.add_argument("--run-dir", type=Path, help="folder of the run (default: a new one under checkpoints/)")
    train.add_argument("--json", action="store_true", help="print the result as JSON")
    for field in _setting_fields():
        flag = f"--{field.name.replace('_', '-')}"
        train.add_argument(flag, type=_value, default=argparse.SUPPRESS, metavar="X", help=field.metadata["help"])

    sample = commands.add_parser("sample", help="let a model write", description=_sample.__doc__)
    sample.set_defaults(command=_sample)
    _add_model(sample)
    add_sampling_arguments(sample)
    sample.add_argument("--json", action="store_true", help="print the text and its settings as JSON")

    attention = commands.add_parser("attention", help="where each head looks", description=_attention.__doc__)
    attention.set_defaults(command=_attention)
    _add_model(attention)
    attention.add_argument("text", help="the text that is read")
    attention.add_argument("--html", type=Path, help="write the heatmap of one head as a page that needs no network")
    attention.add_argument("--layer", type=int, default=1, help="the head's layer, counted from 1 (default: 1)")
    attention.add_argument("--head", type=int, default=1, help="the head in it, counted from 1 (default: 1)")
    attention.add_argument("--json", action="store_true", help="print all weights as JSON")

    runs = commands.add_parser("runs", help="list, show and control runs", description=_runs.__doc__)
    runs.set_defaults(command=_runs)
    runs.add_argument(
        "action", nargs="?", default="list", choices=("list", "show", "stop", "pause", "resume", "delete")
    )
    runs.add_argument("run", nargs="?", metavar="ID", help="the run (not for list)")
    runs.add_argument("--json", action="store_true", help="print as JSON")

    corpus = commands.add_parser("corpus", help="what a text is made of", description=_corpus.__doc__)
    corpus.set_defaults(command=_corpus)
    corpus.add_argument("file", nargs="?", type=Path, default=BUNDLED, help="a text (default: the bundled one)")
    corpus.add_argument("--encoding", help="how to read a file that is not UTF-8, for example latin-1")
    corpus.add_argument("--json", action="store_true", help="print as JSON")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", metavar="CHECKPOINT_OR_RUN", help="a .safetensors file, or a run's folder or id"
    )
    parser.add_argument("--step", type=int, help="the run's snapshot of that step (default: its last)")


def _train(arguments: argparse.Namespace) -> int:
    """Train a model; Ctrl-C pauses the run, `runs resume` takes it up again."""
    from nanollm.runs.worker import work

    settings = {f.name: getattr(arguments, f.name) for f in _setting_fields() if hasattr(arguments, f.name)}
    folder = arguments.run_dir.absolute() if arguments.run_dir else None
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise InputError(f"{str(arguments.run_dir)!r} is not empty: choose a folder that is still to be made.")
    corpora, store = CorpusStore(CORPORA), RunStore(folder.parent if folder else CHECKPOINTS)
    run = _new_run(arguments, settings, corpora, store)
    if folder is not None:
        os.replace(run.folder, folder)
        run = Run.open(folder)
    if run.parent:
        print(run.parent.sentence(), file=sys.stderr)
    status = work(run, corpora.root, Progress(run))
    result = {
        **{"run": run.id, "folder": str(run.folder), "title": run.title, "state": status.state, "step": status.step},
        **{"parameters": run.model_config.num_parameters, "seconds": status.seconds, "val_loss": status.val_loss},
    }
    if arguments.json:
        print(json.dumps(result))
    elif status.state in ("failed", "diverged"):
        print(f"{status.state.capitalize()}: {status.reason}", file=sys.stderr)
    else:
        print(f"{status.state.capitalize()} at step {status.step:,}; the run is {run.folder}")
    return 1 if status.state in ("failed", "diverged") else 0


def _new_run(arguments: argparse.Namespace, settings: dict[str, Any], corpora: CorpusStore, store: RunStore) -> Run:
    """The run that `train` asks for: one that continues another, or one from the very beginning."""
    if arguments.parent is None:
        if arguments.step is not None:
            raise InputError("--step chooses a snapshot of the run to continue: name that run with --from.")
        corpus, preset = corpora.add_file(arguments.corpus or BUNDLED), arguments.preset or "nano"
        return store.create(settings=settings, corpus=corpus, preset=preset, title=arguments.title, queued=False)
    if arguments.preset is not None:
        raise InputError("A run that continues another keeps its shape and settings: leave --preset out.")
    corpus = corpora.add_file(arguments.corpus) if arguments.corpus else None
    return store.fork(
        _run(arguments.parent),
        corpora=corpora,
        settings=settings,
        corpus=corpus,
        step=arguments.step,
        title=arguments.title,
        queued=False,
    )


def _sample(arguments: argparse.Namespace) -> int:
    """Write with a model: the one named, else the newest run's, else one that was shipped."""
    from nanollm.checkpoint import load_model

    path = _checkpoint(arguments)
    pieces = write(load_model(path), arguments)
    if arguments.json:
        names = ("prompt", "max_length", "temperature", "top_k", "seed")
        print(
            json.dumps({"checkpoint": str(path), **{n: getattr(arguments, n) for n in names}, "text": "".join(pieces)})
        )
        return 0
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    return 0


def _attention(arguments: argparse.Namespace) -> int:
    """Show where a model's heads look in a text: for each, how far back on average, and its favourite distance."""
    import numpy as np

    from nanollm.charts import attention_figure, write_html
    from nanollm.checkpoint import load_model
    from nanollm.explain.attention import attention_map

    loaded = load_model(_checkpoint(arguments))
    shown = attention_map(loaded.model, loaded.tokenizer, arguments.text)
    layers, heads = shown.weights.shape[:2]
    if not (1 <= arguments.layer <= layers and 1 <= arguments.head <= heads):
        raise InputError(f"This model has layers 1 to {layers} with heads 1 to {heads}: choose among them.")
    if arguments.html:
        weights = shown.weights[arguments.layer - 1, arguments.head - 1]
        write_html(attention_figure(weights, shown.characters), arguments.html)
    if arguments.json:
        print(json.dumps({"text": shown.text, "skipped": shown.skipped, "weights": shown.weights.round(4).tolist()}))
        return 0
    for layer, head in np.ndindex(layers, heads):
        profile = shown.by_distance()[layer, head]
        far, favourite = profile @ np.arange(len(profile)), int(profile.argmax())
        print(f"L{layer + 1}·H{head + 1}  {far:5.1f} back on average, most at {favourite} ({profile[favourite]:.0%})")
    return 0


def _runs(arguments: argparse.Namespace) -> int:
    """List all runs, or show, pause, stop, resume or delete one. A resumed run trains in the background."""
    store = RunStore(CHECKPOINTS)
    if arguments.action == "list":
        rows = [_describe(run) for run in store.list()]
        print(json.dumps(rows) if arguments.json else "\n".join(map(_row, rows)) or NO_RUNS)
        return 0
    if arguments.run is None:
        raise InputError(f"Name the run: python -m nanollm runs {arguments.action} ID (runs list shows them).")
    launcher = Launcher(store, CORPORA)
    if arguments.action in ("stop", "pause", "resume"):
        getattr(launcher, arguments.action)(arguments.run)
    elif arguments.action == "delete":
        store.delete(arguments.run)
        print("Deleted.")
        return 0
    run = store.get(arguments.run)
    about = _describe(run)
    if arguments.json:
        print(json.dumps(about))
        return 0
    if run.parent:
        about["parent"] = run.parent.sentence()
    print("\n".join(f"{name:12} {value}" for name, value in about.items()))
    return 0


def _corpus(arguments: argparse.Namespace) -> int:
    """Show what the Corpus tab shows of a text: its size, its characters, and how often each occurs."""
    survey = Survey(read_file(arguments.file, encoding=arguments.encoding))
    survey.require_text()
    counted, characters = survey.frequencies(), survey.characters
    odd = [visible(c) for c, _ in counted if not (c.isprintable() or c in "\n\t")]
    if arguments.json:
        about = {"characters": characters, "vocab_size": len(counted), "frequencies": dict(counted), "odd": odd}
        print(json.dumps(about))
        return 0
    print(f"{characters:,} characters, {len(counted):,} different.")
    most = counted[0][1]
    for character, count in counted[:20]:
        print(f"{visible(character):>6} {count:>9,} {count / characters:6.1%} {'█' * round(BAR_WIDTH * count / most)}")
    if len(counted) > 20:
        print(f"and {len(counted) - 20:,} more: {' '.join(visible(c) for c, _ in counted[20:60])}")
    if odd:
        print(f"Invisible ones among them: {' '.join(odd)}")
    return 0


class Progress:
    """A bar on a terminal, else a line for each evaluation: both on stderr."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.val_loss: float | None = None
        self.began = time.monotonic()
        self.steps_before = 0
        self.terminal = sys.stderr.isatty()

    def __call__(self, event: Event) -> None:
        """To be called with every event."""
        if isinstance(event, Start):
            self.steps_before = event.step
            print(f"{self.run.title}: {event.parameters:,} parameters, {event.threads} threads", file=sys.stderr)
        elif isinstance(event, Eval):
            self.val_loss = event.val_loss
            if not self.terminal:
                val = f"{event.val_loss:.4f}" if event.val_loss is not None else "none"
                print(
                    f"step {event.step}: training loss {event.train_loss:.4f}, validation loss {val}", file=sys.stderr
                )
        elif isinstance(event, Step) and self.terminal:
            end = "\n" if event.step == self.run.train_config.num_steps else ""
            print(f"\r{self._bar(event)}\033[K", end=end, file=sys.stderr, flush=True)

    def _bar(self, event: Step) -> str:
        done, steps = event.step, self.run.train_config.num_steps
        filled = BAR_WIDTH * done // steps
        left = (time.monotonic() - self.began) / max(1, done - self.steps_before) * (steps - done)
        val = f"  validation {self.val_loss:.3f}" if self.val_loss is not None else ""
        return (
            f"{'█' * filled}{'░' * (BAR_WIDTH - filled)} {done:,}/{steps:,}  loss {event.loss:.3f}{val}"
            f"  {event.tokens_per_second:,.0f} characters/s  {left // 60:.0f}:{left % 60:02.0f} left"
        )


def _setting_fields() -> list[Field[Any]]:
    """The fields of both configs that a person sets; the text decides vocab_size."""
    return [f for f in (*fields(ModelConfig), *fields(TrainConfig)) if f.name != "vocab_size"]


def _value(text: str) -> Any:
    """A flag's value as Python has it: a whole number, a number, or the word itself; the config checks the rest."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _checkpoint(arguments: argparse.Namespace) -> Path:
    """The file that was named: itself, a run's snapshot, or, if none was named, the newest run's or a shipped one."""
    named = arguments.model
    if named is not None and Path(named).is_file():
        return Path(named)
    if named is not None:
        return _run(named).snapshot(arguments.step).path
    for run in RunStore(CHECKPOINTS).list():
        if run.snapshots():
            return run.snapshot(arguments.step).path
    raise InputError("There is no model yet: train one first (python -m nanollm train), or name a checkpoint.")


def _run(named: str) -> Run:
    """The run that was named: by its folder, or by its id."""
    return Run.open(named) if Path(named).exists() else RunStore(CHECKPOINTS).get(named)


def _describe(run: Run) -> dict[str, Any]:
    status = asdict(run.status())
    return {
        **{"id": run.id, "title": run.title, "preset": run.preset, "corpus": run.corpus.get("name")},
        "parent": asdict(run.parent) if run.parent else None,
        **{"parameters": run.model_config.num_parameters, "snapshots": len(run.snapshots()), **status},
    }


def _row(about: dict[str, Any]) -> str:
    loss = f"{about['val_loss']:.3f}" if about["val_loss"] is not None else "–"
    steps = f"{about['step']:,}/{about['num_steps']:,}"
    return f"{about['id']:22} {about['state']:10} {steps:>15} {loss:>6}  {about['title']}"
