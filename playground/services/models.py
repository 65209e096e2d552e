"""Models by the run and snapshot that a selection names: loaded once for everybody who looks at them."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from nanollm.errors import InputError
from nanollm.runs.store import Run, RunStore, Snapshot

if TYPE_CHECKING:
    from nanollm.train.checkpoint import LoadedModel

ROOM = 256 * 2**20  # bytes of models that are kept loaded
OBJECTS = 2**18  # bytes of a model besides its weights

Version = tuple[str, int, int]  # a file, when it was written, and its size


class Models:
    """Loaded models, the least recently used given up first. A file that was written anew is loaded anew."""

    def __init__(self, store: RunStore, room: int = ROOM):
        """Keeps as many as have room in so many bytes, but always the one that was asked for last."""
        self._store = store
        self._room = room
        self._loaded: OrderedDict[Version, LoadedModel] = OrderedDict()
        self._lock = Lock()

    def get(self, run_id: str | None, step: int | None) -> LoadedModel:
        """The model of one snapshot (`step` None: the run's last). Raises InputError if it is gone or damaged."""
        return self.at(self.find(run_id, step)[1])

    def find(self, run_id: str | None, step: int | None) -> tuple[Run, Snapshot]:
        """The run and the snapshot that a selection names. Raises InputError where there is none yet or no more."""
        if run_id is None:
            raise InputError("There is no trained model yet: bring a text in Corpus and train one.")
        run = self._store.get(run_id)
        return run, run.snapshot(step)

    def at(self, snapshot: Snapshot) -> LoadedModel:
        """The model in one snapshot's file, from memory while the file is the one that was read."""
        from nanollm.train.checkpoint import load_model  # torch is only worth its second when somebody wants a model

        key = version(snapshot)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load_model(snapshot.path)
                while len(self._loaded) > 1 and sum(map(_weight, self._loaded.values())) > self._room:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]


def version(snapshot: Snapshot) -> Version:
    """Which file of which time a snapshot is now. Raises InputError if it is gone."""
    try:
        stat = snapshot.path.stat()
    except OSError:
        raise InputError("This snapshot is no longer here: choose another on the time bar.") from None
    return str(snapshot.path), stat.st_mtime_ns, stat.st_size


def _weight(loaded: LoadedModel) -> int:
    """Bytes that a model takes: its weights, twice over where it writes, and the objects around them."""
    return 12 * loaded.model.config.num_parameters + OBJECTS
