"""Keep the disk of a public page within its quota: delete leftovers, then the oldest runs and texts."""

from __future__ import annotations

import logging
import math
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
from playground.public.ownership import LISTS, is_shared

log = logging.getLogger("nanollm.page")

SWEEP_SECONDS = 60.0
LEFTOVER_SECONDS = 3600.0  # age at which unused texts and uploaded files are deleted
UPLOAD_SECONDS = 120.0  # the same for uploaded files when the quota is exceeded
LIST_SECONDS = 86_400.0  # age at which texts of a visitor without runs are deleted
VIEWED_SECONDS = 600.0  # a run that was viewed more recently is kept


class DiskQuota:
    """Sweeps the runs, the texts and the upload folder of all visitors once a minute."""

    def __init__(
        self,
        runs: RunStore,
        corpora: CorpusStore,
        uploads: Path,
        seconds_since_viewed: Callable[[str], float] = lambda run_id: math.inf,
    ) -> None:
        self._runs = runs
        self._corpora = corpora
        self._uploads = uploads
        self._seconds_since_viewed = seconds_since_viewed
        self._closed = threading.Event()

    def watch(self) -> None:
        """Sweep now and once a minute, in a background thread, until close()."""
        threading.Thread(target=self._watch, name="disk-quota", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def sweep(self) -> None:
        """Delete unused files; if the quota is still exceeded, also the oldest runs and texts."""
        self._runs.sweep()
        _delete_old_files(self._uploads, LEFTOVER_SECONDS)
        runs = [run for run in self._runs.list() if not run.read_only]
        self._delete_old_lists({run.owner for run in runs})
        self._delete_unused_texts()
        quota = self._runs.limits.disk_bytes
        if quota is None:
            return
        if self.used_bytes() > quota:  # after two minutes an upload was stored as a text, or rejected
            _delete_old_files(self._uploads, UPLOAD_SECONDS)
        oldest = self._oldest_first(runs)
        while self.used_bytes() > quota and (delete := next(oldest, None)) is not None:
            delete()

    def used_bytes(self) -> int:
        """Return the size of all runs, texts and uploads of visitors; shipped models are not counted."""
        shipped = self._runs.root / run_files.PRETRAINED
        return sum(_size(folder, excluded=shipped) for folder in (self._runs.root, self._corpora.root, self._uploads))

    def _watch(self) -> None:
        while True:
            try:
                self.sweep()
            except Exception:  # one bad file must not stop the sweeps
                log.exception("sweeping the disk failed")
            if self._closed.wait(SWEEP_SECONDS):
                return

    def _oldest_first(self, runs: list[Run]) -> Iterator[Callable[[], None]]:
        """Yield functions that each delete one run or text. Active and recently viewed runs and their texts stay."""
        kept = [run for run in runs if run.status().active or self._seconds_since_viewed(run.id) < VIEWED_SECONDS]
        needed = {run.corpus.get("sha256") for run in kept}
        candidates: list[tuple[float, Callable[[], None]]] = []
        for run in runs:
            if run not in kept:
                candidates.append((run.created, lambda run_id=run.id: self._delete_run(run_id)))
        for entry in self._list_entries():
            if entry.stem not in needed:
                candidates.append((_modified(entry), lambda entry=entry: self._delete_entry(entry)))
        for _, delete in sorted(candidates, key=lambda pair: pair[0]):
            yield delete

    def _delete_run(self, run_id: str) -> None:
        with suppress(InputError):  # it has just started training, or was deleted meanwhile
            sha256 = str(self._runs.get(run_id).corpus.get("sha256"))
            self._runs.delete(run_id)
            log.info("deleted run %s: the disk quota is exceeded", run_id)
            self._delete_text_if_unused(sha256)

    def _delete_entry(self, entry: Path) -> None:
        entry.unlink(missing_ok=True)
        self._delete_text_if_unused(entry.stem)

    def _delete_text_if_unused(self, sha256: str) -> None:
        with suppress(InputError):
            if sha256 not in self._used_texts() and not is_shared(self._corpora.get(sha256)):
                self._corpora.delete(sha256)

    def _used_texts(self) -> set[str]:
        runs = self._runs.list()
        return {entry.stem for entry in self._list_entries()} | {str(run.corpus.get("sha256")) for run in runs}

    def _delete_old_lists(self, owners: set[str]) -> None:
        """Delete the text lists of visitors who own no run."""
        for entry in self._list_entries():
            if entry.parent.name not in owners and time.time() - _modified(entry) > LIST_SECONDS:
                entry.unlink(missing_ok=True)
        for folder in self._corpora.root.glob(f"{LISTS}/*"):
            with suppress(OSError):  # not empty
                folder.rmdir()

    def _delete_unused_texts(self) -> None:
        """Delete texts without a list or run. New ones stay: the visitor's list entry is written after the text."""
        used = self._used_texts()
        for info in self._corpora.list():
            if info.sha256 not in used and time.time() - info.added > LEFTOVER_SECONDS:
                self._delete_text_if_unused(info.sha256)

    def _list_entries(self) -> list[Path]:
        return list(self._corpora.root.glob(f"{LISTS}/*/*.json"))


def _delete_old_files(folder: Path, seconds: float) -> None:
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and time.time() - path.stat().st_mtime > seconds:
                path.unlink()


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _size(folder: Path, excluded: Path) -> int:
    size = 0
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(root, name) != excluded]
        for name in files:
            with suppress(OSError):
                size += os.stat(Path(root, name)).st_size
    return size
