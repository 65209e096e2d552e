"""Creating, finding, renaming, queueing and deleting the runs of a folder. Does not import torch."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nanollm.config import ModelConfig, TrainConfig, make_configs, preset, require_enough_text, to_dict
from nanollm.errors import InputError
from nanollm.files import disk_error_hint, fsync_folder
from nanollm.limits import LOCAL, Limits
from nanollm.runs import run_files, titles
from nanollm.runs.fork import fork_configs, require_known_characters
from nanollm.runs.process import liveness
from nanollm.runs.reader import RunReader, is_name
from nanollm.runs.record import (
    FORMAT,
    Curve,
    Parent,
    Run,
    Snapshot,
    Status,
    read_vocabulary,
    unsupported_format,
    write_status,
)
from nanollm.runs.texts import Corpora, Corpus, CorpusRef, unfinished_runs
from nanollm.train.memory import require_memory, training_bytes

__all__ = [
    "Corpora",
    "Corpus",
    "CorpusRef",
    "Curve",
    "Parent",
    "Run",
    "RunStore",
    "Snapshot",
    "Status",
    "unfinished_runs",
]

RUN_NOT_FOUND = "This run is no longer here: choose another one, or start a new one."
_READ_ONLY = "Pretrained models are read-only"
_LOCK = ".lock"
_DELETED = ".deleted-"
_NEW = ".new-"


class RunStore:
    """The runs under one folder. Holds only caches, so any number of processes may share the folder."""

    def __init__(self, root: Path | str = "checkpoints", limits: Limits = LOCAL) -> None:
        self.root = Path(root).absolute()
        self.limits = limits
        self._reader = RunReader(self.root, self._place)

    def list(self) -> list[Run]:
        """Users' runs, newest first (including folders with only checkpoints), then the pretrained ones."""
        return self._reader.list()

    def get(self, run_id: str) -> Run:
        """The run with this id. Raises InputError if it does not exist, with the same message if it was deleted."""
        named = is_name(run_id) and run_id != run_files.PRETRAINED
        run = self._reader.get(run_id) if named else None
        if run is None:
            raise InputError((named and unsupported_format(self._reader.folder(run_id))) or RUN_NOT_FOUND)
        return run

    def create(
        self,
        *,
        settings: Mapping[str, Any],
        corpus: Corpus,
        preset: str | None = None,
        title: str | None = None,
        queued: bool = True,
        owner: str = "",
    ) -> Run:
        """Create a run with the preset's settings, overridden by `settings`, at the end of the queue.

        With queued=False it stays paused at step 0, for a caller that trains it itself. `owner` identifies the owner in
        public mode. Raises InputError if a setting is unknown or out of bounds, if the text is too short, if memory or
        the store's limits do not suffice, or if the disk cannot be written.
        """
        settings = {**_preset(preset), **settings}
        model, train = make_configs(settings, corpus.vocab_size)
        self.require(corpus, model, train)
        about = _about(corpus, model, train, preset=preset, settings=settings, owner=owner)
        about["title"] = titles.clean(title) or titles.default_title(about, self._same_owner(about))
        return self._add(about, queued)

    def fork(
        self,
        parent: Run,
        *,
        corpora: Corpora,
        settings: Mapping[str, Any],
        corpus: Corpus | None = None,
        step: int | None = None,
        title: str | None = None,
        queued: bool = True,
        owner: str = "",
    ) -> Run:
        """Create a run from the weights of a parent's snapshot (step None: the last), queued as by create().

        It uses the parent's text (or `corpus`, one of `corpora`) and settings, overridden by `settings`. It does not
        resume the parent: it counts from step 0, with a new warm-up, schedule and optimizer state. The snapshot is
        copied, so the parent may continue or be deleted.

        Raises InputError if the parent lacks the snapshot or run.json, if the text is missing, too short or
        contains characters outside the model's vocabulary, if a setting is unknown, out of bounds or would change the
        model's shape, or if memory or disk space do not suffice.
        """
        if parent.checkpoints_only:
            raise InputError(
                "This folder contains only checkpoints: you can sample from them, but not train them further."
            )
        snapshot = parent.snapshot(step)
        model, train = fork_configs(parent, settings)
        vocabulary = read_vocabulary(snapshot.path)
        if not vocabulary:
            raise InputError("This snapshot cannot be read: choose another one.")
        corpus = corpus or corpora.get(str(parent.corpus.get("sha256")))
        require_known_characters((c for c, _ in corpora.frequencies(corpus.sha256)), vocabulary)
        self.require(corpus, model, train)
        settings = {**parent.settings, **settings}
        about = _about(corpus, model, train, preset=parent.preset, settings=settings, owner=owner)
        about["parent"] = {"run": parent.id, "title": parent.title, "step": snapshot.step}
        about["title"] = titles.clean(title) or titles.fork_title(about, parent, self._same_owner(about))
        return self._add(about, queued, snapshot.path)

    def require(self, corpus: Corpus, model: ModelConfig, train: TrainConfig) -> None:
        """Raise InputError if the text is too short, or memory or the store's limits do not suffice for the run."""
        require_enough_text(corpus.characters, model, train)
        self.limits.require_run(model, train, training_bytes(model, train))
        require_memory(model, train)

    def adopt(self, temporary: Path) -> Run:
        """Move a complete run from a hidden folder under the root into the store, under a new id.

        Raises InputError if the store is read-only, OSError if the folder cannot be renamed.
        """
        if self.root.name == run_files.PRETRAINED:
            raise InputError(f"{_READ_ONLY}: choose another folder for new runs.")
        return self.get(self._move_into_place(temporary, time.time()))

    def rename(self, run_id: str, title: str) -> None:
        """Change a run's title. Raises InputError if the run does not exist or the title has no visible character."""
        title = titles.clean(title)
        if not title:
            raise InputError("The title is empty: enter at least one visible character.")
        with self.lock():
            run = self.get(run_id)
            if run.read_only:
                raise InputError(f"{_READ_ONLY} and cannot be renamed: fork this one into a run of your own.")
            if run.checkpoints_only:
                raise InputError("This folder contains only checkpoints: rename the folder itself.")
            path = run.folder / run_files.RUN
            run_files.write_json(path, {**run_files.read_json(path), "title": title})

    def delete(self, run_id: str) -> None:
        """Delete a run permanently. Raises InputError if it does not exist or is training."""
        with self.lock():
            run = self.get(run_id)
            if run.read_only:
                raise InputError(f"{_READ_ONLY} and cannot be deleted: choose one of your runs.")
            if run.checkpoints_only and not _only_checkpoints(run.folder):
                raise InputError("This folder contains files other than checkpoints: delete it manually.")
            with liveness.try_claim(run.folder) as claimed:
                if not claimed:
                    raise InputError("This run is training: stop it first, then delete it.")
                # Readers see the run disappear atomically; deleting the files may take long or be interrupted.
                os.rename(run.folder, self.root / f"{_DELETED}{run.id}-{secrets.token_hex(2)}")
        self.sweep(0.0)

    def sweep(self, seconds: float = 3600.0) -> None:
        """Delete temporary folders of interrupted creations and deletions that are older than `seconds`.

        A killed process leaves such folders behind; those of a live process are only seconds old.
        """
        for rest in (*self.root.glob(f"{_DELETED}*"), *(self.root.glob(f"{_NEW}*") if seconds else ())):
            with suppress(OSError):
                if not seconds or time.time() - rest.stat().st_mtime > seconds:
                    shutil.rmtree(rest, ignore_errors=True)

    def queue(self) -> list[str]:
        """Ids of the queued runs in training order.

        Owners take turns: the first run of every owner precedes the second of any (a run in training counts as its
        owner's first). Runs without an owner keep the order in which they were queued.
        """
        turns = Counter(self._owner(name) for name, status in self._statuses() if status.get("state") == "running")
        order = []
        for place, name in sorted(self._waiting()):
            owner = self._owner(name)
            order.append((turns[owner] if owner else 0, place, name))
            turns[owner] += 1
        return [name for *_, name in sorted(order)]

    def enqueue(self, folder: Path, *, step: int = 0, first: bool = False) -> None:
        """Queue a run last, or first. The caller must make sure that no worker owns it."""
        places = [place for place, _ in self._waiting()] or [0]
        write_status(folder, "queued", step=step, place=min(places) - 1 if first else max(places) + 1)

    def unfinished_titles(self, sha256: str) -> list[str]:
        """Titles of the unfinished runs that still need a text, which must therefore not be deleted."""
        return [run.title for run in unfinished_runs(self.list(), sha256)]

    @contextmanager
    def lock(self, timeout: float = 30.0) -> Iterator[None]:
        """Lock the store: only one thread or process at a time starts, changes or deletes its runs.

        Raises InputError if the lock is not free within `timeout` seconds, or if the disk cannot be written.
        """
        lock = FileLock(self.root / _LOCK)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout, poll_interval=0.02)
        except Timeout as error:
            raise InputError("The runs are being changed by another process. Try again in a moment.") from error
        except OSError as error:
            raise InputError(f"The run store cannot be written {disk_error_hint(error)}") from error
        try:
            yield
        finally:
            lock.release()

    def _waiting(self) -> Iterator[tuple[int, str]]:
        """Order number (increases with every queued run) and id of each queued run."""
        for name, status in self._statuses():
            if status.get("state") == "queued":
                place = status.get("place")
                yield (place if isinstance(place, int) else 0), name

    def _statuses(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in self._reader.ids():
            yield name, run_files.read_json(self.root / name / run_files.STATUS)

    def _owner(self, name: str) -> str:
        return str((self._reader.about(self.root / name) or {}).get("owner") or "")

    def _place(self, name: str) -> int | None:
        queue = self.queue()
        return queue.index(name) + 1 if name in queue else None

    def _add(self, about: dict[str, Any], queued: bool, weights: Path | None = None) -> Run:
        if self.root.name == run_files.PRETRAINED:
            raise InputError(f"{_READ_ONLY}: choose another folder for new runs.")
        try:
            return self.get(self._write_new(about, queued, weights))
        except OSError as error:
            raise InputError(f"The run cannot be saved {disk_error_hint(error)}") from error

    def _write_new(self, about: dict[str, Any], queued: bool, weights: Path | None) -> str:
        """Write a hidden folder and rename it when it is complete, so that readers never see a partial run."""
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.root / f"{_NEW}{secrets.token_hex(8)}-{os.getpid()}"
        try:
            temporary.mkdir()
            (temporary / run_files.CONTROL).mkdir()
            run_files.write_json(temporary / run_files.RUN, about)
            if weights is not None:
                run_files.write_copy(temporary / run_files.PARENT, weights)
            if queued:
                self.enqueue(temporary)
            else:
                write_status(temporary, "paused", step=0)
            return self._move_into_place(temporary, about["created"])
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _move_into_place(self, temporary: Path, created: float) -> str:
        """Rename a complete folder to a new, unique run id and return the id."""
        while True:
            run_id = _new_id(created)
            try:
                os.rename(temporary, self.root / run_id)  # fails if a non-empty folder of that name exists
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            else:
                fsync_folder(self.root)
                return run_id

    def _same_owner(self, about: Mapping[str, Any]) -> list[Run]:
        """The runs of the same owner: default titles are unique among them and reveal nothing about other runs."""
        return [run for run in self.list() if run.owner == about.get("owner", "")]


def _about(
    corpus: Corpus, model: ModelConfig, train: TrainConfig, *, preset: str | None, settings: dict[str, Any], owner: str
) -> dict[str, Any]:
    """The content of run.json for a new run, without title and parent."""
    values = {**to_dict(model), **to_dict(train)}
    # "look" is the share key: it gives read access to this run only.
    owned = {"owner": owner, "look": secrets.token_hex(16)} if owner else {}
    return {
        "format": FORMAT,
        "title": "",
        "created": time.time(),
        "preset": preset,
        "settings": {name: values[name] for name in settings},
        "corpus": {name: getattr(corpus, name) for name in ("name", "sha256", "characters", "vocab_size")},
        "model": to_dict(model),
        "train": to_dict(train),
        "parent": None,
        **owned,
    }


def _new_id(created: float) -> str:
    """A run id: creation time in UTC and two random bytes."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(created))}-{secrets.token_hex(2)}"


def _preset(name: str | None) -> dict[str, Any]:
    return preset(name) if name is not None else {}


def _only_checkpoints(folder: Path) -> bool:
    with suppress(OSError):
        return all(
            re.fullmatch(r"(checkpoint|resume|means)_\w+\.safetensors|worker\.lock", p.name) for p in folder.iterdir()
        )
    return False
