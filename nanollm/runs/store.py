"""All runs of a folder: find, make, name and delete them. Needs no torch, so that a page lists runs at once."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from nanollm.config import ModelConfig, TrainConfig, make_configs, preset, require_enough_text, to_dict
from nanollm.errors import InputError
from nanollm.limits import LOCAL, Limits
from nanollm.memory import require_memory
from nanollm.runs import folder as names
from nanollm.runs import liveness, titles
from nanollm.runs.fork import inherited, require_known
from nanollm.runs.log import EventLog
from nanollm.runs.record import (
    FORMAT,
    Curve,
    Parent,
    Run,
    Snapshot,
    Status,
    foreign,
    read_about,
    read_vocabulary,
    write_status,
)

__all__ = ["Corpora", "Corpus", "CorpusRef", "Curve", "Parent", "Run", "RunStore", "Snapshot", "Status"]

GONE = "This run is no longer here: choose another one, or start a new one."
_STAYS = "The models that come with nano-llm stay as they are"
_SHIPPED_ID = f"{names.SHIPPED}-"
_LOCK = ".lock"
_DELETED = ".deleted-"
_NEW = ".new-"


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


class Corpora(Protocol):
    """Where a run that continues another finds its text; CorpusStore is that."""

    def get(self, sha256: str) -> Corpus: ...
    def frequencies(self, sha256: str) -> Iterable[tuple[str, int]]: ...


@dataclass(frozen=True)
class CorpusRef:
    """A text as run.json names it: found again by its digest, shown by its name."""

    name: str
    sha256: str
    characters: int
    vocab_size: int


class RunStore:
    """The runs under one folder. Holds nothing but caches: any number of processes may look at the same folder."""

    def __init__(self, root: Path | str = "checkpoints", limits: Limits = LOCAL) -> None:
        self.root = Path(root).absolute()
        self.limits = limits
        self._logs: dict[str, EventLog] = {}
        self._abouts: dict[str, tuple[tuple[int, ...], dict[str, Any] | None]] = {}
        self._guard = threading.Lock()

    def list(self) -> list[Run]:
        """People's runs, newest first (folders that hold only checkpoints too), then those that are shipped."""
        brought, along = self._names(), self._shipped()
        own = [run for name in brought if (run := self._run(name)) is not None]
        shipped = [run for name in along if (run := self._run(name)) is not None]
        self._forget({*brought, *along})
        return [
            *sorted(own, key=lambda run: (run.created, run.id), reverse=True),
            *sorted(shipped, key=lambda run: (run.model_config.num_parameters, run.id), reverse=True),
        ]

    def get(self, run_id: str) -> Run:
        """Raises InputError if there is no such run: in the same words for one that went and one that never was."""
        run = self._run(run_id) if _is_name(run_id) and run_id != names.SHIPPED else None
        if run is None:
            raise InputError((_is_name(run_id) and foreign(self._folder(run_id))) or GONE)
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
        if parent.bare:
            raise InputError("This folder holds only checkpoints: they can be sampled from, but not trained further.")
        snapshot = parent.snapshot(step)
        model, train = inherited(parent, settings)
        vocabulary = read_vocabulary(snapshot.path)
        if not vocabulary:
            raise InputError("This snapshot cannot be read any more: choose another one.")
        corpus = corpus or corpora.get(str(parent.corpus.get("sha256")))
        require_known((c for c, _ in corpora.frequencies(corpus.sha256)), vocabulary)
        self.require(corpus, model, train)
        settings = {**parent.settings, **settings}
        about = _about(corpus, model, train, preset=parent.preset, settings=settings, owner=owner)
        about["parent"] = {"run": parent.id, "title": parent.title, "step": snapshot.step}
        about["title"] = titles.clean(title) or titles.of_fork(about, parent, self._of(about))
        return self._add(about, queued, snapshot.path)

    def require(self, corpus: Corpus, model: ModelConfig, train: TrainConfig) -> None:
        """Raise InputError unless a run could be trained: on so short a text, in so little memory, in these limits."""
        require_enough_text(corpus.characters, model, train)
        self.limits.require_run(model, train)
        require_memory(model, train)

    def admit(self, aside: Path) -> Run:
        """The run that was put together in a hidden folder under the root, from now on among the others.

        Raises InputError where no run may be made, OSError if the disk refuses.
        """
        if self.root.name == names.SHIPPED:
            raise InputError(f"{_STAYS}, and no run is made among them: choose another folder.")
        run_id = _new_id(time.time())
        os.rename(aside, self.root / run_id)
        names.sync_folder(self.root)
        return self.get(run_id)

    def rename(self, run_id: str, title: str) -> None:
        """Give a run another title. Raises InputError if it is gone, or the title has nothing to show."""
        title = titles.clean(title)
        if not title:
            raise InputError("A title needs at least one visible character.")
        with self.lock():
            run = self.get(run_id)
            if run.read_only:
                raise InputError(f"{_STAYS}: this one cannot be renamed.")
            if run.bare:
                raise InputError("This folder holds only checkpoints: rename the folder itself.")
            path = run.folder / names.RUN
            names.write_json(path, {**names.read_json(path), "title": title})

    def delete(self, run_id: str) -> None:
        """Remove a run for good. Raises InputError if it is gone, or while it trains."""
        with self.lock():
            run = self.get(run_id)
            if run.read_only:
                raise InputError(f"{_STAYS}: this one cannot be deleted.")
            if run.bare and not _only_checkpoints(run.folder):
                raise InputError("This folder holds other files, too: delete it by hand.")
            with liveness.claimed(run.folder) as claimed:
                if not claimed:
                    raise InputError("This run is training: stop it first, then delete it.")
                # Gone in one step for every reader; the removal of its files may then take its time, or be cut short.
                os.rename(run.folder, self.root / f"{_DELETED}{run.id}-{secrets.token_hex(2)}")
        with self._guard:
            self._logs.pop(run.id, None)
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

    def needing(self, sha256: str) -> list[str]:
        """Titles of the runs that train on a text or may go on to: it should not be deleted under them."""
        return [run.title for run in needing(self.list(), sha256)]

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
            why = error.strerror or error
            raise InputError(f"The folder of the runs cannot be written ({why}): make room first.") from error
        try:
            yield
        finally:
            lock.release()

    def _forget(self, present: set[str]) -> None:
        """Give up what is remembered of runs that are gone: whoever deleted them need not have been this process."""
        with self._guard:
            for name in self._logs.keys() - present:
                del self._logs[name]
            for folder in self._abouts.keys() - {str(self._folder(name)) for name in present}:
                del self._abouts[folder]

    def _names(self) -> list[str]:
        """Folders that people's runs may lie in."""
        return [name for name in _folders(self.root) if name != names.SHIPPED]

    def _shipped(self) -> list[str]:
        """Ids of the runs that may lie among the shipped ones."""
        return [f"{_SHIPPED_ID}{name}" for name in _folders(self.root / names.SHIPPED)]

    def _waiting(self) -> Iterator[tuple[int, str]]:
        """Place (a number that grows with every run that is queued) and id of each queued run."""
        for name, status in self._statuses():
            if status.get("state") == "queued":
                place = status.get("place")
                yield (place if isinstance(place, int) else 0), name

    def _statuses(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each run's status.json as it was written."""
        for name in self._names():
            yield name, names.read_json(self.root / name / names.STATUS)

    def _owner(self, name: str) -> str:
        return str((self._about(self.root / name) or {}).get("owner") or "")

    def _run(self, name: str) -> Run | None:
        folder = self._folder(name)
        about = self._about(folder)
        if about is None:
            return None
        with self._guard:
            log = self._logs.setdefault(name, EventLog(folder / names.METRICS))
        try:
            return Run(folder, about, log, lambda: self._place(name))
        except (TypeError, ValueError):  # somebody's hand in run.json
            return None

    def _folder(self, run_id: str) -> Path:
        """Where a run of this id would lie: the id of a shipped one begins with the name of their folder."""
        name = run_id.removeprefix(_SHIPPED_ID)
        shipped = self.root / names.SHIPPED / name
        return shipped if name != run_id and _is_name(name) and shipped.is_dir() else self.root / run_id

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
            known = self._abouts.get(str(folder))
        if known is None or known[0] != stamp:
            known = (stamp, read_about(folder))
            with self._guard:
                self._abouts[str(folder)] = known
        return known[1]

    def _place(self, name: str) -> int | None:
        queue = self.queue()
        return queue.index(name) + 1 if name in queue else None

    def _add(self, about: dict[str, Any], queued: bool, weights: Path | None = None) -> Run:
        if self.root.name == names.SHIPPED:
            raise InputError(f"{_STAYS}, and no run is made among them: choose another folder.")
        try:
            return self.get(self._write_new(about, queued, weights))
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"The run cannot be saved ({why}): make room, then try again.") from error

    def _write_new(self, about: dict[str, Any], queued: bool, weights: Path | None) -> str:
        """Write a new folder aside and give it its name at the end, so that nobody meets it half-made."""
        self.root.mkdir(parents=True, exist_ok=True)
        run_id = _new_id(about["created"])
        aside = self.root / f"{_NEW}{run_id}-{os.getpid()}"
        try:
            aside.mkdir()
            (aside / names.CONTROL).mkdir()
            names.write_json(aside / names.RUN, about)
            if weights is not None:
                names.write_copy(aside / names.PARENT, weights)
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

    def _of(self, about: Mapping[str, Any]) -> list[Run]:
        """The runs of the same owner: titles tell them apart, and nothing of what others have."""
        return [run for run in self.list() if run.owner == about.get("owner", "")]


