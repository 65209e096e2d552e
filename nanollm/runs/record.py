"""One run as its folder tells it: what was asked for, how it stands, its curve, snapshots and samples.

A Run only reads. It can be asked as often as a page polls: files that did not change are not read again.
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

# What status.json may hold. A reader may also find "lost" (said to be running, but nobody is there) and "stalled"
# (somebody is there, but does not move).
STATES = ("queued", "running", "paused", "completed", "stopped", "failed", "diverged")

FORMAT = 1  # of run.json
_CHECKPOINTS = "checkpoint_*.safetensors"
_RESUMES = f"resume_{'[0-9]' * 8}.safetensors"  # not what somebody copied by hand
_MAX_HEADER = 16 * 2**20  # bytes; a vocabulary of 20,000 characters takes less than one
_FACTS = {"step": int, "model": dict, "train": dict, "train_loss": (int, float), "val_loss": (int, float)}

Config = TypeVar("Config", ModelConfig, TrainConfig)


@dataclass(frozen=True)
class Status:
    """How a run stands now. None means that it cannot be told (yet)."""

    state: str  # queued running paused completed stopped failed diverged lost stalled
    step: int  # optimizer steps taken
    num_steps: int
    reason: str = ""  # a sentence where the state needs one
    requested: str = ""  # "pause" or "stop" while the worker has yet to obey
    place: int | None = None  # in the queue: 1 is next
    seconds: float | None = None  # of training so far
    tokens_per_second: float | None = None
    eta_seconds: float | None = None  # until it is over, at the latest pace, evaluating and saving included
    val_loss: float | None = None  # the lowest so far
    peak_bytes: int | None = None  # of memory, held at once by its process while it trained

    @property
    def active(self) -> bool:
        """Whether it trains or is going to without anybody's doing."""
        return self.state in ("queued", "running", "stalled")

    @property
    def progress(self) -> float:
        """Share of the steps that is done, 0 to 1."""
        return min(1.0, self.step / self.num_steps) if self.num_steps else 0.0


@dataclass(frozen=True)
class Snapshot:
    """The weights of one moment, on disk; losses in nats a character, None where they were not measured then."""

    step: int
    path: Path
    train_loss: float | None
    val_loss: float | None
    best: bool  # true for exactly one of a run: the lowest validation loss

    @property
    def means_path(self) -> Path:
        """What explain.ablation.load_means() reads. It may not be there: only runs that a worker trained have it."""
        return run_files.means_path(self.path)

    @property
    def findings_path(self) -> Path:
        """What explain.findings.load_findings() reads. Only the models that come along have it."""
        return run_files.findings_path(self.path)


@dataclass(frozen=True)
class Parent:
    """The run that another one continues, as it was then: it may have been renamed or deleted since."""

    run: str  # its id
    title: str
    step: int  # of the snapshot whose weights were taken over

    def describe(self) -> str:
        """What that means, in one sentence."""
        return (
            f"Continues “{self.title}” from step {self.step:,}, with a schedule of its own: "
            "not the same as one longer run."
        )


