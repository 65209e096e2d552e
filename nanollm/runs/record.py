"""Reading one run folder: settings, status, loss curve, snapshots and samples.

A Run is read-only and cheap to poll: files are read again only after they have changed.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nanollm.config import ModelConfig, TrainConfig, current_names
from nanollm.errors import InputError
from nanollm.runs import run_files
from nanollm.runs.metrics_log import Curve, EventLog
from nanollm.runs.process import liveness
from nanollm.train.events import Event, Sample
from nanollm.train.workload import duration

if TYPE_CHECKING:
    from nanollm.data.ngrams import Baselines

# States in status.json. Readers also derive "lost" (recorded as running, but its worker is dead) and "stalled" (its
# worker is alive, but makes no progress).
STATES = ("queued", "running", "paused", "completed", "stopped", "failed", "diverged")

FORMAT = 1  # of run.json
_CHECKPOINTS = "checkpoint_*.safetensors"
_RESUMES = f"resume_{'[0-9]' * 8}.safetensors"  # does not match copies made by hand
_MAX_HEADER = 16 * 2**20  # bytes; a vocabulary of 20,000 characters takes less than 1 MB
_FACTS = {"step": int, "model": dict, "train": dict, "train_loss": (int, float), "val_loss": (int, float)}

Config = TypeVar("Config", ModelConfig, TrainConfig)


@dataclass(frozen=True)
class Status:
    """Current status of a run. None: unknown, or not known yet."""

    state: str  # queued running paused completed stopped failed diverged lost stalled
    step: int  # optimizer steps taken
    num_steps: int
    reason: str = ""  # one sentence explaining the state, or empty
    requested: str = ""  # "pause" or "stop" until the worker obeys
    place: int | None = None  # position in the queue; 1 is next
    calibration: tuple[int, int] | None = None  # steps timed so far and at most, before the training starts
    seconds: float | None = None  # spent on training steps
    elapsed: float | None = None  # duration of the run so far, without pauses
    tokens_per_second: float | None = None
    eta_seconds: float | None = None  # remaining time at the current speed, including evaluations and saving
    val_loss: float | None = None  # the lowest so far
    peak_bytes: int | None = None  # peak memory of the worker's process

    @property
    def active(self) -> bool:
        """Whether the run is training or will start by itself."""
        return self.state in ("queued", "running", "stalled")

    @property
    def progress(self) -> float:
        """Completed fraction of the steps, from 0 to 1."""
        return min(1.0, self.step / self.num_steps) if self.num_steps else 0.0


@dataclass(frozen=True)
class Snapshot:
    """Saved weights of one step. Losses in nats per character, None if not measured at that step."""

    step: int
    path: Path
    train_loss: float | None
    val_loss: float | None
    best: bool  # exactly one snapshot of a run: the lowest validation loss

    @property
    def means_path(self) -> Path:
        """File for explain.ablation.load_means(). May be missing: only workers write it."""
        return run_files.means_path(self.path)

    @property
    def findings_path(self) -> Path:
        """File for explain.findings.load_findings(). Only pretrained models have it."""
        return run_files.findings_path(self.path)


@dataclass(frozen=True)
class Parent:
    """The run that this run was forked from. Title as of then: the parent may have been renamed or deleted."""

    run: str  # its id
    title: str
    step: int  # of the snapshot whose weights were copied

    def describe(self) -> str:
        """Describe the fork in one sentence."""
        return (
            f"Continues “{self.title}” from step {self.step:,} with its own learning-rate schedule, "
            "so the result differs from one longer run."
        )


class Run:
    """A run folder. Created by RunStore; `Run.open(folder)` opens any folder."""

    id: str
    folder: Path
    title: str  # display name
    created: float  # seconds since 1970
    preset: str | None
    settings: dict[str, Any]  # the settings given at creation, of both configs
    corpus: dict[str, Any]  # name, sha256, characters, vocab_size; empty if unknown
    model_config: ModelConfig
    train_config: TrainConfig
    parent: Parent | None  # what it was forked from
    checkpoints_only: bool  # a folder without run.json, as train_with_config() writes it: cannot be resumed
    owner: str  # owner in public mode; empty: accessible to all
    view_key: str  # share key that gives read access; empty without an owner
    read_only: bool  # a pretrained model: can be inspected and forked, but not changed

    def __init__(self, folder: Path, about: Mapping[str, Any], log: EventLog, place: Callable[[], int | None]) -> None:
        """`about` is the content of run.json, or of _checkpoints_only_metadata() for a folder without one."""
        self.read_only = folder.parent.name == run_files.PRETRAINED
        self.id = f"{run_files.PRETRAINED}-{folder.name}" if self.read_only else folder.name
        self.folder = folder
        self.title = str(about.get("title") or folder.name)
        self.created = float(about.get("created") or 0.0)
        self.preset = about.get("preset")
        self.settings = current_names(about.get("settings") or {})
        self.corpus = dict(about.get("corpus") or {})
        self.model_config = _config(ModelConfig, about.get("model"))
        self.train_config = _config(TrainConfig, about.get("train"))
        self.parent = _parent(about.get("parent"))
        self.checkpoints_only = bool(about.get("bare"))
        self.owner = str(about.get("owner") or "")
        self.view_key = str(about.get("look") or "")
        self._log = log
        self._place = place

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Open the run in a folder. Raises InputError if the folder contains no readable run."""
        folder = Path(folder).absolute()
        about = read_run_metadata(folder)
        if about is None:
            if problem := unsupported_format(folder):
                raise InputError(problem)
            raise InputError(f"There is no run in {str(folder)!r}: name a folder that training has written.")
        try:
            return cls(folder, about, EventLog(folder / run_files.METRICS), lambda: None)
        except (TypeError, ValueError) as error:  # run.json was edited by hand
            raise InputError(f"The run in {str(folder)!r} cannot be read: its {run_files.RUN} is damaged.") from error

    @property
    def baselines(self) -> Baselines | None:
        """N-gram losses on the run's text with its train/validation split; None until a worker has computed them."""
        from nanollm.data.ngrams import (
            Baselines,  # imports numpy, which would delay a worker that is about to lock its run
        )

        try:
            return Baselines(**run_files.read_json(self.folder / run_files.BASELINES))
        except TypeError:
            return None

    def alive(self) -> bool:
        """Whether a worker process owns the run now."""
        return liveness.alive(self.folder)

    def status(self, *, stall_seconds: float = liveness.STALL_SECONDS) -> Status:
        """The current status; a worker without a heartbeat for `stall_seconds` counts as stalled."""
        if self.checkpoints_only:
            last = max((s.step for s in self.snapshots()), default=0)
            return Status("completed", last, last, val_loss=_lowest(self.snapshots()))
        recorded = run_files.read_json(self.folder / run_files.STATUS)
        state, reason = self._state(recorded, stall_seconds)
        if state in ("running", "stalled"):
            return self._moving(state, reason)
        if state != recorded.get("state"):
            recorded = {}  # outdated: use the values from the log
        step, seconds = recorded.get("step"), recorded.get("seconds")
        last = self._log.pace().last if seconds is None else None
        elapsed = recorded.get("elapsed")  # version 0.1 did not write it
        return Status(
            state,
            step if isinstance(step, int) else max(0, self._log.last_step()),
            self.train_config.num_steps,
            reason,
            place=self._place() if state == "queued" else None,
            seconds=last.seconds if last else seconds,
            elapsed=elapsed if isinstance(elapsed, int | float) else self._elapsed(),
            val_loss=self.curve().best_val_loss if seconds is None else recorded.get("val_loss"),
            peak_bytes=recorded.get("peak_bytes"),
        )

    def events(self) -> list[Event]:
        """All events, without those that a resume has discarded."""
        return self._log.events()

    def curve(self) -> Curve:
        """The loss curve; the same object until an event is added."""
        return self._log.curve()

    def samples(self) -> list[Sample]:
        """The text samples generated at the snapshots, in order."""
        return [event for event in self._log.events() if isinstance(event, Sample)]

    def snapshots(self) -> list[Snapshot]:
        """The snapshots on disk, sorted by step."""
        curve, reached = self._log.curve(), self._log.last_step()
        found: dict[int, Snapshot] = {}
        for path in sorted(self.folder.glob(_CHECKPOINTS)):  # digits sort before "final"
            step = _step_of(path)
            if step is None or step in found or (not self.checkpoints_only and step > reached):
                continue  # beyond `reached`: written before a resume from an earlier step
            facts = read_checkpoint_metadata(path) if self.checkpoints_only else {}
            train, val = curve.losses_at(step) or (facts.get("train_loss"), facts.get("val_loss"))
            found[step] = Snapshot(step, path, train, val, best=False)
        estimated = curve.chosen is not None or curve.final is not None
        return _mark_best(
            sorted(found.values(), key=lambda snapshot: snapshot.step), curve.best_step if estimated else None
        )

    def snapshot(self, step: int | None = None) -> Snapshot:
        """The snapshot at a step (None: the last). Raises InputError if there is none."""
        snapshots = self.snapshots()
        if not snapshots:
            raise InputError("This run has no snapshot yet: wait until its training has started.")
        if step is None:
            return snapshots[-1]
        for snapshot in snapshots:
            if snapshot.step == step:
                return snapshot
        raise InputError(f"This run has no snapshot at step {step!r:.20}: choose one of its snapshots.")

    def resume_files(self) -> list[Path]:
        """Files with a complete training state, newest first. They may be damaged: loading verifies them."""
        return sorted(self.folder.glob(_RESUMES), reverse=True)

    def _state(self, recorded: Mapping[str, Any], stall_seconds: float) -> tuple[str, str]:
        """The actual state and its explanation."""
        state, reason = recorded.get("state"), str(recorded.get("reason", ""))
        if state == "queued" and not self._writable():
            return state, "The run cannot start because its folder is read-only: make it writable."
        if state in STATES and state != "running":
            return state, reason
        if not self.alive():
            # A worker writes its final status before it releases the lock, so read the status again.
            again = run_files.read_json(self.folder / run_files.STATUS)
            if again.get("state") in STATES and again["state"] != "running":
                return again["state"], str(again.get("reason", ""))
            if not self._writable():
                return "lost", "The worker process ended and the folder is read-only: make it writable, then resume."
            return "lost", "The worker process ended unexpectedly: it was killed, or the machine was restarted."
        silence = liveness.seconds_since_heartbeat(self.folder)
        if silence > stall_seconds:
            process = f"The worker process (pid {liveness.owner_pid(self.folder)})"
            return "stalled", f"{process} has made no progress for {duration(silence)}."
        return "running", reason

    def _writable(self) -> bool:
        """Whether a status could be written into the folder."""
        return os.access(self.folder, os.W_OK)

    def _moving(self, state: str, reason: str) -> Status:
        pace = self._log.pace()
        step, num_steps = max(0, self._log.last_step()), self.train_config.num_steps
        last, running = pace.last, state == "running"
        return Status(
            state,
            step,
            num_steps,
            reason,
            requested=next(
                (word for word in ("stop", "pause") if (self.folder / run_files.CONTROL / word).exists()), ""
            ),
            seconds=last.seconds if last else None,
            elapsed=self._elapsed(),
            calibration=self._log.calibration() if running else None,
            tokens_per_second=last.tokens_per_second if last and running else None,
            eta_seconds=pace.seconds_left(step, self.train_config) if running else None,
            val_loss=self.curve().best_val_loss,
        )

    def _elapsed(self) -> float | None:
        """Elapsed time at the last record that has one."""
        curve = self.curve()
        return max((*curve.elapsed[-1:], *curve.eval_elapsed[-1:]), default=None)


