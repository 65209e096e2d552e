"""The runs under a folder, opened as often as a page asks and read again only where something has changed."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nanollm.runs import run_files
from nanollm.runs.metrics_log import EventLog
from nanollm.runs.record import Run, read_run_metadata

_SHIPPED_ID = f"{run_files.PRETRAINED}-"


class RunReader:
    """Finds people's runs and the shipped ones among them. Holds nothing but caches; safe to share among threads."""

    def __init__(self, root: Path, place: Callable[[str], int | None]) -> None:
        """`place` tells a run's place in the queue by its id."""
        self._root = root
        self._place = place
        self._logs: dict[str, EventLog] = {}
        self._abouts: dict[str, tuple[tuple[int, ...], dict[str, Any] | None]] = {}
        self._guard = threading.Lock()

    def list(self) -> list[Run]:
        """People's runs, newest first (folders that hold only checkpoints too), then those that are shipped."""
        brought, along = self.ids(), [f"{_SHIPPED_ID}{name}" for name in _folders(self._root / run_files.PRETRAINED)]
        own = [run for name in brought if (run := self.get(name)) is not None]
        shipped = [run for name in along if (run := self.get(name)) is not None]
        self._keep_only({*brought, *along})
        return [
            *sorted(own, key=lambda run: (run.created, run.id), reverse=True),
            *sorted(shipped, key=lambda run: (run.model_config.num_parameters, run.id), reverse=True),
        ]

    def get(self, run_id: str) -> Run | None:
        """The run of this id; None if there is none."""
        folder = self.folder(run_id)
        about = self.about(folder)
        if about is None:
            return None
        with self._guard:
            log = self._logs.setdefault(run_id, EventLog(folder / run_files.METRICS))
        try:
            return Run(folder, about, log, lambda: self._place(run_id))
        except (TypeError, ValueError):  # somebody's hand in run.json
            return None

    def ids(self) -> list[str]:
        """Ids that people's runs may have: the names of the folders here."""
        return [name for name in _folders(self._root) if name != run_files.PRETRAINED]

    def folder(self, run_id: str) -> Path:
        """Where a run of this id would lie: the id of a shipped one begins with the name of their folder."""
        name = run_id.removeprefix(_SHIPPED_ID)
        shipped = self._root / run_files.PRETRAINED / name
        return shipped if name != run_id and is_name(name) and shipped.is_dir() else self._root / run_id

    def about(self, folder: Path) -> dict[str, Any] | None:
        """run.json, or what stands in for it; None if the folder holds no run."""
        now = _stat(folder / run_files.RUN) or _stat(
            folder
        )  # checkpoints alone: a new one changes the folder's own time
        if now is None:
            return None
        stamp = (now.st_ino, now.st_size, now.st_mtime_ns)
        with self._guard:
            known = self._abouts.get(str(folder))
        if known is None or known[0] != stamp:
            known = (stamp, read_run_metadata(folder))
            with self._guard:
                self._abouts[str(folder)] = known
        return known[1]

    def _keep_only(self, present: set[str]) -> None:
        """Give up what is remembered of runs that are gone: whoever deleted them need not have been this process."""
        with self._guard:
            for run_id in self._logs.keys() - present:
                del self._logs[run_id]
            for folder in self._abouts.keys() - {str(self.folder(run_id)) for run_id in present}:
                del self._abouts[folder]


def is_name(name: Any) -> bool:
    """Whether this can be the name of a folder right under the root: never hidden, never a path."""
    return isinstance(name, str) and re.fullmatch(r"\w[\w .+=,-]{0,99}", name) is not None


def _stat(path: Path) -> os.stat_result | None:
    with suppress(OSError):
        return os.stat(path)
    return None


def _folders(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return [entry.name for entry in entries if is_name(entry.name) and entry.is_dir()]
    except OSError:
        return []
