"""A public page's disk within bounds: what is left over goes, and where room is needed the oldest goes first."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.runs import run_files
from nanollm.runs.store import Run, RunStore
from playground.public.ownership import for_everybody

log = logging.getLogger("nanollm.page")

EVERY_SECONDS = 60.0
LEFT_OVER_SECONDS = 3600.0  # a text that nobody has, a file that somebody uploaded
SENT_SECONDS = 120.0  # an uploaded file, where room is needed
FORGOTTEN_SECONDS = 86_400.0  # texts on the shelf of somebody who keeps no run
OPENED_SECONDS = 600.0  # a run that somebody looked at so lately stays


class Janitor:
    """Sweeps the runs and texts of the house, and the folder of uploads, once a minute."""

    def __init__(
        self,
        house: RunStore,
        texts: CorpusStore,
        uploads: Path,
        lately: Callable[[str], float] = lambda run_id: float("inf"),
    ) -> None:
        """`lately` tells how many seconds ago somebody looked at a run."""
        self._house = house
        self._texts = texts
        self._uploads = uploads
        self._lately = lately
        self._closed = threading.Event()

    def watch(self) -> None:
        """Sweep now and every minute, in a thread of its own, until close()."""
        threading.Thread(target=self._watch, name="janitor", daemon=True).start()

    def close(self) -> None:
        """End watch()."""
        self._closed.set()

    def sweep(self) -> None:
        """Remove what nobody has any more; then, beyond the quota, the oldest of what people keep, run or text."""
        self._house.sweep()
        _remove_old_files(self._uploads, LEFT_OVER_SECONDS)
        runs = [run for run in self._house.list() if not run.read_only]
        self._forget_shelves({run.owner for run in runs})
        self._remove_unused_texts()
        limit = self._house.limits.disk_bytes
        if limit is None:
            return
        if self.used() > limit:  # what was sent has long been kept as a text, or refused
            _remove_old_files(self._uploads, SENT_SECONDS)
        oldest = self._oldest_first(runs)
        while self.used() > limit and (remove := next(oldest, None)) is not None:
            remove()

    def used(self) -> int:
        """Bytes of what people trained and brought; what came along is not counted."""
        shipped = self._house.root / run_files.PRETRAINED
        return sum(_size(folder, but=shipped) for folder in (self._house.root, self._texts.root, self._uploads))

    def _watch(self) -> None:
        while True:
            try:
                self.sweep()
            except Exception:  # one bad file must not end the sweeping
                log.exception("the disk could not be swept")
            if self._closed.wait(EVERY_SECONDS):
                return

    def _oldest_first(self, runs: list[Run]) -> Iterator[Callable[[], None]]:
        """Ways to make room. A run that trains, waits to, or was looked at lately stays, with its text."""
        kept = [run for run in runs if run.status().active or self._lately(run.id) < OPENED_SECONDS]
        needed = {run.corpus.get("sha256") for run in kept}
        found: list[tuple[float, Callable[[], None]]] = []
        for run in runs:
            if run not in kept:
                found.append((run.created, lambda run_id=run.id: self._delete(run_id)))
        for entry in self._entries():
            if entry.stem not in needed:
                found.append((_modified(entry), lambda entry=entry: self._take_off(entry)))
        for _, remove in sorted(found, key=lambda one: one[0]):
            yield remove

    def _delete(self, run_id: str) -> None:
        with suppress(InputError):  # it has just begun to train, or is gone already
            sha256 = str(self._house.get(run_id).corpus.get("sha256"))
            self._house.delete(run_id)
            log.info("run %s was removed to make room", run_id)
            self._release(sha256)

    def _take_off(self, entry: Path) -> None:
        entry.unlink(missing_ok=True)
        self._release(entry.stem)

    def _release(self, sha256: str) -> None:
        """Remove a text unless somebody has it."""
        with suppress(InputError):
            if sha256 not in self._used_texts() and not for_everybody(self._texts.get(sha256)):
                self._texts.delete(sha256)

    def _used_texts(self) -> set[str]:
        return {entry.stem for entry in self._entries()} | {str(r.corpus.get("sha256")) for r in self._house.list()}

    def _forget_shelves(self, owners: set[str]) -> None:
        for entry in self._entries():
            if entry.parent.name not in owners and time.time() - _modified(entry) > FORGOTTEN_SECONDS:
                entry.unlink(missing_ok=True)
        for shelf in self._texts.root.glob("shelves/*"):
            with suppress(OSError):  # not empty
                shelf.rmdir()

    def _remove_unused_texts(self) -> None:
        """Texts on no shelf and of no run; whoever has just brought one has yet to put it on the shelf."""
        used = self._used_texts()
        for info in self._texts.list():
            if info.sha256 not in used and time.time() - info.added > LEFT_OVER_SECONDS:
                self._release(info.sha256)

    def _entries(self) -> list[Path]:
        return list(self._texts.root.glob("shelves/*/*.json"))


def _remove_old_files(folder: Path, seconds: float) -> None:
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and time.time() - path.stat().st_mtime > seconds:
                path.unlink()


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _size(folder: Path, but: Path) -> int:
    size = 0
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(where, name) != but]
        for name in files:
            with suppress(OSError):
                size += os.stat(Path(where, name)).st_size
    return size