def write_status(folder: Path, state: str, *, step: int, reason: str = "", **more: Any) -> None:
    """Replace status.json. The caller must hold the run's lock, or the store's lock while no worker is alive."""
    run_files.write_json(folder / run_files.STATUS, {"state": state, "step": step, "reason": reason, **more})


def read_run_metadata(folder: Path) -> dict[str, Any] | None:
    """The content of run.json, or metadata from the checkpoints in the folder; None if it is not a run."""
    about = run_files.read_json(folder / run_files.RUN) or _checkpoints_only_metadata(folder)
    if about.get("format", FORMAT) != FORMAT:
        return None
    try:
        _config(ModelConfig, about.get("model"))
        _config(TrainConfig, about.get("train"))
        _parent(about.get("parent"))
    except (InputError, TypeError, ValueError):
        return None
    return about if about.get("model") else None


def unsupported_format(folder: Path) -> str:
    """An error message if the run was written in another format version, else an empty string."""
    version = run_files.read_json(folder / run_files.RUN).get("format", FORMAT)
    if version == FORMAT:
        return ""
    return (
        f"This run has format {version!r:.20}, but this version of nano-llm reads format {FORMAT}: "
        "open it with the version that wrote it."
    )


def read_checkpoint_metadata(path: Path) -> dict[str, Any]:
    """A checkpoint's metadata (step, model, train, losses) and its modification time in seconds since 1970.

    Reads only the header, without torch. Values of the wrong type become None; an unreadable file gives {}.
    """
    try:
        now = path.stat()
    except OSError:
        return {}
    return _facts(path, now.st_mtime_ns, now.st_size)


