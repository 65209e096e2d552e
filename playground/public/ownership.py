"""The stores of a public page as the current visitor sees them: shared items, their own, and those shared by link.

Handlers only get these stores, so none can forget a permission check. A run or text of another visitor fails with the
same error as for an id that never existed. The visitor is looked up at every call; outside of a request it is
ANONYMOUS, who sees the shared items and can change nothing.
"""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from threading import Lock
from typing import Any

from nanollm.data.corpus import CorpusInfo, CorpusStore, display_name
from nanollm.errors import InputError
from nanollm.runs import run_files
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.process.queue_times import queue_seconds_ahead
from nanollm.runs.store import RUN_NOT_FOUND, Run, RunStore, unfinished_runs
from playground.public import sentences
from playground.public.visitor import Visitor
from playground.services.catalogue import Viewer
from playground.services.lru_cache import LRUCache

LISTS = "shelves"  # folder for the visitors' text lists, named so by the first version
MAX_VIEW_TIMES = 1000  # runs of which the time of the last view is remembered


class VisitorRunStore:
    """A RunStore limited to the shipped runs, the visitor's own, and those whose shared link they opened.

    Methods of the same name do the same as RunStore's, with the same options, and raise the same errors.
    """

    def __init__(self, all_runs: RunStore, visitor: Callable[[], Visitor]) -> None:
        self.all_runs = all_runs
        self.visitor = visitor
        self.root, self.limits = all_runs.root, all_runs.limits
        self.require = all_runs.require
        self._queue_lock = Lock()
        self._viewed: LRUCache[float] = LRUCache(MAX_VIEW_TIMES)

    def list(self) -> list[Run]:
        """Return all runs that the visitor may view."""
        visitor = self.visitor()
        return [run for run in self.all_runs.list() if can_view(visitor, run)]

    def get(self, run_id: str) -> Run:
        """Return a run that the visitor may view. Raises InputError for any other id."""
        with suppress(InputError):
            run = self.all_runs.get(run_id)
            if can_view(self.visitor(), run):
                self._viewed.put(run.id, time.monotonic())
                return run
        raise InputError(RUN_NOT_FOUND)

    def seconds_since_viewed(self, run_id: str) -> float:
        """Return the seconds since any visitor viewed a run; infinity if that is not known."""
        viewed = self._viewed.peek(run_id)
        return math.inf if viewed is None else time.monotonic() - viewed

    def require_own(self, run_id: str) -> Run:
        """Return a run that the visitor may change. Raises InputError for another visitor's.

        Shipped runs pass: the methods of RunStore reject changing those with their own error.
        """
        run = self.get(run_id)
        if not (run.read_only or owns(self.visitor(), run)):
            raise InputError(sentences.VIEW_ONLY)
        return run

    def create(self, **options: Any) -> Run:
        """Create a run of the visitor. Also raises InputError for too many runs, or one in the queue already."""
        with self.reserve_queue_place(new_runs=1) as owner:
            return self.all_runs.create(**options, owner=owner)

    def fork(self, parent: Run, **options: Any) -> Run:
        """Fork one of the visitor's runs, or a shipped one."""
        parent = self.require_own(parent.id)
        with self.reserve_queue_place(new_runs=1) as owner:
            return self.all_runs.fork(parent, **options, owner=owner)

    def rename(self, run_id: str, title: str) -> None:
        """Rename one of the visitor's runs."""
        self.all_runs.rename(self.require_own(run_id).id, title)

    def delete(self, run_id: str) -> None:
        """Delete one of the visitor's runs."""
        self.all_runs.delete(self.require_own(run_id).id)

    def queue(self) -> list[str]:
        """Return the ids of the queued runs that the visitor may view, in queue order."""
        visible = {run.id for run in self.list()}
        return [run_id for run_id in self.all_runs.queue() if run_id in visible]

    def unfinished_titles(self, sha256: str) -> list[str]:
        """Return the titles of the visitor's runs that still need a text."""
        return [run.title for run in unfinished_runs(self.list(), sha256)]

    @contextmanager
    def reserve_queue_place(self, new_runs: int = 0) -> Iterator[str]:
        """Check the visitor's limits and yield their owner id; no other run is queued until the block ends.

        `new_runs` is the number of runs about to be added. Raises InputError if a limit is reached.
        """
        visitor = self.visitor()
        if not visitor.owner:
            raise InputError(sentences.NO_VISITOR)
        with self._queue_lock:
            own = [run for run in self.all_runs.list() if owns(visitor, run)]
            queued = [run for run in own if run.status().state == "queued" and not run.alive()]
            if self.limits.runs is not None and len(own) + new_runs > self.limits.runs:
                raise InputError(sentences.MAX_RUNS.format(count=len(own)))
            if self.limits.queued is not None and len(queued) >= self.limits.queued:
                raise InputError(sentences.ALREADY_QUEUED)
            self.limits.require_queue(queue_seconds_ahead(self.all_runs))
            yield visitor.owner


