"""The scaling experiment: one text, several sizes, nothing changed but the configuration.

An experiment is a folder beside the run folders. Its experiment.json says what was asked for and which runs were made
for it; they are ordinary runs of the same store, trained by the same queue, so they can be paused, resumed, sampled
from and looked into like any other. results.py reads off them what is to be compared. Needs no torch.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanollm.config import PRESETS, TrainConfig, preset
from nanollm.errors import InputError
from nanollm.files import disk_error_hint
from nanollm.runs import run_files
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.record import Run, Status
from nanollm.runs.store import Corpus, CorpusRef, RunStore

EXPERIMENT = "experiment.json"  # what makes a folder an experiment
PREFIX = "scaling"
DEFAULT_PRESETS = ("nano", "small", "medium")
_POLL_SECONDS = 0.5
_PAUSE_SECONDS = 30.0  # a worker saves everything before it obeys
_FORMAT = 1
# Lengths of a run that shrink with its steps, so that a short one still warms up, is judged and is drawn.
_LENGTHS = ("num_steps", "warmup_steps", "eval_interval", "log_interval", "checkpoint_interval")


@dataclass(frozen=True)
class Plan:
    """What is trained: every preset with every seed, each for its own num_steps times `num_steps_scale`."""

    presets: tuple[str, ...] = DEFAULT_PRESETS
    num_steps_scale: float = 1.0
    seeds: tuple[int, ...] = (TrainConfig.seed,)

    def __post_init__(self) -> None:
        """Raises InputError if there is nothing to train, or a preset, a seed or the scale is out of bounds."""
        if not self.presets or not self.seeds:
            raise InputError("There is nothing to train: name at least one preset and one seed.")
        for name in self.presets:
            preset(name)
        object.__setattr__(self, "seeds", tuple(TrainConfig(seed=seed).seed for seed in self.seeds))
        if len(set(self.presets)) < len(self.presets) or len(set(self.seeds)) < len(self.seeds):
            raise InputError("A preset or a seed is named twice: name each once.")
        if not 0 < self.num_steps_scale <= 1000:
            raise InputError(f"num_steps_scale is {self.num_steps_scale:g}: it must lie above 0 and not above 1,000.")

    def settings(self, name: str, seed: int) -> dict[str, Any]:
        """What differs from the preset in its run with this seed."""
        changed: dict[str, Any] = {}
        if self.num_steps_scale != 1:
            usual = {**asdict(TrainConfig()), **PRESETS[name]}
            changed = {length: max(1, round(usual[length] * self.num_steps_scale)) for length in _LENGTHS}
        return {**changed, "seed": seed}

    def title(self, name: str, seed: int, corpus: str) -> str:
        """The name of that run."""
        scale = f" · {self.num_steps_scale:g} × the steps" if self.num_steps_scale != 1 else ""
        return f"{name} · {corpus}{scale}" + (f" · seed {seed}" if len(self.seeds) > 1 else "")


@dataclass(frozen=True)
class Member:
    """One run of an experiment: what it is in it for, and its id."""

    preset: str
    seed: int
    run: str


@dataclass
class Experiment:
    """An experiment's folder, as it was when it was opened; its runs tell themselves how they stand."""

    folder: Path
    created: float  # seconds since 1970
    corpus: CorpusRef
    plan: Plan
    members: list[Member]
    store: RunStore

    @classmethod
    def open(cls, folder: Path | str, store: RunStore | None = None) -> Experiment:
        """The experiment in a folder, its runs in `store` (by default beside it). Raises InputError for none."""
        folder = Path(folder).absolute()
        about = run_files.read_json(folder / EXPERIMENT)
        if (version := about.get("format", _FORMAT)) != _FORMAT:
            raise InputError(
                f"This experiment is written in format {version!r:.20}, and this version of nano-llm reads format "
                f"{_FORMAT}: open it with the version that made it."
            )
        try:
            asked = about["plan"]
            plan = Plan(tuple(asked["presets"]), asked["num_steps_scale"], tuple(asked["seeds"]))
            members = [Member(**member) for member in about["members"]]
            corpus, created = CorpusRef(**about["corpus"]), float(about["created"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"There is no experiment in {str(folder)!r}: name one that `scale` has made.") from None
        return cls(folder, created, corpus, plan, members, store or RunStore(folder.parent))

    @property
    def name(self) -> str:
        return self.folder.name

    def save(self) -> None:
        """Write experiment.json. Raises InputError if the disk refuses."""
        about = {
            "format": _FORMAT,
            "created": self.created,
            "corpus": asdict(self.corpus),
            "plan": asdict(self.plan),
            "members": [asdict(member) for member in self.members],
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            run_files.write_json(self.folder / EXPERIMENT, about)
        except OSError as error:
            raise InputError(f"The experiment cannot be saved {disk_error_hint(error)}") from error

    def runs(self) -> list[Run]:
        """Its runs, from the first preset to the last, those left out that were deleted since."""
        known = {run.id: run for run in self.store.list()}
        return [known[member.run] for member in self.members if member.run in known]

    def finished(self) -> bool:
        """Whether all of it is trained."""
        states = [run.status().state for run in self.runs()]
        return len(states) == len(self.members) and all(state == "completed" for state in states)


@dataclass(frozen=True)
class ExperimentStatus:
    """How an experiment stands: its runs, and how much of their work is done (counted in floating-point operations)."""

    runs: list[Run]
    statuses: list[Status]
    done: float  # 0 to 1
    seconds_left: float | None  # None until a run has shown how fast it is

    @property
    def active(self) -> bool:
        """Whether a run is queued or in training."""
        return any(status.active for status in self.statuses)


def experiments(root: Path | str, store: RunStore | None = None) -> list[Experiment]:
    """All experiments beside the runs of a folder, newest first."""
    found = []
    for path in Path(root).absolute().glob(f"[!.]*/{EXPERIMENT}"):
        try:
            found.append(Experiment.open(path.parent, store))
        except InputError:
            continue
    return sorted(found, key=lambda experiment: (experiment.created, experiment.name), reverse=True)


def prepare(store: RunStore, corpus: Corpus, plan: Plan, folder: Path | None = None) -> Experiment:
    """The experiment in `folder`, made if it is not there, with all its runs; those that went are made again.

    Without a folder: the newest unfinished experiment with this very plan and text, else a new one. So the same command
    goes on where it was interrupted. Raises InputError if the folder holds another experiment or anything else, or if
    a run cannot be made.
    """
    if folder is None:
        begun = (one for one in experiments(store.root, store) if not one.finished())
        experiment = next((one for one in begun if (one.plan, one.corpus.sha256) == (plan, corpus.sha256)), None)
        now = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        folder = store.root / f"{PREFIX}-{now}-{secrets.token_hex(2)}"
    else:
        experiment = _asked_for(folder.absolute(), store, corpus, plan)
    return _complete(experiment) if experiment else _new(folder.absolute(), store, corpus, plan)


def run_experiment(experiment: Experiment, launcher: Launcher) -> Iterator[ExperimentStatus]:
    """Train what is not trained yet, one run after another, and yield how things stand about twice a second.

    Ends when no run is queued or training any more. The workers go on if nobody asks for more: see pause(). Raises
    InputError if a run cannot be started.
    """
    for run in experiment.runs():
        state = run.status().state
        if state in ("paused", "lost", "failed", "stopped"):
            launcher.resume(run.id)
        elif state in ("queued", "running"):
            launcher.advance()
    while True:
        launcher.advance()
        moment = experiment_status(experiment)
        yield moment
        if not moment.active:
            return
        time.sleep(_POLL_SECONDS)


def pause(experiment: Experiment, launcher: Launcher) -> None:
    """Pause all active runs of the experiment and wait until they have saved their state."""
    active = [run for run in experiment.runs() if run.status().active]
    for run in sorted(active, key=lambda run: run.alive()):  # those that wait first, so that none of them begins
        launcher.pause(run.id)
    deadline = time.monotonic() + _PAUSE_SECONDS
    while any(run.alive() for run in active) and time.monotonic() < deadline:
        time.sleep(0.05)


def experiment_status(experiment: Experiment) -> ExperimentStatus:
    """How the experiment stands now."""
    runs = experiment.runs()
    statuses = [run.status() for run in runs]
    work = [training_flops(run, run.train_config.num_steps) for run in runs]
    done = [training_flops(run, status.step) for run, status in zip(runs, statuses, strict=True)]
    return ExperimentStatus(runs, statuses, sum(done) / max(1.0, sum(work)), _seconds_left(runs, statuses))


def training_flops(run: Run, steps: int) -> float:
    """Floating-point operations of so many training steps, estimated: three forward passes over what they read."""
    characters = steps * run.train_config.batch_size * run.model_config.context_length
    return 3.0 * run.model_config.flops_per_character * characters


def _seconds_left(runs: Sequence[Run], statuses: Sequence[Status]) -> float | None:
    """What the run in training says of itself, and for the others their work at the best pace that was seen so far."""
    paces, waiting, left = [], 0.0, 0.0
    for run, status in zip(runs, statuses, strict=True):
        last = run.curve().last
        if last and last.tokens_per_second:
            paces.append(3.0 * run.model_config.flops_per_character * last.tokens_per_second)
        if status.eta_seconds is not None:
            left += status.eta_seconds
        elif status.active:
            waiting += training_flops(run, status.num_steps) - training_flops(run, status.step)
    return left + waiting / max(paces) if paces else None


def _asked_for(folder: Path, store: RunStore, corpus: Corpus, plan: Plan) -> Experiment | None:
    """The experiment in a folder that is named. Raises InputError if it holds another one, or anything else."""
    if not folder.exists() or not any(folder.iterdir()):
        return None
    experiment = Experiment.open(folder, store)
    if (experiment.plan, experiment.corpus.sha256) != (plan, corpus.sha256):
        raise InputError(f"{folder.name!r} holds an experiment with other presets, seeds, steps or text: name another.")
    return experiment


def _new(folder: Path, store: RunStore, corpus: Corpus, plan: Plan) -> Experiment:
    text = CorpusRef(corpus.name, corpus.sha256, corpus.characters, corpus.vocab_size)
    experiment = Experiment(folder, time.time(), text, plan, [], store)
    experiment.save()
    try:
        return _complete(experiment)
    except BaseException:  # it never came to be
        for member in experiment.members:
            with suppress(InputError):
                store.delete(member.run)
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _complete(experiment: Experiment) -> Experiment:
    """Make the runs that it lacks, all of them at the beginning, and write down which they are."""
    there = {(member.preset, member.seed): member for member in experiment.members}
    known = {run.id for run in experiment.runs()}
    experiment.members = []
    for name in experiment.plan.presets:
        for seed in experiment.plan.seeds:
            member = there.get((name, seed))
            if member is None or member.run not in known:
                member = Member(name, seed, _make(experiment, name, seed).id)
            experiment.members.append(member)
    experiment.save()
    return experiment


def _make(experiment: Experiment, name: str, seed: int) -> Run:
    plan, corpus = experiment.plan, experiment.corpus
    title = plan.title(name, seed, corpus.name)
    return experiment.store.create(settings=plan.settings(name, seed), corpus=corpus, preset=name, title=title)