def read_vocabulary(path: Path) -> list[str]:
    """The vocabulary in a checkpoint's header, read without torch and not validated; empty if unreadable."""
    characters = _header(path).get("characters")
    return characters if isinstance(characters, list) else []


@lru_cache(maxsize=1024)
def _facts(path: Path, mtime_ns: int, size: int) -> dict[str, Any]:
    facts = _header(path)
    known = {key: facts.get(key) for key, kinds in _FACTS.items() if isinstance(facts.get(key), kinds)}
    return {**dict.fromkeys(_FACTS), **known, "written": mtime_ns / 1e9} if known else {}


def _header(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= _MAX_HEADER else {}
        facts = json.loads(header["__metadata__"]["nanollm"])
    except (OSError, ValueError, KeyError, TypeError, struct.error, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _checkpoints_only_metadata(folder: Path) -> dict[str, Any]:
    """Metadata like run.json's for a folder that contains only checkpoints; empty if it contains none."""
    for path in sorted(folder.glob(_CHECKPOINTS), reverse=True):
        facts = read_checkpoint_metadata(path)
        if facts.get("model"):
            return {
                "bare": True,
                "created": facts["written"],
                "model": facts["model"],
                "train": facts["train"],
                "settings": {**(facts["train"] or {}), **facts["model"]},
            }
    return {}


def _step_of(path: Path) -> int | None:
    numbered = re.fullmatch(r"checkpoint_(\d{8})\.safetensors", path.name)
    step = int(numbered[1]) if numbered else read_checkpoint_metadata(path).get("step")
    return step if isinstance(step, int) else None


def _config(kind: type[Config], values: Any) -> Config:
    """A config from JSON, ignoring unknown fields of other versions. Raises InputError if a value is invalid."""
    values = current_names(values) if isinstance(values, dict) else {}
    return kind(**{f.name: values[f.name] for f in fields(kind) if f.name in values})


def _parent(value: Any) -> Parent | None:
    """The parent from JSON. Raises ValueError if damaged, so that a fork never restarts from random weights."""
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("step"), int):
        raise ValueError("not a parent")
    return Parent(str(value.get("run")), str(value.get("title")), value["step"])


def _lowest(snapshots: list[Snapshot]) -> float | None:
    return min((s.val_loss for s in snapshots if s.val_loss is not None), default=None)


def _mark_best(snapshots: list[Snapshot], best_step: int | None = None) -> list[Snapshot]:
    """Mark the snapshot at `best_step`, else with the lowest validation loss, the lowest training loss, or the last."""

    def merit(snapshot: Snapshot) -> tuple[bool, float, bool, float, int]:
        val, train = snapshot.val_loss, snapshot.train_loss
        return val is None, val or 0.0, train is None, train or 0.0, -snapshot.step if val is train is None else 0

    chosen = next((snapshot for snapshot in snapshots if snapshot.step == best_step), None)
    best = chosen or min(snapshots, key=merit, default=None)
    return [Snapshot(s.step, s.path, s.train_loss, s.val_loss, s is best) for s in snapshots]
