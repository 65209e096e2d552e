"""The command line: the page's words again, over the same run folders.

Results go to stdout (`--json` for machines), progress and errors to stderr. Exit status 0: done; 1: the run failed;
2: the request was wrong, said in one sentence; 130: Ctrl-C, where there was nothing to pause.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nanollm.cli.exit_status import status_of
from nanollm.cli.progress import Progress, filled
from nanollm.cli.sampling_arguments import add_sampling_arguments
from nanollm.cli.scale import add_arguments as add_scaling_arguments
from nanollm.cli.scale import scale
from nanollm.cli.train_arguments import add_train_arguments, asked_run
from nanollm.data.builtin import BUILTINS, add_by_name, builtin_by_id
from nanollm.data.corpus import CorpusInfo, CorpusStore
from nanollm.errors import InputError
from nanollm.runs import summary as run_facts
from nanollm.runs.folder import RUN
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.store import Run, RunStore

if TYPE_CHECKING:
    from nanollm.train.distributed import Ranks

HOME = Path(os.environ.get("NANOLLM_HOME", "."))
CHECKPOINTS = HOME / "checkpoints"
CORPORA = HOME / "data" / "corpora"
TEXTS = f"a text file, or one of {', '.join(builtin.id for builtin in BUILTINS)}"
RUN_ACTIONS = ("list", "show", "stop", "pause", "resume", "delete", "export", "import")
NO_RUNS = "There are no runs yet: python -m nanollm train"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message.rstrip('.')}: see {self.prog} --help.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return status_of(lambda: arguments.command(arguments))


def _parser() -> Parser:
    parser = Parser(prog="python -m nanollm", description="Small character-level Transformers, to train and look into.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model on a text", description=_train.__doc__)
    train.set_defaults(command=_train)
    add_train_arguments(train, TEXTS)

    sample = commands.add_parser("sample", help="let a model write", description=_sample.__doc__)
    sample.set_defaults(command=_sample)
    _add_model(sample)
    add_sampling_arguments(sample)
    sample.add_argument("--json", action="store_true", help="print the text and its settings as JSON")

    attention = commands.add_parser("attention", help="where each head looks", description=_attention.__doc__)
    attention.set_defaults(command=_attention)
    _add_model(attention)
    attention.add_argument("text", help="the text that is read")
    attention.add_argument("--html", type=Path, help="write the heatmaps of all heads as a page that needs no network")
    attention.add_argument("--layer", type=int, default=1, help="the head's layer, counted from 1 (default: 1)")
    attention.add_argument("--head", type=int, default=1, help="the head in it, counted from 1 (default: 1)")
    attention.add_argument("--json", action="store_true", help="print all weights as JSON")

    scaling = commands.add_parser("scale", help="train several sizes and compare them", description=_scale.__doc__)
    scaling.set_defaults(command=_scale)
    scaling.add_argument("--corpus", metavar="TEXT", default="sample", help=f"{TEXTS} (default: sample)")
    add_scaling_arguments(scaling)

    runs = commands.add_parser("runs", help="list, show, control and carry runs", description=_runs.__doc__)
    runs.set_defaults(command=_runs)
    runs.add_argument("action", nargs="?", default="list", choices=RUN_ACTIONS)
    runs.add_argument("run", nargs="?", metavar="ID", help="the run (not for list); the file for import")
    runs.add_argument("file", nargs="?", type=Path, metavar="FILE", help="for export: the zip (default: ID.zip)")
    runs.add_argument("--json", action="store_true", help="print as JSON")

    push = commands.add_parser("push", help="put a run on the Hugging Face Hub", description=_push.__doc__)
    push.set_defaults(command=_push)
    push.add_argument("run", metavar="RUN", help="the run (its folder or id)")
    push.add_argument("name", metavar="OWNER/NAME", help="the repository")

    pull = commands.add_parser("pull", help="bring a run from the Hugging Face Hub", description=_pull.__doc__)
    pull.set_defaults(command=_pull)
    pull.add_argument("name", metavar="OWNER/NAME", help="the repository")

    corpus = commands.add_parser("corpus", help="what a text is made of", description=_corpus.__doc__)
    corpus.set_defaults(command=_corpus)
    corpus.add_argument("text", nargs="?", metavar="TEXT", default="sample", help=f"{TEXTS} (default: sample)")
    corpus.add_argument("--encoding", help="how to read a file that is not UTF-8, for example latin-1")
    corpus.add_argument("--json", action="store_true", help="print as JSON")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", metavar="CHECKPOINT_OR_RUN", help="a .safetensors file, or a run's folder or id"
    )
    parser.add_argument("--step", type=int, help="the run's snapshot of that step (default: its last)")


def _train(arguments: argparse.Namespace) -> int:
    """Train a model; Ctrl-C pauses the run, `runs resume` takes it up again. Under torchrun, on several processes."""
    if "RANK" not in os.environ:  # which torchrun sets
        return _train_run(_asked_run(arguments), arguments.json)
    from nanollm.runs.process.ranks import follow
    from nanollm.train.distributed import exit_now, process_group

    if arguments.run_dir is None:
        raise InputError("Processes that train together meet in a run folder: name it with --run-dir.")
    with process_group() as ranks:
        exit_now(status_of(lambda: _lead(arguments, ranks) if ranks.is_main else follow(ranks)))


def _lead(arguments: argparse.Namespace, ranks: Ranks) -> int:
    from nanollm.train.distributed import was_restarted

    goes_on = was_restarted() and (arguments.run_dir / RUN).exists()
    run = Run.open(arguments.run_dir.absolute()) if goes_on else _asked_run(arguments)
    return _train_run(run, arguments.json, ranks)


def _asked_run(arguments: argparse.Namespace) -> Run:
    return asked_run(arguments, CHECKPOINTS, CorpusStore(CORPORA), _bring, _run)


def _train_run(run: Run, as_json: bool, ranks: Ranks | None = None) -> int:
    from nanollm.runs.process.worker import work

    if run.parent:
        print(run.parent.sentence(), file=sys.stderr)
    status = work(run, CORPORA, Progress(run), ranks)
    result = {
        **{"run": run.id, "folder": str(run.folder), "title": run.title, "state": status.state, "step": status.step},
        **{"parameters": run.model_config.num_parameters, "seconds": status.seconds, **run_facts.losses(run)},
    }
    if as_json:
        print(json.dumps(result))
    elif status.state in ("failed", "diverged"):
        print(f"{status.state.capitalize()}: {status.reason}", file=sys.stderr)
    else:
        print(f"{status.state.capitalize()} at step {status.step:,}{run_facts.judged(run)}; the run is {run.folder}")
    return 1 if status.state in ("failed", "diverged") else 0


def _sample(arguments: argparse.Namespace) -> int:
    """Write with a model: the one named, else the newest run's, else one that was shipped."""
    path = _checkpoint(arguments)
    from nanollm.cli.sampling import write, write_many
    from nanollm.train.checkpoint import load_model  # torch: not before there is something for it to do

    loaded = load_model(path)
    if arguments.json:
        names = ("prompt", "max_length", "temperature", "top_k", "seed")
        texts = write_many(loaded, arguments)
        samples = [{"seed": seed, "text": text} for seed, text in texts.items()]
        about = {"checkpoint": str(path), **{n: getattr(arguments, n) for n in names}, "text": texts[arguments.seed]}
        print(json.dumps(about if len(samples) == 1 else {**about, "samples": samples}))
        return 0
    for piece in write(loaded, arguments):
        print(piece, end="", flush=True)
    return 0


