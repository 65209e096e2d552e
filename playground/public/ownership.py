"""What a visitor of a public page may see and touch: the stores of the house, seen through who asks.

A handler cannot forget to check whose something is, because it only ever meets these: a run or a text of somebody else
is not there, in the very words in which one that never was is not there. `who` is asked at every call; outside of a
request it is nobody, who sees what came along and can change nothing.
"""

from __future__ import annotations

import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from nanollm.data.corpus import CorpusInfo, CorpusStore, display_name
from nanollm.errors import InputError
from nanollm.runs import folder as names
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.process.queue_times import line_seconds
from nanollm.runs.store import GONE, Corpora, Corpus, Run, RunStore, needing
from playground.public.visitor import Visitor

MOST_OPENED = 1000  # runs of which is remembered when somebody looked at them
NOBODY = "This browser did not say who it is, so nothing can be kept for it: reload the page."
LOOKED = "This run is somebody else's: you can look at it, but not change it."
NO_TEXT = "This text is no longer here: add it again, or choose another one."
EVERYBODYS = "This text is there for everybody: it stays as it is."


class VisitorStore:
    """A RunStore of the runs that came along, the visitor's own, and those that a link lets them look at."""

    def __init__(self, house: RunStore, who: Callable[[], Visitor]) -> None:
        self.house = house
        self.who = who
        self.root, self.limits = house.root, house.limits
        self.require = house.require
        self._one_at_a_time = Lock()
        self._opened: OrderedDict[str, float] = OrderedDict()

    def list(self) -> list[Run]:
        """As RunStore's."""
        visitor = self.who()
        return [run for run in self.house.list() if sees(visitor, run)]

    def get(self, run_id: str) -> Run:
        """As RunStore's: what is somebody else's is not here."""
        with suppress(InputError):
            run = self.house.get(run_id)
            if sees(self.who(), run):
                self._opened[run.id] = time.monotonic()
                self._opened.move_to_end(run.id)
                while len(self._opened) > MOST_OPENED:
                    self._opened.popitem(last=False)
                return run
        raise InputError(GONE)

    def lately(self, run_id: str) -> float:
        """Seconds since somebody looked at a run; infinity if nobody has for long."""
        return time.monotonic() - self._opened.get(run_id, -math.inf)

    def own(self, run_id: str) -> Run:
        """The run if it is the visitor's to change (or the house's, which says itself what stays as it is)."""
        run = self.get(run_id)
        if not (run.read_only or owns(self.who(), run)):
            raise InputError(LOOKED)
        return run

    def create(self, *, settings: Mapping[str, Any], corpus: Corpus, preset: str | None = None) -> Run:
        """As RunStore's. Raises InputError also for somebody who has enough runs, or one in line already."""
        with self.place_in_line(more=1) as owner:
            return self.house.create(settings=settings, corpus=corpus, preset=preset, owner=owner)

    def fork(
        self,
        parent: Run,
        *,
        corpora: Corpora,
        settings: Mapping[str, Any],
        corpus: Corpus | None = None,
        step: int | None = None,
    ) -> Run:
        """As RunStore's, of what is the visitor's own or came along."""
        parent = self.own(parent.id)
        with self.place_in_line(more=1) as owner:
            return self.house.fork(
                parent, corpora=corpora, settings=settings, corpus=corpus, step=step, owner=owner
            )  # fmt: skip

    def rename(self, run_id: str, title: str) -> None:
        """As RunStore's."""
        self.house.rename(self.own(run_id).id, title)

    def delete(self, run_id: str) -> None:
        """As RunStore's."""
        self.house.delete(self.own(run_id).id)

    def queue(self) -> list[str]:
        """Ids of the visitor's queued runs."""
        mine = {run.id for run in self.list()}
        return [run_id for run_id in self.house.queue() if run_id in mine]

    def needing(self, sha256: str) -> list[str]:
        """As RunStore's, of the visitor's own runs."""
        return [run.title for run in needing(self.list(), sha256)]

    @contextmanager
    def place_in_line(self, more: int = 0) -> Iterator[str]:
        """While inside, the visitor may queue one run (`more`: that is not kept yet). Yields who owns it."""
        visitor = self.who()
        if not visitor.owner:
            raise InputError(NOBODY)
        with self._one_at_a_time:
            mine = [run for run in self.house.list() if owns(visitor, run)]
            waiting = [run for run in mine if run.status().state == "queued" and not run.alive()]
            if self.limits.runs is not None and len(mine) + more > self.limits.runs:
                raise InputError(f"You keep {len(mine)} runs here, and no more are possible: delete one first.")
            if self.limits.queued is not None and len(waiting) >= self.limits.queued:
                raise InputError("A run of yours is in line already: wait until it trains, or stop it.")
            self.limits.require_queue(line_seconds(self.house))
            yield visitor.owner


