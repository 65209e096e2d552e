"""Starting and stopping workers: one at a time, in the order of the queue, from any number of processes at once.

A launcher keeps nothing that matters: the queue and the states are in the run folders, and workers outlive the process
that started them. What it does to a run it does under the store's lock, so that two servers never do it twice.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from nanollm.errors import InputError
from nanollm.files import disk_error_hint
from nanollm.runs import run_files
from nanollm.runs.process import liveness
from nanollm.runs.record import Run, Status, write_status
from nanollm.runs.store import RunStore

FROZEN_SECONDS = 300.0
START_SECONDS = 60.0  # a worker that does not hold its lock by then never will
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]
_POLL_SECONDS = 0.02
_WATCH_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0  # where nobody else may come to start a run


class Launcher:
    """Start, pause, stop and resume the runs of a store. All four may be called again without harm."""

    def __init__(
        self,
        store: RunStore,
        corpora: Path | str = "data/corpora",
        *,
        nice: int | None = None,
        run_seconds: float | None = None,
    ) -> None:
        """`corpora` is where the workers find their texts (the root of a CorpusStore).

        Where others need the machine too, workers step back by `nice` (0 to 19), and a run that trained for
        `run_seconds` without a pause is stopped with all that it learned.
        """
        self.store = store
        self.corpora = Path(corpora).absolute()
        self._worker_options = {name: value for name, value in (("nice", nice), ("run_seconds", run_seconds)) if value}
        self._children: list[subprocess.Popen[bytes]] = []
        self._unstartable: set[str] = set()  # could not be started, and not even that could be written down
        self._guard = threading.Lock()
        self._closed = threading.Event()

    def start(self, run_id: str) -> None:
        """Train a queued run as soon as its turn comes. Raises InputError if it is over, or waits to be resumed."""
        status = self.store.get(run_id).status()
        if status.state in ("paused", "lost", "failed", "stopped"):
            raise InputError(f"This run is {status.state}: resume it instead.")
        if not status.active:
            raise InputError(f"This run is {status.state}: continue it in a new one, or start afresh.")
        self.advance(_PATIENCE_SECONDS)

    def pause(self, run_id: str) -> None:
        """Save everything and make room for others; resume() goes on. Raises InputError if nothing is to be paused."""
        with self.store.lock():
            run = self.store.get(run_id)
            status = run.status()
            if not status.active and status.state not in ("lost", "paused"):
                raise InputError(f"This run is {status.state}: there is nothing to pause.")
            if status.state != "paused":
                _set_or_request_state(run, "pause", status)

    def stop(self, run_id: str) -> None:
        """End training and keep what was learned. Raises InputError if nothing is to be stopped."""
        with self.store.lock():
            run = self.store.get(run_id)
            status = run.status()
            if not status.active and status.state not in ("lost", "paused", "stopped"):
                raise InputError(f"This run is {status.state}: there is nothing to stop.")
            if status.state == "stalled" and self._kill(run):
                _set_state(run, "stopped", status, "It had stopped moving and was ended: its last files are kept.")
            elif status.state != "stopped":
                _set_or_request_state(run, "stop", status)
        self.advance(_PATIENCE_SECONDS)

    def resume(self, run_id: str) -> None:
        """Queue a run again, to go on from its newest whole resume file. Raises InputError if it cannot go on."""
        with self.store.lock():
            run = self.store.get(run_id)
            status = run.status()
            if not status.active:
                _require_resumable(run, status)
            _request(run, None)  # also withdraws a request that was not obeyed yet
            if not status.active:
                self.store.enqueue(run.folder, step=status.step)
            self._unstartable.discard(run_id)
        self.advance(_PATIENCE_SECONDS)

    def advance(self, patience: float = 0.0) -> None:
        """Bury workers that ended; if none lives in the store, start that of the next queued run.

        To be called often. If another process is at it, gives up after `patience` seconds.
        """
        self._reap()
        if not self.store.queue():
            return
        with suppress(InputError), self.store.lock(timeout=patience):
            patience = stall_limit(self._worker_options.get("run_seconds"))
            self._end_frozen(patience)
            while (run := next_queued_run(self.store, self._unstartable, patience)) is not None and not self._launch(
                run
            ):
                pass  # it could not start and says so: on to the next

    def watch(self) -> threading.Thread:
        """Call advance() twice a second, in a thread of its own, until close()."""
        thread = threading.Thread(target=self._watch, name="launcher", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """End watch(). Workers go on: the next launcher, or they themselves, continue the queue."""
        self._closed.set()
        self._reap()

    def suspend(self, seconds: float = 8.0) -> None:
        """End watch() and training, so that the next launcher's first start goes on with it: saved, and first in line.

        Waits for so many seconds; what was not saved by then is lost to its last save, and can be resumed.
        """
        self._closed.set()
        with self.store.lock(), self._guard:  # nobody is just being started
            moving = [run for run in self.store.list() if run.alive()]
            children = [child for child in self._children if child.poll() is None]
        for child in children:
            child.terminate()  # pauses, and leaves the queue alone
        for run in moving:
            if liveness.owner_pid(run.folder) not in [child.pid for child in children]:
                _request(
                    run, "end"
                )  # adopted from an earlier launcher: no number on disk says for certain which process
        deadline = time.monotonic() + seconds
        while any(run.alive() for run in moving) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        self._reap()
        with self.store.lock():
            for run in moving:
                if (status := run.status()).state == "paused":
                    self.store.enqueue(run.folder, step=status.step, first=True)

    def _watch(self) -> None:
        while not self._closed.wait(_WATCH_SECONDS):
            with suppress(OSError):  # a full or vanished disk may come back
                self.advance()

    def _launch(self, run: Run) -> bool:
        """Start a worker and wait until it owns its run; False if it died before, which the run then says."""
        try:
            child = self._spawn(run)
        except OSError as error:
            return self._record_failure(run, f"Its process could not be started: {error.strerror or error}.")
        deadline = time.monotonic() + START_SECONDS
        while not run.alive():
            if child.poll() is not None or time.monotonic() > deadline:
                child.kill()  # without effect if it is dead: as long as nobody waited for it, its number is not reused
                child.wait()
                if run.status().state != "queued":
                    return True  # it has said itself what happened
                return self._record_failure(run, last_error(run.folder / run_files.LOG))
            time.sleep(_POLL_SECONDS)
        return True

    def _record_failure(self, run: Run, reason: str) -> bool:
        try:
            _set_state(run, "failed", run.status(), reason)
        except (InputError, OSError):
            self._unstartable.add(run.id)
        return False

    def _spawn(self, run: Run, command: list[str] | None = None) -> subprocess.Popen[bytes]:
        with open(run.folder / run_files.LOG, "ab") as log:
            child = subprocess.Popen(
                command or worker_command(run.folder, self.corpora, **self._worker_options),
                env=worker_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a closed terminal or a stopped server does not take it along
            )
        with self._guard:
            self._children.append(child)
        return child

    def _reap(self) -> None:
        with self._guard:
            self._children = [child for child in self._children if child.poll() is None]

    def _end_frozen(self, patience: float) -> None:
        for run in self.store.list() if patience < math.inf else ():
            if run.alive() and liveness.seconds_since_heartbeat(run.folder) > patience and self._kill(run):
                _set_state(run, "failed", run.status(), "It had stopped moving and was ended.")

    def _kill(self, run: Run) -> bool:
        """End a stalled worker, but only one that is certainly our own child."""
        with self._guard:
            # A process id on disk alone proves nothing; that of a child not yet waited for is still the child's.
            mine = [c for c in self._children if c.poll() is None and c.pid == liveness.owner_pid(run.folder)]
        for child in mine:
            child.kill()
            child.wait()
        return bool(mine)


def next_queued_run(store: RunStore, but: Collection[str] = (), patience: float = math.inf) -> Run | None:
    """The run to be trained next; None if there is none, or a worker lives (and was not silent for longer than that).

    To be called under the store's lock.
    """
    queue = [run_id for run_id in store.queue() if run_id not in but]
    if not queue or any(
        run.alive() and liveness.seconds_since_heartbeat(run.folder) <= patience for run in store.list()
    ):
        return None
    for run_id in queue:
        with suppress(InputError):
            return store.get(run_id)
    return None


def stall_limit(run_seconds: float | None) -> float:
    """Seconds of silence after which a worker no longer keeps the others waiting: only where time is shared out."""
    return FROZEN_SECONDS if run_seconds else math.inf


def worker_command(folder: Path, corpora: Path, **terms: float | None) -> list[str]:
    """The command line of a run's worker; `terms` are Launcher's nice and run_seconds."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in terms.items() if value]
    return [sys.executable, "-m", "nanollm.runs.process.worker", str(folder), "--corpora", str(corpora), *flags]