def _attention(arguments: argparse.Namespace) -> int:
    """Show where a model's heads look in a text: for each, how far back on average, and its favourite distance."""
    path = _checkpoint(arguments)
    import numpy as np

    from nanollm.charts.attention_page import write_attention_page
    from nanollm.explain.attention import attention_map
    from nanollm.train.checkpoint import load_model

    loaded = load_model(path)
    shown = attention_map(loaded.model, loaded.tokenizer, arguments.text)
    layers, heads = shown.weights.shape[:2]
    if not (1 <= arguments.layer <= layers and 1 <= arguments.head <= heads):
        raise InputError(f"This model has layers 1 to {layers} with heads 1 to {heads}: choose among them.")
    if arguments.html:
        first = {"layer": arguments.layer - 1, "head": arguments.head - 1}
        write_attention_page(shown.weights, shown.characters, arguments.html, **first)
    if arguments.json:
        print(json.dumps({"text": shown.text, "skipped": shown.skipped, "weights": shown.weights.round(4).tolist()}))
        return 0
    by_distance = shown.by_distance()  # (L, H, T)
    for layer, head in np.ndindex(layers, heads):
        profile = by_distance[layer, head]
        far, favourite = profile @ np.arange(len(profile)), int(profile.argmax())
        print(f"L{layer + 1}·H{head + 1}  {far:5.1f} back on average, most at {favourite} ({profile[favourite]:.0%})")
    return 0


def _scale(arguments: argparse.Namespace) -> int:
    """Train a text at several sizes and write a report. Ctrl-C pauses; the same command goes on where it was."""
    return scale(arguments, CHECKPOINTS, CORPORA, lambda: _bring(CorpusStore(CORPORA), arguments.corpus))


