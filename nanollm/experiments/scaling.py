"""Scaling experiments: the same text trained with several presets and seeds.

An experiment is a folder next to the run folders. Its experiment.json contains the plan and the ids of its runs, which
are ordinary runs of the same store and queue: they can be paused, resumed, sampled from and inspected. results.py
collects the results. Does not import torch.
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

EXPERIMENT = "experiment.json"  # marks a folder as an experiment
PREFIX = "scaling"
DEFAULT_PRESETS = ("nano", "small", "medium")
_POLL_SECONDS = 0.5
_PAUSE_SECONDS = 30.0  # a worker saves its state before it ends
_FORMAT = 1
# Settings scaled with the number of steps, so that short runs also have a warm-up and evaluations.
_LENGTHS = ("num_steps", "warmup_steps", "eval_interval", "log_interval", "checkpoint_interval")


@dataclass(frozen=True)
class Plan:
    """What to train: every preset with every seed, for its num_steps times `num_steps_scale`."""

    presets: tuple[str, ...] = DEFAULT_PRESETS
    num_steps_scale: float = 1.0
    seeds: tuple[int, ...] = (TrainConfig.seed,)

    def __post_init__(self) -> None:
        """Raises InputError for an empty plan, duplicates, or an invalid preset, seed or scale."""
        if not self.presets or not self.seeds:
            raise InputError("The plan is empty: name at least one preset and one seed.")
        for name in self.presets:
            preset(name)
        object.__setattr__(self, "seeds", tuple(TrainConfig(seed=seed).seed for seed in self.seeds))
        if len(set(self.presets)) < len(self.presets) or len(set(self.seeds)) < len(self.seeds):
            raise InputError("A preset or seed is duplicated: name each once.")
        if not 0 < self.num_steps_scale <= 1000:
            raise InputError(f"num_steps_scale is {self.num_steps_scale:g}: it must be above 0 and at most 1,000.")

    def settings(self, name: str, seed: int) -> dict[str, Any]:
        """The settings that override the preset in the run with this seed."""
        changed: dict[str, Any] = {}
        if self.num_steps_scale != 1:
            usual = {**asdict(TrainConfig()), **PRESETS[name]}
            changed = {length: max(1, round(usual[length] * self.num_steps_scale)) for length in _LENGTHS}
        return {**changed, "seed": seed}

    def title(self, name: str, seed: int, corpus: str) -> str:
        """The title of that run."""
        scale = f" · {self.num_steps_scale:g} × the steps" if self.num_steps_scale != 1 else ""
        return f"{name} · {corpus}{scale}" + (f" · seed {seed}" if len(self.seeds) > 1 else "")


@dataclass(frozen=True)
class Member:
    """One run of an experiment: its preset, seed and id."""

    preset: str
    seed: int
    run: str


@dataclass
class Experiment:
    """The content of an experiment's folder when it was opened; runs() gives the current runs."""

    folder: Path
    created: float  # seconds since 1970
    corpus: CorpusRef
    plan: Plan
    members: list[Member]
    store: RunStore

    @classmethod
    def open(cls, folder: Path | str, store: RunStore | None = None) -> Experiment:
        """Open an experiment, with its runs in `store` (default: next to it). Raises InputError."""
        folder = Path(folder).absolute()
        about = run_files.read_json(folder / EXPERIMENT)
        if (version := about.get("format", _FORMAT)) != _FORMAT:
            raise InputError(
                f"This experiment has format {version!r:.20}, but this version of nano-llm reads format {_FORMAT}: "
                "open it with the version that wrote it."
            )
        try:
            saved_plan = about["plan"]
            plan = Plan(tuple(saved_plan["presets"]), saved_plan["num_steps_scale"], tuple(saved_plan["seeds"]))
            members = [Member(**member) for member in about["members"]]
            corpus, created = CorpusRef(**about["corpus"]), float(about["created"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{str(folder)!r} is not an experiment: name a folder that `scale` has created.") from None
        return cls(folder, created, corpus, plan, members, store or RunStore(folder.parent))

    @property
    def name(self) -> str:
        return self.folder.name

    def save(self) -> None:
        """Write experiment.json. Raises InputError if the disk cannot be written."""
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
        """Its runs in the order of the plan, without deleted ones."""
        known = {run.id: run for run in self.store.list()}
        return [known[member.run] for member in self.members if member.run in known]

    def finished(self) -> bool:
        """Whether all runs are completed."""
        states = [run.status().state for run in self.runs()]
        return len(states) == len(self.members) and all(state == "completed" for state in states)


@dataclass(frozen=True)
class ExperimentStatus:
    """Status of an experiment: its runs and the completed fraction of the work (in floating-point operations)."""

    runs: list[Run]
    statuses: list[Status]
    done: float  # 0 to 1
    seconds_left: float | None  # None until the speed is known

    @property
    def active(self) -> bool:
        """Whether any run is queued or training."""
        return any(status.active for status in self.statuses)


def experiments(root: Path | str, store: RunStore | None = None) -> list[Experiment]:
    """All experiments in a folder, newest first."""
    found = []
    for path in Path(root).absolute().glob(f"[!.]*/{EXPERIMENT}"):
        try:
            found.append(Experiment.open(path.parent, store))
        except InputError:
            continue
    return sorted(found, key=lambda experiment: (experiment.created, experiment.name), reverse=True)


def prepare(store: RunStore, corpus: Corpus, plan: Plan, folder: Path | None = None) -> Experiment:
    """Open or create the experiment in `folder` with all its runs; deleted runs are created again.

    Without a folder: the newest unfinished experiment with the same plan and text, else a new one, so that repeating a
    command continues it. Raises InputError if the folder contains anything else, or if a run cannot be created.
    """
    if folder is None:
        begun = (one for one in experiments(store.root, store) if not one.finished())
        experiment = next((one for one in begun if (one.plan, one.corpus.sha256) == (plan, corpus.sha256)), None)
        now = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        folder = store.root / f"{PREFIX}-{now}-{secrets.token_hex(2)}"
    else:
        experiment = _open_matching(folder.absolute(), store, corpus, plan)
    return _complete(experiment) if experiment else _new(folder.absolute(), store, corpus, plan)


def run_experiment(experiment: Experiment, launcher: Launcher) -> Iterator[ExperimentStatus]:
    """Train all unfinished runs, one after another, and yield the status about twice a second.

    Ends when no run is queued or training. Workers keep running if the caller stops iterating: see pause(). Raises
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
        status = experiment_status(experiment)
        yield status
        if not status.active:
            return
        time.sleep(_POLL_SECONDS)


def pause(experiment: Experiment, launcher: Launcher) -> None:
    """Pause all active runs of the experiment and wait until they have saved their state."""
    active = [run for run in experiment.runs() if run.status().active]
    for run in sorted(active, key=lambda run: run.alive()):  # queued runs first, so that none of them starts
        launcher.pause(run.id)
    deadline = time.monotonic() + _PAUSE_SECONDS
    while any(run.alive() for run in active) and time.monotonic() < deadline:
        time.sleep(0.05)


def experiment_status(experiment: Experiment) -> ExperimentStatus:
    runs = experiment.runs()
    statuses = [run.status() for run in runs]
    work = [training_flops(run, run.train_config.num_steps) for run in runs]
    done = [training_flops(run, status.step) for run, status in zip(runs, statuses, strict=True)]
    return ExperimentStatus(runs, statuses, sum(done) / max(1.0, sum(work)), _seconds_left(runs, statuses))


def training_flops(run: Run, steps: int) -> float:
    """Estimated floating-point operations of `steps` training steps: three forward passes over their characters."""
    characters = steps * run.train_config.batch_size * run.model_config.context_length
    return 3.0 * run.model_config.flops_per_character * characters


def _seconds_left(runs: Sequence[Run], statuses: Sequence[Status]) -> float | None:
    """The remaining time of the current run, plus the work of the queued ones at the highest speed so far."""
    speeds, waiting, left = [], 0.0, 0.0
    for run, status in zip(runs, statuses, strict=True):
        last = run.curve().last
        if last and last.tokens_per_second:
            speeds.append(3.0 * run.model_config.flops_per_character * last.tokens_per_second)
        if status.eta_seconds is not None:
            left += status.eta_seconds
        elif status.active:
            waiting += training_flops(run, status.num_steps) - training_flops(run, status.step)
    return left + waiting / max(speeds) if speeds else None


def _open_matching(folder: Path, store: RunStore, corpus: Corpus, plan: Plan) -> Experiment | None:
    """The experiment in a given folder. Raises InputError if the folder contains anything else."""
    if not folder.exists() or not any(folder.iterdir()):
        return None
    experiment = Experiment.open(folder, store)
    if (experiment.plan, experiment.corpus.sha256) != (plan, corpus.sha256):
        raise InputError(f"{folder.name!r} has other presets, seeds, steps or another text: choose another name.")
    return experiment


def _new(folder: Path, store: RunStore, corpus: Corpus, plan: Plan) -> Experiment:
    text = CorpusRef(corpus.name, corpus.sha256, corpus.characters, corpus.vocab_size)
    experiment = Experiment(folder, time.time(), text, plan, [], store)
    experiment.save()
    try:
        return _complete(experiment)
    except BaseException:  # undo a partial creation
        for member in experiment.members:
            with suppress(InputError):
                store.delete(member.run)
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _complete(experiment: Experiment) -> Experiment:
    """Create all missing runs and save their ids."""
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