def worker_environment() -> dict[str, str]:
    """This process's environment, with the package in reach even where it is not installed."""
    paths = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Safe path: the folder a server happens to be started in has no say in what the worker imports.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _request(run: Run, request: str | None) -> None:
    """Leave the worker a note with one of CONTROL_REQUESTS; None takes back what was not yet obeyed."""
    control = run.folder / run_files.CONTROL
    try:
        control.mkdir(exist_ok=True)
        for word in run_files.CONTROL_REQUESTS:
            if word != request:
                (control / word).unlink(missing_ok=True)
        if request:
            (control / request).touch()
    except OSError as error:
        raise InputError(f"The run's folder cannot be written {disk_error_hint(error)}") from error


def _set_or_request_state(run: Run, request: str, status: Status) -> None:
    """Make a request come true where no worker has the run (or the worker that has just taken it hears of it)."""
    moving = status.state in ("running", "stalled")
    if moving or not _set_state(run, {"pause": "paused", "stop": "stopped"}[request], status):
        _request(run, request)


def _set_state(run: Run, state: str, status: Status, reason: str = "") -> bool:
    """Write down the state of a run that no worker has; False, and nothing written, if one has it."""
    with liveness.try_claim(run.folder) as claimed:
        if claimed:
            _request(run, None)
            write_status(run.folder, state, step=status.step, reason=reason)
    return claimed


def _require_resumable(run: Run, status: Status) -> None:
    if run.read_only:
        raise InputError("The models that come with nano-llm stay as they are: fork this one into a run of your own.")
    if run.checkpoints_only:
        raise InputError("This folder holds only checkpoints: they can be sampled from, but not trained further.")
    if status.state == "completed":
        raise InputError("This run is completed: continue it for more steps, which makes a new run from its end.")
    if status.state == "diverged":
        raise InputError("This run diverged and would again: start a new one with a smaller learning_rate.")
    if status.state == "stopped" and status.step > 0 and not run.resume_files():
        raise InputError("This run was stopped and left no file to go on from: start a new one.")


def last_error(log: Path) -> str:
    """One plain sentence out of the end of worker.log: the last error's message, without the paths in it."""
    try:
        lines = [line.strip() for line in log.read_text("utf-8", "replace")[-4000:].splitlines() if line.strip()]
    except OSError:
        lines = []
    message = re.sub(r"^[\w.]*(Error|Exception|Exit|Interrupt): ?", "", lines[-1]) if lines else ""
    message = re.sub(r"(?<!\w)(/[\w.@+ -]+)+/", "", message)
    message = "".join(c for c in message if c.isprintable())[:200].rstrip(". ")
    return f"Its process could not start: {message}." if message else "Its process could not start, and left no word."
