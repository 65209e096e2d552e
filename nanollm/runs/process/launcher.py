"""Starting and stopping workers: one at a time, in queue order, from any number of processes.

A launcher has no persistent state: queue and states are in the run folders, and workers outlive the process that
started them. It changes runs under the store's lock, so several servers can share a store.
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
START_SECONDS = 60.0  # time limit for a new worker to lock its run
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]
_POLL_SECONDS = 0.02
_WATCH_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0  # lock timeout where no other process might start the run


class Launcher:
    """Start, pause, stop and resume the runs of a store. All four are idempotent."""

    def __init__(
        self,
        store: RunStore,
        corpora: Path | str = "data/corpora",
        *,
        nice: int | None = None,
        run_seconds: float | None = None,
    ) -> None:
        """`corpora` is the root of the CorpusStore with the runs' texts.

        On shared machines: `nice` (0 to 19) lowers the workers' CPU priority, and a run that has trained for
        `run_seconds` without a pause is stopped, keeping its results.
        """
        self.store = store
        self.corpora = Path(corpora).absolute()
        self._worker_options = {name: value for name, value in (("nice", nice), ("run_seconds", run_seconds)) if value}
        self._children: list[subprocess.Popen[bytes]] = []
        self._unstartable: set[str] = set()  # ids of runs whose start failed and whose status could not be written
        self._guard = threading.Lock()
        self._closed = threading.Event()

    def start(self, run_id: str) -> None:
        """Train a queued run when it is first in the queue. Raises InputError if it has ended or must be resumed."""
        status = self.store.get(run_id).status()
        if status.state in ("paused", "lost", "failed", "stopped"):
            raise InputError(f"This run is {status.state}: resume it instead.")
        if not status.active:
            raise InputError(f"This run is {status.state}: fork it, or start a new run.")
        self.advance(_PATIENCE_SECONDS)

    def pause(self, run_id: str) -> None:
        """Save the full state and end the worker. Raises InputError if the run has ended."""
        with self.store.lock():
            run = self.store.get(run_id)
            status = run.status()
            if not status.active and status.state not in ("lost", "paused"):
                raise InputError(f"This run is {status.state}: only queued and running runs can be paused.")
            if status.state != "paused":
                _set_or_request_state(run, "pause", status)

    def stop(self, run_id: str) -> None:
        """End training and keep the results. Raises InputError if the run has already ended."""
        with self.store.lock():
            run = self.store.get(run_id)
            status = run.status()
            if not status.active and status.state not in ("lost", "paused", "stopped"):
                raise InputError(f"This run is {status.state}: only active and paused runs can be stopped.")
            if status.state == "stalled" and self._kill(run):
                _set_state(
                    run, "stopped", status, "The worker made no progress and was killed; the last saved files are kept."
                )
            elif status.state != "stopped":
                _set_or_request_state(run, "stop", status)
        self.advance(_PATIENCE_SECONDS)

    def resume(self, run_id: str) -> None:
        """Queue a run again, to continue from its newest intact resume file. Raises InputError."""
        with self.store.lock():
            run = self.store.get(run_id)
            status = run.status()
            if not status.active:
                _require_resumable(run, status)
            _request(run, None)  # also cancels a pending pause or stop
            if not status.active:
                self.store.enqueue(run.folder, step=status.step)
            self._unstartable.discard(run_id)
        self.advance(_PATIENCE_SECONDS)

    def advance(self, patience: float = 0.0) -> None:
        """Reap ended workers; if no worker is alive in the store, start the next queued run.

        Call this often. Gives up if another process holds the store's lock for `patience` seconds.
        """
        self._reap()
        if not self.store.queue():
            return
        with suppress(InputError), self.store.lock(timeout=patience):
            patience = stall_limit(self._worker_options.get("run_seconds"))
            self._kill_frozen(patience)
            while (run := next_queued_run(self.store, self._unstartable, patience)) is not None and not self._launch(
                run
            ):
                pass  # its failure is recorded; try the next run

    def watch(self) -> threading.Thread:
        """Call advance() twice a second in a background thread until close()."""
        thread = threading.Thread(target=self._watch, name="launcher", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """End watch(). Workers keep running, and start the next queued run when they end."""
        self._closed.set()
        self._reap()

    def suspend(self, seconds: float = 8.0) -> None:
        """End watch(), pause all workers, and queue their runs first, so that the next launcher continues them.

        Waits up to `seconds` for the workers to save; a run that takes longer can be resumed from its last save.
        """
        self._closed.set()
        with self.store.lock(), self._guard:  # no worker is being started meanwhile
            moving = [run for run in self.store.list() if run.alive()]
            children = [child for child in self._children if child.poll() is None]
        for child in children:
            child.terminate()  # pauses the run without starting the next one
        for run in moving:
            if liveness.owner_pid(run.folder) not in [child.pid for child in children]:
                _request(run, "end")  # started by another launcher: a process id on disk may have been reused
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
            with suppress(OSError):  # the disk may be full or unmounted temporarily
                self.advance()

    def _launch(self, run: Run) -> bool:
        """Start a worker and wait until it owns its run; if it dies first, record that in the run and return False."""
        try:
            child = self._spawn(run)
        except OSError as error:
            return self._record_failure(run, f"The worker process could not be started: {error.strerror or error}.")
        deadline = time.monotonic() + START_SECONDS
        while not run.alive():
            if child.poll() is not None or time.monotonic() > deadline:
                child.kill()  # harmless if it is dead: its pid is not reused before wait()
                child.wait()
                if run.status().state != "queued":
                    return True  # the worker has recorded the outcome itself
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
                start_new_session=True,  # the worker survives a closed terminal or stopped server
            )
        with self._guard:
            self._children.append(child)
        return child

    def _reap(self) -> None:
        with self._guard:
            self._children = [child for child in self._children if child.poll() is None]

    def _kill_frozen(self, patience: float) -> None:
        for run in self.store.list() if patience < math.inf else ():
            if run.alive() and liveness.seconds_since_heartbeat(run.folder) > patience and self._kill(run):
                _set_state(run, "failed", run.status(), "The worker made no progress and was killed.")

    def _kill(self, run: Run) -> bool:
        """Kill a stalled worker if it is a child of this process."""
        with self._guard:
            # A process id on disk may have been reused by another process, but not that of a child before wait().
            mine = [c for c in self._children if c.poll() is None and c.pid == liveness.owner_pid(run.folder)]
        for child in mine:
            child.kill()
            child.wait()
        return bool(mine)


def next_queued_run(store: RunStore, but: Collection[str] = (), patience: float = math.inf) -> Run | None:
    """The next run to train; None if the queue is empty or a worker had a heartbeat within `patience` seconds.

    The caller must hold the store's lock.
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
    """Seconds without a heartbeat after which the queue ignores a worker; infinite without a time limit per run."""
    return FROZEN_SECONDS if run_seconds else math.inf


