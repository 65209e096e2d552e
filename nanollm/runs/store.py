"""All runs of a folder: find, make, name and delete them. Needs no torch, so that a page lists runs at once."""

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
_STAYS = "The models that come with nano-llm stay as they are"
_LOCK = ".lock"
_DELETED = ".deleted-"
_NEW = ".new-"


class RunStore:
    """The runs under one folder. Holds nothing but caches: any number of processes may look at the same folder."""

    def __init__(self, root: Path | str = "checkpoints", limits: Limits = LOCAL) -> None:
        self.root = Path(root).absolute()
        self.limits = limits
        self._reader = RunReader(self.root, self._place)

    def list(self) -> list[Run]:
        """People's runs, newest first (folders that hold only checkpoints too), then those that are shipped."""
        return self._reader.list()

    def get(self, run_id: str) -> Run:
        """Raises InputError if there is no such run: in the same words for one that went and one that never was."""
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
        """A new run at the end of the queue (the preset's settings, with `settings` over them).

        With queued=False it is left paused at step 0 for a caller that trains it with its own hands. `owner` says whose
        it is where many share the store. Raises InputError if a setting is unknown or out of bounds, if the text is too
        short or the memory too small for it, if it is more than the store's limits allow, or if the disk refuses.
        """
        settings = {**_preset(preset), **settings}
        model, train = make_configs(settings, corpus.vocab_size)
        self.require(corpus, model, train)
        about = _about(corpus, model, train, preset=preset, settings=settings, owner=owner)
        about["title"] = titles.clean(title) or titles.of(about, self._of(about))
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
        """A new run that starts from the weights of a parent's snapshot (step None: the last), queued as by create().

        It has the parent's text (or `corpus`, one of `corpora`) and settings, with `settings` over them. It is not the
        parent's longer run: it counts from step 0, with a warm-up, a schedule and an optimizer of its own. It keeps a
        copy of the snapshot, so the parent may train on meanwhile, or be deleted.

        Raises InputError if the parent has no such snapshot or is a folder of mere checkpoints, if the text is gone,
        too short or has characters that the model has never seen, if a setting is unknown, out of bounds or another
        shape of the model, or if memory or disk have no room.
        """
        if parent.checkpoints_only:
            raise InputError("This folder holds only checkpoints: they can be sampled from, but not trained further.")
        snapshot = parent.snapshot(step)
        model, train = fork_configs(parent, settings)
        vocabulary = read_vocabulary(snapshot.path)
        if not vocabulary:
            raise InputError("This snapshot cannot be read any more: choose another one.")
        corpus = corpus or corpora.get(str(parent.corpus.get("sha256")))
        require_known_characters((c for c, _ in corpora.frequencies(corpus.sha256)), vocabulary)
        self.require(corpus, model, train)
        settings = {**parent.settings, **settings}
        about = _about(corpus, model, train, preset=parent.preset, settings=settings, owner=owner)
        about["parent"] = {"run": parent.id, "title": parent.title, "step": snapshot.step}
        about["title"] = titles.clean(title) or titles.of_fork(about, parent, self._of(about))
        return self._add(about, queued, snapshot.path)

    def require(self, corpus: Corpus, model: ModelConfig, train: TrainConfig) -> None:
        """Raise InputError unless a run could be trained: on so short a text, in so little memory, in these limits."""
        require_enough_text(corpus.characters, model, train)
        self.limits.require_run(model, train, training_bytes(model, train))
        require_memory(model, train)

    def adopt(self, temporary: Path) -> Run:
        """The run that was put together in a hidden folder under the root, from now on among the others.

        Raises InputError where no run may be made, OSError if the disk refuses.
        """
        if self.root.name == run_files.PRETRAINED:
            raise InputError(f"{_STAYS}, and no run is made among them: choose another folder.")
        return self.get(self._named(temporary, time.time()))

    def rename(self, run_id: str, title: str) -> None:
        """Give a run another title. Raises InputError if it is gone, or the title has nothing to show."""
        title = titles.clean(title)
        if not title:
            raise InputError("A title needs at least one visible character.")
        with self.lock():
            run = self.get(run_id)
            if run.read_only:
                raise InputError(f"{_STAYS}: this one cannot be renamed.")
            if run.checkpoints_only:
                raise InputError("This folder holds only checkpoints: rename the folder itself.")
            path = run.folder / run_files.RUN
            run_files.write_json(path, {**run_files.read_json(path), "title": title})

    def delete(self, run_id: str) -> None:
        """Remove a run for good. Raises InputError if it is gone, or while it trains."""
        with self.lock():
            run = self.get(run_id)
            if run.read_only:
                raise InputError(f"{_STAYS}: this one cannot be deleted.")
            if run.checkpoints_only and not _only_checkpoints(run.folder):
                raise InputError("This folder holds other files, too: delete it by hand.")
            with liveness.try_claim(run.folder) as claimed:
                if not claimed:
                    raise InputError("This run is training: stop it first, then delete it.")
                # Gone in one step for every reader; the removal of its files may then take its time, or be cut short.
                os.rename(run.folder, self.root / f"{_DELETED}{run.id}-{secrets.token_hex(2)}")
        self.sweep(0.0)

    def sweep(self, seconds: float = 3600.0) -> None:
        """Remove what deleting or making a run left behind, if it is older than so many seconds.

        A process that was killed leaves such folders; one that is at work has been for seconds only.
        """
        for rest in (*self.root.glob(f"{_DELETED}*"), *(self.root.glob(f"{_NEW}*") if seconds else ())):
            with suppress(OSError):
                if not seconds or time.time() - rest.stat().st_mtime > seconds:
                    shutil.rmtree(rest, ignore_errors=True)

    def queue(self) -> list[str]:
        """Ids of the queued runs, in the order in which they will be trained.

        Owners take turns: everybody's first run comes before anybody's second (one in training counts as its owner's
        first). Runs without an owner come as they were queued.
        """
        turns = Counter(self._owner(name) for name, status in self._statuses() if status.get("state") == "running")
        order = []
        for place, name in sorted(self._waiting()):
            owner = self._owner(name)
            order.append((turns[owner] if owner else 0, place, name))
            turns[owner] += 1
        return [name for *_, name in sorted(order)]

    def enqueue(self, folder: Path, *, step: int = 0, first: bool = False) -> None:
        """Put a run at the end of the queue, or before all others. The caller makes sure that no worker has it."""
        places = [place for place, _ in self._waiting()] or [0]
        write_status(folder, "queued", step=step, place=min(places) - 1 if first else max(places) + 1)

    def unfinished_titles(self, sha256: str) -> list[str]:
        """Titles of the runs that train on a text or may go on to: it should not be deleted under them."""
        return [run.title for run in unfinished_runs(self.list(), sha256)]

    @contextmanager
    def lock(self, timeout: float = 30.0) -> Iterator[None]:
        """Keep all others (threads and processes) from starting, settling or deleting runs of this store.

        Raises InputError if another holds it for longer than `timeout` seconds, or if the disk refuses.
        """
        lock = FileLock(self.root / _LOCK)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout, poll_interval=0.02)
        except Timeout as error:
            raise InputError("The runs are busy at this moment: try again.") from error
        except OSError as error:
            raise InputError(f"The folder of the runs cannot be written {disk_error_hint(error)}") from error
        try:
            yield
        finally:
            lock.release()

    def _waiting(self) -> Iterator[tuple[int, str]]:
        """Place (a number that grows with every run that is queued) and id of each queued run."""
        for name, status in self._statuses():
            if status.get("state") == "queued":
                place = status.get("place")
                yield (place if isinstance(place, int) else 0), name

    def _statuses(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each run's status.json as it was written."""
        for name in self._reader.ids():
            yield name, run_files.read_json(self.root / name / run_files.STATUS)

    def _owner(self, name: str) -> str:
        return str((self._reader.about(self.root / name) or {}).get("owner") or "")

    def _place(self, name: str) -> int | None:
        queue = self.queue()
        return queue.index(name) + 1 if name in queue else None

    def _add(self, about: dict[str, Any], queued: bool, weights: Path | None = None) -> Run:
        if self.root.name == run_files.PRETRAINED:
            raise InputError(f"{_STAYS}, and no run is made among them: choose another folder.")
        try:
            return self.get(self._write_new(about, queued, weights))
        except OSError as error:
            raise InputError(f"The run cannot be saved {disk_error_hint(error)}") from error

    def _write_new(self, about: dict[str, Any], queued: bool, weights: Path | None) -> str:
        """Write a new folder temporary and give it its name at the end, so that nobody meets it half-made."""
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
            return self._named(temporary, about["created"])
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _named(self, temporary: Path, created: float) -> str:
        """Give a folder that is complete its name, an id that no other run has; returns it."""
        while True:
            run_id = _new_id(created)
            try:
                os.rename(temporary, self.root / run_id)  # a folder with files is never replaced
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            else:
                fsync_folder(self.root)
                return run_id

    def _of(self, about: Mapping[str, Any]) -> list[Run]:
        """The runs of the same owner: titles tell them apart, and nothing of what others have."""
        return [run for run in self.list() if run.owner == about.get("owner", "")]


def _about(
    corpus: Corpus, model: ModelConfig, train: TrainConfig, *, preset: str | None, settings: dict[str, Any], owner: str
) -> dict[str, Any]:
    """What run.json says of a new run, but for its title and its parent."""
    settled = {**to_dict(model), **to_dict(train)}
    # Whoever is given the key may look at the run; it opens nothing else.
    owned = {"owner": owner, "look": secrets.token_hex(16)} if owner else {}
    return {
        "format": FORMAT,
        "title": "",
        "created": time.time(),
        "preset": preset,
        "settings": {name: settled[name] for name in settings},
        "corpus": {name: getattr(corpus, name) for name in ("name", "sha256", "characters", "vocab_size")},
        "model": to_dict(model),
        "train": to_dict(train),
        "parent": None,
        **owned,
    }


def _new_id(created: float) -> str:
    """A name for a run's folder: when it was made, and two random bytes."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(created))}-{secrets.token_hex(2)}"


def _preset(name: str | None) -> dict[str, Any]:
    return preset(name) if name is not None else {}


def _only_checkpoints(folder: Path) -> bool:
    with suppress(OSError):
        return all(
            re.fullmatch(r"(checkpoint|resume|means)_\w+\.safetensors|worker\.lock", p.name) for p in folder.iterdir()
        )
    return False