def _runs(arguments: argparse.Namespace) -> int:
    """List all runs, or show, pause, stop, resume or delete one. A resumed run trains in the background.

    Export writes one as a zip, to be kept or carried elsewhere; import brings it in there.
    """
    store = RunStore(CHECKPOINTS)
    if arguments.action == "list":
        rows = [run_facts.as_json(run) for run in store.list()]
        return _print(arguments, rows, "\n".join(map(run_facts.as_row, rows)) or NO_RUNS)
    if arguments.run is None:
        what = "FILE" if arguments.action == "import" else "ID (runs list shows them)"
        raise InputError(f"Name the run: python -m nanollm runs {arguments.action} {what}.")
    if arguments.file is not None and arguments.action != "export":
        raise InputError(f"runs {arguments.action} takes one run and no file: leave {str(arguments.file)!r} out.")
    if arguments.action == "delete":
        store.delete(arguments.run)
        return _print(arguments, {"deleted": arguments.run}, "Deleted.")
    if arguments.action == "export":
        file = _exported(store.get(arguments.run), arguments.file)
        return _print(arguments, {"file": str(file)}, f"The run is in {file}")
    if arguments.action == "import":
        arguments.run = _imported(store, arguments.run).id
    elif arguments.action != "show":
        getattr(Launcher(store, CORPORA), arguments.action)(arguments.run)
    run = store.get(arguments.run)
    return _print(arguments, run_facts.as_json(run), "\n".join(run_facts.as_lines(run)))


def _print(arguments: argparse.Namespace, about: object, words: str) -> int:
    print(json.dumps(about) if arguments.json else words)
    return 0


def _exported(run: Run, file: Path | None) -> Path:
    from nanollm.runs.transfer.archive import export

    return export(run, file or Path(f"{run.id}.zip"))


def _imported(store: RunStore, file: str) -> Run:
    from nanollm.runs.transfer.archive import import_

    return import_(store, file)


def _push(arguments: argparse.Namespace) -> int:
    """Put a run on the Hugging Face Hub, as a model repository with a card. Needs `hf auth login` once."""
    from nanollm.runs.transfer.hub import push

    print(f"The run is at {push(_run(arguments.run), arguments.name)}")
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    """Bring a run from the Hugging Face Hub that `push` has put there. Every number in it is checked."""
    from nanollm.runs.transfer.hub import pull

    print(f"The run is {pull(RunStore(CHECKPOINTS), arguments.name).folder}")
    return 0


def _corpus(arguments: argparse.Namespace) -> int:
    """Show what the Corpus tab shows of a text: its size, what counting achieves on it, and its characters."""
    from nanollm.data.summary import as_json, as_lines, summarize

    with tempfile.TemporaryDirectory() as aside:  # whoever looks at a file need not keep it
        corpora = CorpusStore(CORPORA if builtin_by_id(arguments.text) else aside)
        facts = summarize(corpora, _bring(corpora, arguments.text, arguments.encoding))
        return _print(arguments, as_json(facts), "\n".join(as_lines(facts)))


def _bring(corpora: CorpusStore, text: str, encoding: str | None = None) -> CorpusInfo:
    """Keep the text that was named in the store; a terminal shows how far a download is."""
    if encoding is not None and builtin_by_id(text):
        raise InputError("--encoding says how to read a file of yours: the built-in texts need none.")

    def tell(received: int, size: int) -> None:
        end = "\n" if received == size else ""
        print(f"\rFetching {text} {filled(received / size)}\033[K", end=end, file=sys.stderr, flush=True)

    return add_by_name(corpora, text, encoding=encoding, progress=tell if sys.stderr.isatty() else None)


def _checkpoint(arguments: argparse.Namespace) -> Path:
    """The file that was named: itself, a run's snapshot, or, if none was named, the newest run's or a shipped one."""
    name, step = arguments.model, arguments.step
    if name is not None and Path(name).is_file():
        if step is not None:
            raise InputError(f"--step chooses a snapshot of a run, and {name!r} is one already: leave --step out.")
        return Path(name)
    if name is not None:
        return _run(name).snapshot(step).path
    for run in RunStore(CHECKPOINTS).list():
        if run.snapshots():
            return run.snapshot(step).path
    raise InputError("There is no model yet: train one first (python -m nanollm train), or name a checkpoint.")


def _run(name: str) -> Run:
    """The run that was named: by its folder, or by its id."""
    return Run.open(name) if Path(name).exists() else RunStore(CHECKPOINTS).get(name)