def worker_command(folder: Path, corpora: Path, **options: float | None) -> list[str]:
    """The command line of a run's worker; `options` are Launcher's nice and run_seconds."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value]
    return [sys.executable, "-m", "nanollm.runs.process.worker", str(folder), "--corpora", str(corpora), *flags]


def worker_environment() -> dict[str, str]:
    """This process's environment, with the package on PYTHONPATH even if it is not installed."""
    paths = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Safe path: the worker does not import modules from the working directory.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _request(run: Run, request: str | None) -> None:
    """Write one of CONTROL_REQUESTS for the worker; None cancels pending requests."""
    control = run.folder / run_files.CONTROL
    try:
        control.mkdir(exist_ok=True)
        for word in run_files.CONTROL_REQUESTS:
            if word != request:
                (control / word).unlink(missing_ok=True)
        if request:
            (control / request).touch()
    except OSError as error:
        raise InputError(f"The run folder cannot be written {disk_error_hint(error)}") from error


def _set_or_request_state(run: Run, request: str, status: Status) -> None:
    """Pause or stop a run: directly if no worker owns it, else by a request to its worker."""
    moving = status.state in ("running", "stalled")
    if moving or not _set_state(run, {"pause": "paused", "stop": "stopped"}[request], status):
        _request(run, request)


def _set_state(run: Run, state: str, status: Status, reason: str = "") -> bool:
    """Write the state of a run that no worker owns; returns False, without writing, if one does."""
    with liveness.try_claim(run.folder) as claimed:
        if claimed:
            _request(run, None)
            write_status(run.folder, state, step=status.step, reason=reason)
    return claimed


def _require_resumable(run: Run, status: Status) -> None:
    if run.read_only:
        raise InputError("Pretrained models are read-only: fork this one into a run of your own.")
    if run.checkpoints_only:
        raise InputError("This folder contains only checkpoints: you can sample from them, but not train them further.")
    if status.state == "completed":
        raise InputError("This run is completed: fork it from its last step to train it further.")
    if status.state == "diverged":
        raise InputError("This run diverged and would diverge again: start a new one with a smaller learning_rate.")
    if status.state == "stopped" and status.step > 0 and not run.resume_files():
        raise InputError("This run was stopped and has no resume file: start a new one.")


def last_error(log: Path) -> str:
    """The last error message in worker.log as one sentence, without file paths."""
    try:
        lines = [line.strip() for line in log.read_text("utf-8", "replace")[-4000:].splitlines() if line.strip()]
    except OSError:
        lines = []
    message = re.sub(r"^[\w.]*(Error|Exception|Exit|Interrupt): ?", "", lines[-1]) if lines else ""
    message = re.sub(r"(?<!\w)(/[\w.@+ -]+)+/", "", message)
    message = "".join(c for c in message if c.isprintable())[:200].rstrip(". ")
    return f"The worker process could not start: {message or 'it logged no error'}."
