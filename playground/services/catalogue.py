"""The list of runs as the time bar and the sidebar show it: read once for everybody, shown to whom it is for."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from nanollm.data.builtin import missing_builtin
from nanollm.data.corpus import CorpusStore
from nanollm.runs.store import Run, RunStore, Snapshot
from playground.public.ownership import owns, sees
from playground.public.visitor import Visitor

log = logging.getLogger("nanollm.page")
MOST_VISITORS = 2000  # whose colours are remembered


def news(known: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]] | dict[str, Any]:
    """What to send to somebody who knows these rows: only those that changed, or all where some came or went."""
    if [row["id"] for row in known] != [row["id"] for row in rows]:
        return rows
    return {"changed": [row for row, before in zip(rows, known, strict=True) if row != before]}


class Catalogue:
    """Rows about runs, at most `max_age` seconds old, and the colour that each run keeps while it exists.

    `who` tells who asks where they are strangers to each other: then each sees what VisitorStore shows them, in colours
    that count their runs alone.
    """

    def __init__(
        self, store: RunStore, corpora: CorpusStore, max_age: float = 0.5, who: Callable[[], Visitor] | None = None
    ):
        self._store = store
        self._corpora = corpora
        self._max_age = max_age
        self._who = who
        self._lock = Lock()
        self._rows: list[tuple[Run, dict[str, Any]]] = []  # of all runs
        self._read_at = float("-inf")
        self._slots: OrderedDict[str, dict[str, int]] = OrderedDict()  # by owner, then by run
        self._snapshots: dict[str, tuple[tuple, list[Snapshot]]] = {}

    def rows(self, fresh: bool = False) -> list[dict[str, Any]]:
        """One JSON-ready row a run, newest first; `fresh` reads anew, for handlers that just changed something."""
        visitor = self._who() if self._who else None
        with self._lock:
            if fresh or time.monotonic() - self._read_at > self._max_age:
                self._rows = self._read()
                self._read_at = time.monotonic()
            seen = [(run, row) for run, row in self._rows if visitor is None or sees(visitor, run)]
            slots = self._assign_slots(visitor.owner if visitor else "", [run.id for run, _ in reversed(seen)])
        return [
            row
            | {
                "slot": slots[run.id],
                "mine": not run.read_only and (visitor is None or owns(visitor, run)),
                "look": run.look if visitor else "",  # whoever sees it has this key, or is its owner
            }
            for run, row in seen
        ]

    def slot(self, run_id: str) -> int:
        """The run's colour: slot % 5 counts through the five run colours, from 5 on they are dashed."""
        owner = self._who().owner if self._who else ""
        if run_id not in self._slots.get(owner, {}):
            self.rows(fresh=True)
        return self._slots.get(owner, {}).get(run_id, 0)

    def _read(self) -> list[tuple[Run, dict[str, Any]]]:
        runs = self._store.list()
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
        """Runs keep their slot; a new one takes the lowest that is free. Whoever was here longest ago is forgotten."""
        slots = {run_id: slot for run_id, slot in self._slots.get(owner, {}).items() if run_id in set(oldest_first)}
        for run_id in oldest_first:
            if run_id not in slots:
                taken = set(slots.values())
                slots[run_id] = next(slot for slot in range(len(taken) + 1) if slot not in taken)
        self._slots[owner] = slots
        self._slots.move_to_end(owner)
        while len(self._slots) > MOST_VISITORS:
            self._slots.popitem(last=False)
        return slots

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

    def _snapshots_of(self, run: Run, progress: tuple) -> list[Snapshot]:
        """The run's snapshots, looked up again only when it moved or a file came or went."""
        key = (*progress, run.folder.stat().st_mtime_ns)
        known = self._snapshots.get(run.id)
        if known is None or known[0] != key:
            known = self._snapshots[run.id] = (key, run.snapshots())
        return known[1]
