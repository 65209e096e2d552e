"""Finding and caching the runs under a folder; files are read again only after they have changed."""

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

_PRETRAINED_ID = f"{run_files.PRETRAINED}-"


class RunReader:
    """Finds the users' runs and the pretrained ones. Holds only caches; thread-safe."""

    def __init__(self, root: Path, place: Callable[[str], int | None]) -> None:
        """`place` returns the queue position of a run id."""
        self._root = root
        self._place = place
        self._logs: dict[str, EventLog] = {}
        self._abouts: dict[str, tuple[tuple[int, ...], dict[str, Any] | None]] = {}
        self._guard = threading.Lock()

    def list(self) -> list[Run]:
        """Users' runs, newest first (including folders with only checkpoints), then the pretrained ones."""
        user_ids = self.ids()
        pretrained_ids = [f"{_PRETRAINED_ID}{name}" for name in _folders(self._root / run_files.PRETRAINED)]
        own = [run for name in user_ids if (run := self.get(name)) is not None]
        pretrained = [run for name in pretrained_ids if (run := self.get(name)) is not None]
        self._keep_only({*user_ids, *pretrained_ids})
        return [
            *sorted(own, key=lambda run: (run.created, run.id), reverse=True),
            *sorted(pretrained, key=lambda run: (run.model_config.num_parameters, run.id), reverse=True),
        ]

    def get(self, run_id: str) -> Run | None:
        folder = self.folder(run_id)
        about = self.about(folder)
        if about is None:
            return None
        with self._guard:
            log = self._logs.setdefault(run_id, EventLog(folder / run_files.METRICS))
        try:
            return Run(folder, about, log, lambda: self._place(run_id))
        except (TypeError, ValueError):  # run.json was edited by hand
            return None

    def ids(self) -> list[str]:
        """The folder names here that may be ids of users' runs."""
        return [name for name in _folders(self._root) if name != run_files.PRETRAINED]

    def folder(self, run_id: str) -> Path:
        """The folder of a run id; ids of pretrained runs start with the name of their parent folder."""
        name = run_id.removeprefix(_PRETRAINED_ID)
        pretrained = self._root / run_files.PRETRAINED / name
        return pretrained if name != run_id and is_name(name) and pretrained.is_dir() else self._root / run_id

    def about(self, folder: Path) -> dict[str, Any] | None:
        """Cached read_run_metadata(); None if the folder contains no run."""
        now = _stat(folder / run_files.RUN) or _stat(
            folder
        )  # without run.json, a new checkpoint changes the mtime of the folder
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
        """Drop the caches of deleted runs; another process may have deleted them."""
        with self._guard:
            for run_id in self._logs.keys() - present:
                del self._logs[run_id]
            for folder in self._abouts.keys() - {str(self.folder(run_id)) for run_id in present}:
                del self._abouts[folder]


def is_name(name: Any) -> bool:
    """Whether this is a valid run folder name: not hidden, not a path."""
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
