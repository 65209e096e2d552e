"""Model cache: each snapshot is loaded once for all visitors."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from nanollm.errors import InputError
from nanollm.runs.store import Run, RunStore, Snapshot
from playground.services import sentences
from playground.services.lru_cache import LRUCache

if TYPE_CHECKING:
    from nanollm.train.checkpoint import LoadedModel

CAPACITY = 256 * 2**20  # bytes of loaded models
OVERHEAD = 2**18  # bytes of a model besides its weights

Version = tuple[str, int, int]  # path, modification time and size of a file


class Models:
    """An LRU cache of loaded models. A file that has been rewritten is loaded again."""

    def __init__(self, runs: RunStore, capacity: int = CAPACITY) -> None:
        """Cache up to `capacity` bytes of models, but always the most recent one."""
        self._runs = runs
        self._loaded: LRUCache[LoadedModel] = LRUCache(capacity, _size)
        self._lock = Lock()

    def get(self, run_id: str | None, step: int | None) -> LoadedModel:
        """Return the model of one snapshot (`step` None: the last). Raises InputError if it is missing or damaged."""
        return self.at(self.find(run_id, step)[1])

    def find(self, run_id: str | None, step: int | None) -> tuple[Run, Snapshot]:
        """Return the run and the snapshot that a selection names. Raises InputError if either does not exist."""
        if run_id is None:
            raise InputError(sentences.NO_MODEL)
        run = self._runs.get(run_id)
        return run, run.snapshot(step)

    def at(self, snapshot: Snapshot) -> LoadedModel:
        """Return the model in one snapshot's file, from the cache if the file has not changed."""
        from nanollm.train.checkpoint import load_model  # imports torch, which takes a second

        with self._lock:  # so that concurrent requests load it once
            return self._loaded.get(version(snapshot), lambda: load_model(snapshot.path))


def version(snapshot: Snapshot) -> Version:
    """Identify the current content of a snapshot's file. Raises InputError if the file does not exist."""
    try:
        stat = snapshot.path.stat()
    except OSError:
        raise InputError(sentences.SNAPSHOT_GONE) from None
    return str(snapshot.path), stat.st_mtime_ns, stat.st_size


def _size(loaded: LoadedModel) -> int:
    """Bytes of a loaded model: its weights, up to two more copies for sampling, and other objects."""
    return 12 * loaded.model.config.num_parameters + OVERHEAD