class VisitorLauncher:
    """A Launcher that starts, pauses, stops and resumes only the visitor's own runs, by methods of the same names."""

    def __init__(self, launcher: Launcher, runs: VisitorRunStore) -> None:
        self.launcher = launcher
        self._runs = runs
        self.watch, self.close, self.suspend = launcher.watch, launcher.close, launcher.suspend

    def start(self, run_id: str) -> None:
        self.launcher.start(self._runs.require_own(run_id).id)

    def pause(self, run_id: str) -> None:
        self.launcher.pause(self._runs.require_own(run_id).id)

    def stop(self, run_id: str) -> None:
        self.launcher.stop(self._runs.require_own(run_id).id)

    def resume(self, run_id: str) -> None:
        """Resume a run, which takes a place in the queue like a new one."""
        run = self._runs.require_own(run_id)
        if run.read_only or run.status().active:
            self.launcher.resume(run.id)
        else:
            with self._runs.reserve_queue_place():
                self.launcher.resume(run.id)


def _of_accessible_text(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a VisitorCorpusStore that calls one of CorpusStore for a text that the visitor may use."""

    @wraps(method)
    def checked(self: VisitorCorpusStore, sha256: str, *arguments: Any) -> Any:
        return method(self.all_corpora, self.get(sha256).sha256, *arguments)

    return checked


class VisitorCorpusStore:
    """A CorpusStore limited to shared texts and those that the visitor added.

    Methods of the same name do the same as CorpusStore's. Each text is stored once, under its digest. A text that a
    visitor added has an entry LISTS/<owner>/<sha256>.json with the name that they gave it. Knowing the digest of
    another visitor's text does not give access to it.
    """

    def __init__(self, all_corpora: CorpusStore, runs: VisitorRunStore) -> None:
        self.all_corpora = all_corpora
        self.root, self.limits = all_corpora.root, all_corpora.limits
        self._runs = runs

    def add(self, data: bytes, name: str, *, encoding: str | None = None, builtin: str = "") -> CorpusInfo:
        """Add a text. Also raises InputError if the visitor has the maximum number of texts."""
        self._require_room()
        return self._write_entry(self.all_corpora.add(data, name, encoding=encoding, builtin=builtin))

    def add_file(self, path: str | Path, name: str | None = None, *, encoding: str | None = None) -> CorpusInfo:
        """Add a file. Raises InputError like add()."""
        self._require_room()
        return self._write_entry(self.all_corpora.add_file(path, name, encoding=encoding))

    def add_text(self, text: str, name: str, *, builtin: str = "") -> CorpusInfo:
        """Add a string. Raises InputError like add()."""
        self._require_room()
        return self._write_entry(self.all_corpora.add_text(text, name, builtin=builtin))

    def list(self) -> list[CorpusInfo]:
        """Return the shared texts, then the visitor's, newest first."""
        shared = [info for info in self.all_corpora.list() if is_shared(info)]
        own = [info for path in self._entry_paths() if (info := self._read_entry(path)) is not None]
        return [*shared, *sorted(own, key=lambda info: -info.added)]

    def get(self, sha256: str) -> CorpusInfo:
        """Return a shared text, the visitor's own, or that of a run which they may fork. Else raises InputError."""
        with suppress(InputError):
            info = self.all_corpora.get(sha256)
            if is_shared(info):
                return info
            if (entry := self._read_entry(self._path(info.sha256))) is not None:
                return entry
            for run in self._runs.list():
                if run.corpus.get("sha256") == sha256 and (run.read_only or owns(self._runs.visitor(), run)):
                    return replace(info, name=str(run.corpus.get("name")), added=run.created)
        raise InputError(sentences.TEXT_NOT_FOUND)

    read = _of_accessible_text(CorpusStore.read)
    page = _of_accessible_text(CorpusStore.page)
    frequencies = _of_accessible_text(CorpusStore.frequencies)
    unusual = _of_accessible_text(CorpusStore.unusual)
    entropy = _of_accessible_text(CorpusStore.entropy)
    encoded = _of_accessible_text(CorpusStore.encoded)
    baselines = _of_accessible_text(CorpusStore.baselines)

    def rename(self, sha256: str, name: str) -> CorpusInfo:
        """Rename a text in the visitor's list. Raises InputError if it is not in it."""
        info = self._require_own(sha256)
        return self._write_entry(replace(info, name=display_name(name)), info.added)

    def delete(self, sha256: str, *, needed_by: Sequence[str] = ()) -> None:
        """Remove a text from the visitor's list, and from the disk if no one else has it. Raises like rename()."""
        info = self._require_own(sha256)
        if needed_by:
            raise InputError(sentences.TEXT_IN_USE.format(run=needed_by[0]))
        self._path(info.sha256).unlink(missing_ok=True)
        used = any(run.corpus.get("sha256") == sha256 for run in self._runs.all_runs.list())
        if not used and not any(self.root.glob(f"{LISTS}/*/{info.sha256}.json")):
            self.all_corpora.delete(info.sha256)

    def _require_own(self, sha256: str) -> CorpusInfo:
        info = self.get(sha256)
        if is_shared(info):
            raise InputError(sentences.TEXT_IS_SHARED)
        entry = self._read_entry(self._path(info.sha256))
        if entry is None:
            raise InputError(sentences.TEXT_NOT_YOURS)
        return entry

    def _require_room(self) -> None:
        if not self._runs.visitor().owner:
            raise InputError(sentences.NO_VISITOR)
        count = len(self._entry_paths())
        if self.limits.texts is not None and count >= self.limits.texts:
            raise InputError(sentences.MAX_TEXTS.format(count=count))

    def _write_entry(self, info: CorpusInfo, added: float | None = None) -> CorpusInfo:
        """Add a stored text to the visitor's list. Shared texts need no entry."""
        if is_shared(info):
            return info
        path = self._path(info.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        info = replace(info, added=time.time() if added is None else added)
        run_files.write_json(path, {"name": info.name, "added": info.added})
        return info

    def _read_entry(self, path: Path) -> CorpusInfo | None:
        """Return the text of an entry, with the visitor's name for it; None if the entry or the text is missing."""
        entry = run_files.read_json(path) if self._runs.visitor().owner else {}
        with suppress(InputError, KeyError, TypeError, ValueError):
            return replace(self.all_corpora.get(path.stem), name=str(entry["name"]), added=float(entry["added"]))
        return None

    def _entry_paths(self) -> list[Path]:
        return list(self._folder().glob("*.json")) if self._runs.visitor().owner else []

    def _folder(self) -> Path:
        return self.root / LISTS / self._runs.visitor().owner

    def _path(self, sha256: str) -> Path:
        return self._folder() / f"{sha256}.json"


def viewer(visitor: Visitor) -> Viewer:
    """Return the visitor's permissions for the catalogue."""
    return Viewer(visitor.owner, partial(can_view, visitor), partial(owns, visitor))


def owns(visitor: Visitor, run: Run) -> bool:
    """Return whether a run belongs to the visitor."""
    return bool(visitor.owner) and hmac.compare_digest(visitor.owner, run.owner)


def can_view(visitor: Visitor, run: Run) -> bool:
    """Return whether a visitor may view a run: it is shipped, their own, or they have its shared link."""
    if run.read_only or owns(visitor, run):
        return True
    return bool(run.view_key) and hmac.compare_digest(visitor.view_keys.get(run.id, ""), run.view_key)


def is_shared(info: CorpusInfo) -> bool:
    """Return whether all visitors may use a text: it is bundled or built in."""
    return info.bundled or bool(info.builtin)