def needing(runs: Iterable[Run], sha256: str) -> list[Run]:
    """Those of the runs that train on a text or may go on to."""
    return [run for run in runs if run.corpus.get("sha256") == sha256 and _unfinished(run)]


def _about(
    corpus: Corpus, model: ModelConfig, train: TrainConfig, *, preset: str | None, settings: dict[str, Any], owner: str
) -> dict[str, Any]:
    """What run.json says of a new run, but for its title and its parent."""
    # Whoever is given the key may look at the run; it opens nothing else.
    owned = {"owner": owner, "look": secrets.token_hex(16)} if owner else {}
    return {
        "format": FORMAT,
        "title": "",
        "created": time.time(),
        "preset": preset,
        "settings": settings,
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


def _is_name(name: Any) -> bool:
    """Whether this can be the name of a folder right under the root: never hidden, never a path."""
    return isinstance(name, str) and re.fullmatch(r"\w[\w .+=,-]{0,99}", name) is not None


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if _is_name(entry.name) and entry.is_dir()]
    except OSError:
        return []


def _only_checkpoints(folder: Path) -> bool:
    with suppress(OSError):
        return all(
            re.fullmatch(r"(checkpoint|resume|means)_\w+\.safetensors|worker\.lock", p.name) for p in folder.iterdir()
        )
    return False


def _unfinished(run: Run) -> bool:
    return not run.bare and run.status().state not in ("completed", "diverged")
