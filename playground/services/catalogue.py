"""The list of runs for the time bar and the sidebar: read once for all visitors, filtered per visitor."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from nanollm.data.builtin import missing_builtin
from nanollm.data.corpus import CorpusStore
from nanollm.runs.store import Run, RunStore, Snapshot
from playground.services.lru_cache import LRUCache

log = logging.getLogger("nanollm.page")
MAX_VISITORS = 2000  # whose run colors are remembered


def changed_rows(known: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]] | dict[str, Any]:
    """Return the update for a browser that has the rows `known`.

    That is {"changed": rows that differ} if both lists hold the same runs, else all rows.
    """
    if [row["id"] for row in known] != [row["id"] for row in rows]:
        return rows
    return {"changed": [row for row, before in zip(rows, known, strict=True) if row != before]}


@dataclass(frozen=True)
class Viewer:
    """What the visitor of a public page may do, as the catalogue needs it; `owner` identifies them."""

    owner: str
    can_view: Callable[[Run], bool]
    owns: Callable[[Run], bool]


class Catalogue:
    """Rows about runs, at most `max_age` seconds old, and a stable color slot for each run.

    On a public page `viewer` returns the current visitor. Each then sees what VisitorRunStore shows them, with color
    slots that count only the runs they see.
    """

    def __init__(
        self, runs: RunStore, corpora: CorpusStore, max_age: float = 0.5, viewer: Callable[[], Viewer] | None = None
    ) -> None:
        self._runs = runs
        self._corpora = corpora
        self._max_age = max_age
        self._viewer = viewer
        self._lock = Lock()
        self._rows: list[tuple[Run, dict[str, Any]]] = []  # of all runs
        self._read_at = float("-inf")
        self._slots: LRUCache[dict[str, int]] = LRUCache(MAX_VISITORS)  # by owner, then by run
        self._snapshots: dict[str, tuple[tuple[Any, ...], list[Snapshot]]] = {}

    def rows(self, fresh: bool = False) -> list[dict[str, Any]]:
        """Return one JSON-ready row per run, newest first. `fresh` reads the folder again, after a change."""
        viewer = self._viewer() if self._viewer else None
        with self._lock:
            if fresh or time.monotonic() - self._read_at > self._max_age:
                self._rows = self._read()
                self._read_at = time.monotonic()
            visible = [(run, row) for run, row in self._rows if viewer is None or viewer.can_view(run)]
            slots = self._assign_slots(viewer.owner if viewer else "", [run.id for run, _ in reversed(visible)])
        return [
            row
            | {
                "slot": slots[run.id],
                "mine": not run.read_only and (viewer is None or viewer.owns(run)),
                "look": run.view_key if viewer else "",  # the key for sharing a view; visible runs are shared or owned
            }
            for run, row in visible
        ]

    def slot(self, run_id: str) -> int:
        """Return the run's color slot: slot % 5 selects one of the five run colors, slots from 5 on are dashed."""
        owner = self._viewer().owner if self._viewer else ""
        if run_id not in (self._slots.peek(owner) or {}):
            self.rows(fresh=True)
        return (self._slots.peek(owner) or {}).get(run_id, 0)

    def _read(self) -> list[tuple[Run, dict[str, Any]]]:
        runs = self._runs.list()
        present = {run.id for run in runs}
        self._snapshots = {run_id: known for run_id, known in self._snapshots.items() if run_id in present}
        rows = []
        for run in runs:
            try:
                rows.append((run, self._row(run)))
            except Exception:  # one unreadable folder must not hide the others
                log.exception("run %s cannot be listed", run.id)
        return rows

    def _assign_slots(self, owner: str, oldest_first: list[str]) -> dict[str, int]:
        """Keep each run's slot and give new runs the lowest free one. Forgets the least recent owners."""
        known = self._slots.peek(owner) or {}
        slots = {run_id: slot for run_id, slot in known.items() if run_id in set(oldest_first)}
        for run_id in oldest_first:
            if run_id not in slots:
                taken = set(slots.values())
                slots[run_id] = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        return self._slots.put(owner, slots)

    def _row(self, run: Run) -> dict[str, Any]:
        status = run.status()
        snapshots = self._snapshots_of(run, (status.state, status.step))
        best = next((i for i, snapshot in enumerate(snapshots) if snapshot.best), None)
        return {
            "id": run.id,
            "title": run.title,
            "shipped": run.read_only,
            "state": status.state,
            "reason": status.reason,
            "place": status.place,
            "step": status.step,
            "num_steps": status.num_steps,
            "created": run.created,
            "steps": [snapshot.step for snapshot in snapshots],
            "best": best,
            "loss": status.val_loss,
            "lacks": missing.id if (missing := missing_builtin(self._corpora, run.corpus.get("sha256"))) else None,
        }

    def _snapshots_of(self, run: Run, progress: tuple[Any, ...]) -> list[Snapshot]:
        """The run's snapshots, cached until its progress or its folder changes."""
        key = (*progress, run.folder.stat().st_mtime_ns)
        known = self._snapshots.get(run.id)
        if known is None or known[0] != key:
            known = self._snapshots[run.id] = (key, run.snapshots())
        return known[1]
