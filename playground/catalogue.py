"""The list of runs as the time bar and the sidebar show it: read from disk once for everybody who looks."""

from __future__ import annotations

import logging
import time
from threading import Lock
from typing import Any

from nanollm.builtin import lacking
from nanollm.corpus import CorpusStore
from nanollm.runs.store import Run, RunStore, Snapshot

log = logging.getLogger("nanollm.page")


def news(known: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]] | dict[str, Any]:
    """What to send to somebody who knows these rows: only those that changed, or all where some came or went."""
    if [row["id"] for row in known] != [row["id"] for row in rows]:
        return rows
    return {"changed": [row for row, before in zip(rows, known, strict=True) if row != before]}


class Catalogue:
    """Rows about all runs, at most `max_age` seconds old, and the colour that each run keeps while it exists."""

    def __init__(self, store: RunStore, corpora: CorpusStore, max_age: float = 0.5):
        self._store = store
        self._corpora = corpora
        self._max_age = max_age
        self._lock = Lock()
        self._rows: list[dict[str, Any]] = []
        self._read_at = float("-inf")
        self._slots: dict[str, int] = {}
        self._snapshots: dict[str, tuple[tuple, list[Snapshot]]] = {}

    def rows(self, fresh: bool = False) -> list[dict[str, Any]]:
        """One JSON-ready row a run, newest first; `fresh` reads anew, for handlers that just changed something."""
        with self._lock:
            if fresh or time.monotonic() - self._read_at > self._max_age:
                self._rows = self._read()
                self._read_at = time.monotonic()
            return self._rows

    def slot(self, run_id: str) -> int:
        """The run's colour: slot % 5 counts through the five run colours, from 5 on they are dashed."""
        if run_id not in self._slots:
            self.rows(fresh=True)
        return self._slots.get(run_id, 0)

    def _read(self) -> list[dict[str, Any]]:
        runs = self._store.list()
        self._assign_slots([run.id for run in reversed(runs)])
        self._snapshots = {run_id: known for run_id, known in self._snapshots.items() if run_id in self._slots}
        rows = []
        for run in runs:
            try:
                rows.append(self._row(run))
            except Exception:  # one unreadable folder must not hide the others
                log.exception("run %s cannot be listed", run.id)
        return rows

    def _assign_slots(self, oldest_first: list[str]) -> None:
        """Runs keep their slot; a new one takes the lowest that is free."""
        self._slots = {run_id: slot for run_id, slot in self._slots.items() if run_id in set(oldest_first)}
        for run_id in oldest_first:
            if run_id not in self._slots:
                taken = set(self._slots.values())
                self._slots[run_id] = next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def _row(self, run: Run) -> dict[str, Any]:
        status = run.status()
        snapshots = self._snapshots_of(run, (status.state, status.step))
        best = next((i for i, snapshot in enumerate(snapshots) if snapshot.best), None)
        return {
            "id": run.id,
            "title": run.title,
            "shipped": run.read_only,
            "slot": self._slots[run.id],
            "state": status.state,
            "reason": status.reason,
            "place": status.place,
            "step": status.step,
            "num_steps": status.num_steps,
            "created": run.created,
            "steps": [snapshot.step for snapshot in snapshots],
            "best": best,
            "loss": status.val_loss,
            "lacks": missing.id if (missing := lacking(self._corpora, run.corpus.get("sha256"))) else None,
        }

    def _snapshots_of(self, run: Run, progress: tuple) -> list[Snapshot]:
        """The run's snapshots, looked up again only when it moved or a file came or went."""
        key = (*progress, run.folder.stat().st_mtime_ns)
        known = self._snapshots.get(run.id)
        if known is None or known[0] != key:
            known = self._snapshots[run.id] = (key, run.snapshots())
        return known[1]