class VisitorLauncher:
    """A Launcher whose four verbs are for one's own runs."""

    def __init__(self, house: Launcher, store: VisitorStore) -> None:
        self.house = house
        self._store = store
        self.watch, self.close, self.suspend = house.watch, house.close, house.suspend

    def start(self, run_id: str) -> None:
        """As Launcher's."""
        self.house.start(self._store.own(run_id).id)

    def pause(self, run_id: str) -> None:
        """As Launcher's."""
        self.house.pause(self._store.own(run_id).id)

    def stop(self, run_id: str) -> None:
        """As Launcher's."""
        self.house.stop(self._store.own(run_id).id)

    def resume(self, run_id: str) -> None:
        """As Launcher's; a run that goes on needs a place in line like any other."""
        run = self._store.own(run_id)
        if run.read_only or run.status().active:
            self.house.resume(run.id)
        else:
            with self._store.place_in_line():
                self.house.resume(run.id)


class Shelf:
    """A CorpusStore of the texts that are there for everybody and of those that the visitor brought.

    Each text is kept once in the house, under its digest; what a visitor brought is an entry on their shelf,
    shelves/<owner>/<sha256>.json, with the name that they gave it. To know a digest is not to have its text.
    """

    def __init__(self, house: CorpusStore, store: VisitorStore) -> None:
        self.house = house
        self.root, self.limits = house.root, house.limits
        self._store = store

    def add(self, data: bytes, name: str, *, encoding: str | None = None, builtin: str = "") -> CorpusInfo:
        """As CorpusStore's. Raises InputError also for somebody who keeps enough texts."""
        self._require_room()
        return self._put(self.house.add(data, name, encoding=encoding, builtin=builtin))

    def add_file(self, path: str | Path, name: str | None = None, *, encoding: str | None = None) -> CorpusInfo:
        """As CorpusStore's."""
        self._require_room()
        return self._put(self.house.add_file(path, name, encoding=encoding))

    def add_text(self, text: str, name: str, *, builtin: str = "") -> CorpusInfo:
        """As CorpusStore's."""
        self._require_room()
        return self._put(self.house.add_text(text, name, builtin=builtin))

    def list(self) -> list[CorpusInfo]:
        """As CorpusStore's."""
        common = [info for info in self.house.list() if for_everybody(info)]
        brought = [info for path in self._entries() if (info := self._entry(path)) is not None]
        return [*common, *sorted(brought, key=lambda info: -info.added)]

    def get(self, sha256: str) -> CorpusInfo:
        """A text on the shelf, or of a run that the visitor may go on from. Raises InputError for any other."""
        with suppress(InputError):
            info = self.house.get(sha256)
            if for_everybody(info):
                return info
            if (entry := self._entry(self._path(info.sha256))) is not None:
                return entry
            for run in self._store.list():
                if run.corpus.get("sha256") == sha256 and (run.read_only or owns(self._store.who(), run)):
                    return replace(info, name=str(run.corpus.get("name")), added=run.created)
        raise InputError(NO_TEXT)

    def read(self, sha256: str) -> str:
        """As CorpusStore's."""
        return self.house.read(self.get(sha256).sha256)

    def page(self, sha256: str, start: int, length: int) -> str:
        """As CorpusStore's."""
        return self.house.page(self.get(sha256).sha256, start, length)

    def frequencies(self, sha256: str) -> list[tuple[str, int]]:
        """As CorpusStore's."""
        return self.house.frequencies(self.get(sha256).sha256)

    def odd(self, sha256: str) -> list[tuple[str, int]]:
        """As CorpusStore's."""
        return self.house.odd(self.get(sha256).sha256)

    def entropy(self, sha256: str) -> float:
        """As CorpusStore's."""
        return self.house.entropy(self.get(sha256).sha256)

    def encoded(self, sha256: str) -> Any:
        """As CorpusStore's."""
        return self.house.encoded(self.get(sha256).sha256)

    def baselines(self, sha256: str, validation_fraction: float = 0.1) -> Any:
        """As CorpusStore's."""
        return self.house.baselines(self.get(sha256).sha256, validation_fraction)

    def rename(self, sha256: str, name: str) -> CorpusInfo:
        """Give a text another name on this shelf. Raises InputError if it is not on it."""
        info = self._own(sha256)
        return self._put(replace(info, name=display_name(name)), info.added)

    def delete(self, sha256: str, *, needed_by: Sequence[str] = ()) -> None:
        """Take a text off the shelf, and out of the house where nobody else has it. Raises InputError as rename()."""
        info = self._own(sha256)
        if needed_by:
            raise InputError(f"The run {needed_by[0]!r} still needs this text: stop or delete that run first.")
        self._path(info.sha256).unlink(missing_ok=True)
        used = any(run.corpus.get("sha256") == sha256 for run in self._store.house.list())
        if not used and not any(self.root.glob(f"shelves/*/{info.sha256}.json")):
            self.house.delete(info.sha256)

    def _own(self, sha256: str) -> CorpusInfo:
        info = self.get(sha256)
        if for_everybody(info):
            raise InputError(EVERYBODYS)
        entry = self._entry(self._path(info.sha256))
        if entry is None:
            raise InputError("This text is not on your list: only who brought it can change that.")
        return entry

    def _require_room(self) -> None:
        if not self._store.who().owner:
            raise InputError(NOBODY)
        kept = len(self._entries())
        if self.limits.texts is not None and kept >= self.limits.texts:
            raise InputError(f"You keep {kept} texts here, and no more are possible: delete one first.")

    def _put(self, info: CorpusInfo, added: float | None = None) -> CorpusInfo:
        """The entry for a text that the house has; one that is there for everybody needs none."""
        if for_everybody(info):
            return info
        path = self._path(info.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        info = replace(info, added=time.time() if added is None else added)
        names.write_json(path, {"name": info.name, "added": info.added})
        return info

    def _entries(self) -> list[Path]:
        return list(self._folder().glob("*.json")) if self._store.who().owner else []

    def _entry(self, path: Path) -> CorpusInfo | None:
        """What an entry says of its text; None if either is gone."""
        entry = names.read_json(path) if self._store.who().owner else {}
        with suppress(InputError, KeyError, TypeError, ValueError):
            return replace(self.house.get(path.stem), name=str(entry["name"]), added=float(entry["added"]))
        return None

    def _folder(self) -> Path:
        return self.root / "shelves" / self._store.who().owner

    def _path(self, sha256: str) -> Path:
        return self._folder() / f"{sha256}.json"


def owns(visitor: Visitor, run: Run) -> bool:
    """Whether a run is the visitor's own."""
    return bool(visitor.owner) and hmac.compare_digest(visitor.owner, run.owner)


def sees(visitor: Visitor, run: Run) -> bool:
    """Whether a visitor may look at a run: it came along, is their own, or they have its key."""
    if run.read_only or owns(visitor, run):
        return True
    return bool(run.look) and hmac.compare_digest(visitor.looks.get(run.id, ""), run.look)


def for_everybody(info: CorpusInfo) -> bool:
    """Whether a text is there for everybody."""
    return info.bundled or bool(info.builtin)