class Run:
    """A run folder. Made by RunStore; `Run.open(folder)` reads one that lies anywhere."""

    id: str
    folder: Path
    title: str  # for showing only
    created: float  # seconds since 1970
    preset: str | None
    settings: dict[str, Any]  # all fields that were asked for, flat
    corpus: dict[str, Any]  # name, sha256, characters, vocab_size; empty if it is not known
    model_config: ModelConfig
    train_config: TrainConfig
    parent: Parent | None  # what it continues
    checkpoints_only: (
        bool  # nothing but checkpoints, as train_with_config leaves them: it can be looked at, not resumed
    )
    owner: str  # whose it is, where many share the store; empty: everybody's
    view_key: str  # the key with which others may look at it; empty where there is no owner
    read_only: bool  # one of the models that come with nano-llm: it can be looked at and forked, never changed

    def __init__(self, folder: Path, about: Mapping[str, Any], log: EventLog, place: Callable[[], int | None]) -> None:
        """`about` is run.json's content, or what _checkpoints_only_metadata() made up for a folder without one."""
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
        """The run in any folder. Raises InputError if there is none."""
        folder = Path(folder).absolute()
        about = read_run_metadata(folder)
        if about is None:
            if problem := unsupported_format(folder):
                raise InputError(problem)
            raise InputError(f"There is no run in {str(folder)!r}: name a folder that training has made.")
        try:
            return cls(folder, about, EventLog(folder / run_files.METRICS), lambda: None)
        except (TypeError, ValueError) as error:  # somebody's hand in run.json
            raise InputError(f"The run in {str(folder)!r} cannot be read: its {run_files.RUN} is damaged.") from error

    @property
    def baselines(self) -> Baselines | None:
        """What plain counting achieves on its text, split as this run splits it; None until a worker has counted."""
        from nanollm.data.ngrams import Baselines  # numpy, for which a worker that takes its lock cannot wait

        try:
            return Baselines(**run_files.read_json(self.folder / run_files.BASELINES))
        except TypeError:
            return None

    def alive(self) -> bool:
        """Whether a worker has it in hand at this moment."""
        return liveness.alive(self.folder)

    def status(self, *, stall_seconds: float = liveness.STALL_SECONDS) -> Status:
        """How the run stands now; a worker silent for longer than `stall_seconds` counts as stalled."""
        if self.checkpoints_only:
            last = max((s.step for s in self.snapshots()), default=0)
            return Status("completed", last, last, val_loss=_lowest(self.snapshots()))
        recorded = run_files.read_json(self.folder / run_files.STATUS)
        state, reason = self._state(recorded, stall_seconds)
        if state in ("running", "stalled"):
            return self._moving(state, reason)
        if state != recorded.get("state"):
            recorded = {}  # overtaken by events, and the log has them
        step, seconds = recorded.get("step"), recorded.get("seconds")
        last = self._log.pace().last if seconds is None else None
        return Status(
            state,
            step if isinstance(step, int) else max(0, self._log.last_step()),
            self.train_config.num_steps,
            reason,
            place=self._place() if state == "queued" else None,
            seconds=last.seconds if last else seconds,
            val_loss=self.curve().best_val_loss if seconds is None else recorded.get("val_loss"),
            peak_bytes=recorded.get("peak_bytes"),
        )

    def events(self) -> list[Event]:
        """What happened, as if the run had never been interrupted."""
        return self._log.events()

    def curve(self) -> Curve:
        """The loss curve; the very same object until something was added."""
        return self._log.curve()

    def samples(self) -> list[Sample]:
        """What the model wrote at each snapshot, in order."""
        return [event for event in self._log.events() if isinstance(event, Sample)]

    def snapshots(self) -> list[Snapshot]:
        """The snapshots on disk, by step."""
        curve, reached = self._log.curve(), self._log.last_step()
        losses = dict(zip(curve.eval_steps, zip(curve.train_loss, curve.val_loss, strict=True), strict=True))
        found: dict[int, Snapshot] = {}
        for path in sorted(self.folder.glob(_CHECKPOINTS)):  # digits sort before "final"
            step = _step_of(path)
            if step is None or step in found or (not self.checkpoints_only and step > reached):
                continue  # the last: from before a resume further back; training will come there again
            facts = read_checkpoint_metadata(path) if self.checkpoints_only else {}
            train, val = losses.get(step, (facts.get("train_loss"), facts.get("val_loss")))
            found[step] = Snapshot(step, path, train, val, best=False)
        return _mark_best(sorted(found.values(), key=lambda snapshot: snapshot.step))

    def snapshot(self, step: int | None = None) -> Snapshot:
        """The snapshot of a step (None: the last). Raises InputError if there is none."""
        snapshots = self.snapshots()
        if not snapshots:
            raise InputError("This run has no snapshot yet: the first appears when its training begins.")
        if step is None:
            return snapshots[-1]
        for snapshot in snapshots:
            if snapshot.step == step:
                return snapshot
        raise InputError(f"This run has no snapshot of step {step!r:.20}: choose one that the slider shows.")

    def resume_files(self) -> list[Path]:
        """Files that training can go on from, newest first (whether they are whole, only loading tells)."""
        return sorted(self.folder.glob(_RESUMES), reverse=True)

    def _state(self, recorded: Mapping[str, Any], stall_seconds: float) -> tuple[str, str]:
        """The state as it really is, and the sentence that belongs to it."""
        state, reason = recorded.get("state"), str(recorded.get("reason", ""))
        if state == "queued" and not self._writable():
            return state, "It waits because its folder cannot be written: make it writable."
        if state in STATES and state != "running":
            return state, reason
        if not self.alive():
            # A worker writes its last status before it lets go of the lock: look once more before mourning.
            again = run_files.read_json(self.folder / run_files.STATUS)
            if again.get("state") in STATES and again["state"] != "running":
                return again["state"], str(again.get("reason", ""))
            if not self._writable():
                return "lost", "Its process ended, and its folder cannot be written: make it writable, then resume."
            return "lost", "Its process ended without a word: it was killed, or the machine was restarted."
        silence = liveness.seconds_since_heartbeat(self.folder)
        if silence > stall_seconds:
            process = f"Its process (number {liveness.owner_pid(self.folder)})"
            return "stalled", f"{process} has not moved for {duration(silence)}."
        return "running", reason

    def _writable(self) -> bool:
        """False on a disk that is read-only: nobody could write down in the folder what is the matter with it."""
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
            tokens_per_second=last.tokens_per_second if last and running else None,
            eta_seconds=pace.seconds_left(step, self.train_config) if running else None,
            val_loss=self.curve().best_val_loss,
        )


