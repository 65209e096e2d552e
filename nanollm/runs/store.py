"""All runs of a folder: find, make, name and delete them. Needs no torch, so that a page lists runs at once."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from nanollm.config import make_configs, preset, require_enough_text, to_dict
from nanollm.errors import InputError
from nanollm.runs import folder as names
from nanollm.runs import liveness
from nanollm.runs.log import EventLog
from nanollm.runs.record import Curve, Run, Snapshot, Status, read_about, write_status

__all__ = ["Corpus", "CorpusRef", "Curve", "Run", "RunStore", "Snapshot", "Status"]

MAX_TITLE = 200
SHIPPED = "pretrained"  # the folder of the models that come with the project
_GONE = "This run is no longer here: choose another one, or start a new one."
_LOCK = ".lock"
_DELETED = ".deleted-"
_FORMAT = 1


class Corpus(Protocol):
    """What a run needs to know of its text; CorpusInfo has it, too."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def characters(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...


@dataclass(frozen=True)
class CorpusRef:
    """A text as run.json names it: found again by its digest, shown by its name."""

    name: str
    sha256: str
    characters: int
    vocab_size: int


class RunStore:
    """The runs under one folder. Holds nothing but caches: any number of processes may look at the same folder."""

    def __init__(self, root: Path | str = "checkpoints") -> None:
        self.root = Path(root).absolute()
        self._logs: dict[str, EventLog] = {}
        self._abouts: dict[str, tuple[tuple[int, ...], dict[str, Any] | None]] = {}
        self._guard = threading.Lock()

    def list(self) -> list[Run]:
        """All runs, newest first; folders that hold only checkpoints are among them."""
        runs = [run for name in self._names() if (run := self._run(name)) is not None]
        return sorted(runs, key=lambda run: (run.created, run.id), reverse=True)

    def get(self, run_id: str) -> Run:
        """Raises InputError if there is no such run: in the same words for one that went and one that never was."""
        run = self._run(run_id) if _is_name(run_id) else None
        if run is None:
            raise InputError(_GONE)
        return run

    def create(
        self,
        *,
        settings: Mapping[str, Any],
        corpus: Corpus,
        preset: str | None = None,
        title: str | None = None,
        parent: str | None = None,
        queued: bool = True,
    ) -> Run:
        """A new run at the end of the queue (the preset's settings, with `settings` over them).

        With queued=False it is left paused at step 0 for a caller that trains it with its own hands. Raises InputError
        if a setting is unknown or out of bounds, if the text is too short for it, or if the disk refuses.
        """
        settings = {**_preset(preset), **settings}
        model, train = make_configs(settings, corpus.vocab_size)
        require_enough_text(corpus.characters, model, train)
        about = {
            "format": _FORMAT,
            "title": "",
            "created": time.time(),
            "preset": preset,
            "settings": settings,
            "corpus": {name: getattr(corpus, name) for name in ("name", "sha256", "characters", "vocab_size")},
            "model": to_dict(model),
            "train": to_dict(train),
            "parent": parent,
        }
        about["title"] = clean_title(title) or self._title(about)
        try:
            return self.get(self._write_new(about, queued))
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"The run cannot be saved ({why}): make room, then try again.") from error

    def rename(self, run_id: str, title: str) -> None:
        """Give a run another title. Raises InputError if it is gone, or the title has nothing to show."""
        title = clean_title(title)
        if not title:
            raise InputError("A title needs at least one visible character.")
        with self.lock():
            run = self.get(run_id)
            if run.bare:
                raise InputError("This folder holds only checkpoints: rename the folder itself.")
            path = run.folder / names.RUN
            names.write_json(path, {**names.read_json(path), "title": title})

    def delete(self, run_id: str) -> None:
        """Remove a run for good. Raises InputError if it is gone, or while it trains."""
        with self.lock():
            run = self.get(run_id)
            if run.id == SHIPPED:
                raise InputError("The models that come with nano-llm stay.")
            if run.bare and not _only_checkpoints(run.folder):
                raise InputError("This folder holds other files, too: delete it by hand.")
            with liveness.claimed(run.folder) as claimed:
                if not claimed:
                    raise InputError("This run is training: stop it first, then delete it.")
                # Gone in one step for every reader; the removal of its files may then take its time, or be cut short.
                os.rename(run.folder, self.root / f"{_DELETED}{run.id}-{secrets.token_hex(2)}")
        with self._guard:
            self._logs.pop(run.id, None)
        for rest in self.root.glob(f"{_DELETED}*"):
            shutil.rmtree(rest, ignore_errors=True)

    def queue(self) -> list[str]:
        """Ids of the queued runs, in the order in which they will be trained."""
        return [name for _, name in sorted(self._waiting())]

    def enqueue(self, folder: Path, *, step: int = 0) -> None:
        """Put a run at the end of the queue. The caller makes sure that no worker has it."""
        last = max((place for place, _ in self._waiting()), default=0)
        write_status(folder, "queued", step=step, place=last + 1)

    def needing(self, sha256: str) -> list[str]:
        """Titles of the runs that train on a text or may go on to: it should not be deleted under them."""
        return [run.title for run in self.list() if run.corpus.get("sha256") == sha256 and _unfinished(run)]

    @contextmanager
    def lock(self, timeout: float = 30.0) -> Iterator[None]:
        """Keep all others (threads and processes) from starting, settling or deleting runs of this store.

        Raises InputError if another holds it for longer than `timeout` seconds.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / _LOCK)
        try:
            lock.acquire(timeout=timeout, poll_interval=0.02)
        except Timeout as error:
            raise InputError("The runs are busy at this moment: try again.") from error
        try:
            yield
        finally:
            lock.release()

    def _names(self) -> list[str]:
        try:
            with os.scandir(self.root) as entries:
                return [entry.name for entry in entries if _is_name(entry.name) and entry.is_dir()]
        except OSError:
            return []

    def _waiting(self) -> Iterator[tuple[int, str]]:
        """Place (a number that grows with every run that is queued) and id of each queued run."""
        for name in self._names():
            status = names.read_json(self.root / name / names.STATUS)
            if status.get("state") == "queued":
                place = status.get("place")
                yield (place if isinstance(place, int) else 0), name

    def _run(self, name: str) -> Run | None:
        folder = self.root / name
        about = self._about(folder)
        if about is None:
            return None
        with self._guard:
            log = self._logs.setdefault(name, EventLog(folder / names.METRICS))
        try:
            return Run(folder, about, log, lambda: self._place(name))
        except (TypeError, ValueError):  # somebody's hand in run.json
            return None

    def _about(self, folder: Path) -> dict[str, Any] | None:
        """run.json (or what stands in for it), read again only when it has changed."""
        try:
            now = os.stat(folder / names.RUN)
        except OSError:  # checkpoints alone: a new one changes the folder's own time
            now = os.stat(folder) if folder.is_dir() else None
        if now is None:
            return None
        stamp = (now.st_ino, now.st_size, now.st_mtime_ns)
        with self._guard:
            known = self._abouts.get(folder.name)
        if known is None or known[0] != stamp:
            known = (stamp, read_about(folder))
            with self._guard:
                self._abouts[folder.name] = known
        return known[1]

    def _place(self, name: str) -> int | None:
        queue = self.queue()
        return queue.index(name) + 1 if name in queue else None

    def _write_new(self, about: dict[str, Any], queued: bool) -> str:
        """Write a new folder aside and give it its name at the end, so that nobody meets it half-made."""
        self.root.mkdir(parents=True, exist_ok=True)
        run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(about['created']))}-{secrets.token_hex(2)}"
        aside = self.root / f".new-{run_id}-{os.getpid()}"
        try:
            aside.mkdir()
            (aside / names.CONTROL).mkdir()
            names.write_json(aside / names.RUN, about)
            if queued:
                self.enqueue(aside)
            else:
                write_status(aside, "paused", step=0)
            os.rename(aside, self.root / run_id)  # fails where the name is taken: a folder with files is never replaced
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        names.sync_folder(self.root)
        return run_id

    def _title(self, about: Mapping[str, Any]) -> str:
        """Preset and text; where that was there before, preset and what differs from the first run of its kind."""
        model, corpus = about["model"], about["corpus"]
        kind = about["preset"] or f"{model['embedding_dim']} × {model['num_layers']}"
        alike = [r for r in self.list() if (r.preset, r.corpus.get("sha256")) == (about["preset"], corpus["sha256"])]
        difference = _difference(about, alike[-1]) if alike else ""
        title = clean_title(f"{kind} · {difference or corpus['name']}")
        taken = {run.title for run in alike}
        numbered = (title if n == 1 else f"{title} · {n}" for n in range(1, len(taken) + 2))
        return next(t for t in numbered if t not in taken)


def clean_title(title: str | None) -> str:
    """A title fit to be shown: one line of at most 200 visible characters; empty if nothing remains."""
    text = " ".join(str(title or "").split())
    return "".join(c for c in text if c.isprintable())[:MAX_TITLE].strip()


def _difference(about: Mapping[str, Any], other: Run) -> str:
    """Up to three settings that differ from another run's, in words: "learning rate 0.001, seed 7"."""
    theirs = {**to_dict(other.train_config), **to_dict(other.model_config)}
    ours = {**about["train"], **about["model"]}
    differing = [name for name in ours if ours[name] != theirs[name]]
    return ", ".join(f"{name.replace('_', ' ')} {ours[name]}" for name in differing[:3])


def _preset(name: str | None) -> dict[str, Any]:
    return preset(name) if name is not None else {}


def _is_name(name: Any) -> bool:
    """Whether this can be the name of a folder right under the root: never hidden, never a path."""
    return isinstance(name, str) and re.fullmatch(r"\w[\w .+=,-]{0,99}", name) is not None


def _only_checkpoints(folder: Path) -> bool:
    with suppress(OSError):
        return all(re.fullmatch(r"(checkpoint|resume)_\w+\.safetensors|worker\.lock", p.name) for p in folder.iterdir())
    return False


def _unfinished(run: Run) -> bool:
    return not run.bare and run.status().state not in ("completed", "diverged")