def write_status(folder: Path, state: str, *, step: int, reason: str = "", **more: Any) -> None:
    """Replace status.json. To be called only by who holds the run's lock, or the store's while no worker lives."""
    run_files.write_json(folder / run_files.STATUS, {"state": state, "step": step, "reason": reason, **more})


def read_run_metadata(folder: Path) -> dict[str, Any] | None:
    """What is known of a run folder: run.json, or what the checkpoints in it say; None if it is no run."""
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
    """Why a run folder must not be read as if it were of this version, in a sentence; empty where nothing is wrong."""
    version = run_files.read_json(folder / run_files.RUN).get("format", FORMAT)
    if version == FORMAT:
        return ""
    return (
        f"This run is written in format {version!r:.20}, and this version of nano-llm reads format {FORMAT}: "
        "open it with the version that made it."
    )


def read_checkpoint_metadata(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself (step, model, train, losses) and when it was written, in seconds since 1970.

    Read without torch, and unchecked but for what kind of thing each fact is, None for any other; empty if nothing.
    """
    try:
        now = path.stat()
    except OSError:
        return {}
    return _facts(path, now.st_mtime_ns, now.st_size)


def read_vocabulary(path: Path) -> list[str]:
    """The characters that a checkpoint's model knows, without torch and unchecked; empty if nothing."""
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
    """run.json's content for a folder that holds only checkpoints; empty if it holds none."""
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
    """A config from JSON, passing over fields that only another version knows. Raises InputError if invalid."""
    values = current_names(values) if isinstance(values, dict) else {}
    return kind(**{f.name: values[f.name] for f in fields(kind) if f.name in values})


def _parent(value: Any) -> Parent | None:
    """What a run continues, from JSON. Raises ValueError if that cannot be told: such a run must not start anew."""
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("step"), int):
        raise ValueError("not a parent")
    return Parent(str(value.get("run")), str(value.get("title")), value["step"])


def _lowest(snapshots: list[Snapshot]) -> float | None:
    return min((s.val_loss for s in snapshots if s.val_loss is not None), default=None)


def _mark_best(snapshots: list[Snapshot]) -> list[Snapshot]:
    """Mark the lowest validation loss; where nothing was validated, the lowest training loss, else the last."""

    def merit(snapshot: Snapshot) -> tuple[bool, float, bool, float, int]:
        val, train = snapshot.val_loss, snapshot.train_loss
        return val is None, val or 0.0, train is None, train or 0.0, -snapshot.step if val is train is None else 0

    best = min(snapshots, key=merit, default=None)
    return [Snapshot(s.step, s.path, s.train_loss, s.val_loss, s is best) for s in snapshots]
