"""The process that trains one run: `python -m nanollm.runs.process.worker RUN_DIR`.

It locks the folder before it imports torch, which takes seconds, and writes its state and one explaining sentence to
status.json; tracebacks go to worker.log. At the end it becomes the worker of the next queued run, so the queue
continues without a page or launcher.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from nanollm.errors import InputError, PeerLostError
from nanollm.runs import run_files
from nanollm.runs.process.control import GRACE_SECONDS, ControlRequests, Outcome, log_traceback
from nanollm.runs.process.launcher import next_queued_run, stall_limit, worker_command, worker_environment
from nanollm.runs.process.liveness import Heartbeat
from nanollm.runs.record import Run, Status, write_status
from nanollm.runs.store import RunStore
from nanollm.train.events import Event
from nanollm.train.memory import peak_bytes

if TYPE_CHECKING:
    from nanollm.train.distributed import Ranks

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_OUT_OF_MEMORY = ("out of memory", "allocate memory", "bad_alloc", "can't start new thread")


def work(
    run: Run,
    corpora: Path | str = "data/corpora",
    on_event: Callable[[Event], None] | None = None,
    ranks: Ranks | None = None,
) -> Status:
    """Train a run in this process until it ends or is paused or stopped (SIGTERM and Ctrl-C pause it).

    `on_event` receives each event after it was written. Returns the final status; errors during training are in its
    state and reason. Raises InputError if another process owns the run or it is a pretrained one, OSError if its folder
    is read-only.
    """
    if run.read_only:
        raise InputError("Pretrained models are read-only: fork this one into a run of your own.")
    with _locked(run) as heartbeat:
        state = run.status().state
        if run.checkpoints_only or state in ("completed", "diverged"):
            raise InputError(f"This run is {state}: fork it, or start a new run.")
        Worker(run, heartbeat, corpora, on_event, ranks).work()
    return run.status()


def main() -> int:
    """Train the queued run in RUN_DIR, then the rest of the queue."""
    parser = argparse.ArgumentParser(prog="python -m nanollm.runs.process.worker", description=main.__doc__)
    parser.add_argument("run_dir", type=Path, help="the folder of a queued run")
    parser.add_argument(
        "--corpora", type=Path, default=Path("data/corpora"), help="folder of the texts (default: data/corpora)"
    )
    parser.add_argument("--nice", type=int, default=0, help="CPU niceness, 0 to 19 (default: 0)")
    parser.add_argument("--run-seconds", type=float, help="stop a run after this time and keep its results")
    arguments = parser.parse_args()
    if arguments.nice:
        with suppress(OSError):  # cannot be lowered; a worker that continues the queue is already nice
            os.setpriority(os.PRIO_PROCESS, 0, arguments.nice)
    try:
        run = Run.open(arguments.run_dir)
        with _locked(run) as heartbeat:
            # Check the state under the lock: the run may have been paused in the meantime.
            if (state := run.status().state) != "queued":
                raise InputError(f"This run is {state}, not queued: resume it instead.")
            worker = Worker(run, heartbeat, arguments.corpora, seconds=arguments.run_seconds)
            worker.work()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if not worker.requests.terminated:
        options = {"nice": arguments.nice, "run_seconds": arguments.run_seconds}
        _continue_queue(RunStore(run.folder.parent), arguments.corpora, options)
    return 0


class Worker:
    """Trains one run that this process has locked, and always writes a final status."""

    def __init__(
        self,
        run: Run,
        heartbeat: Heartbeat,
        corpora: Path | str,
        on_event: Callable[[Event], None] | None = None,
        ranks: Ranks | None = None,
        seconds: float | None = None,
    ) -> None:
        self._began = time.monotonic()
        self.run = run
        self.requests = ControlRequests(run.folder, seconds)  # seconds=None: no time limit
        self._heartbeat = heartbeat
        self._corpora = corpora
        self._on_event = on_event
        self._ranks = ranks  # None: single process
        self._remarks: list[str] = []

    def work(self) -> None:
        """Train until the end or an interruption. Raises OSError only if the status cannot be written."""
        step = self.run.status().step
        with _signals_as_requests(self.requests, self.run):  # install the handlers before the state becomes "running"
            write_status(self.run.folder, "running", step=step)
            _sweep(self.run.folder)
            try:
                outcome = self._train()
            except BaseException as error:
                if not isinstance(error, InputError):
                    log_traceback()
                outcome = _failure(self.run, error)
            self._set_state(outcome)

    def _train(self) -> Outcome:
        from nanollm.runs.process.training import Training  # imports torch, which takes seconds

        ranks = {"ranks": self._ranks} if self._ranks else {}
        training = Training(self.run, self._corpora, self._handle_event, self._add_remark, began=self._began, **ranks)
        return training.execute(self._between_steps)

    def _handle_event(self, event: Event) -> None:
        self._heartbeat.record_progress()
        if self._on_event:
            self._on_event(event)

    def _between_steps(self) -> None:
        self._heartbeat.record_progress()
        self.requests.check()

    def _add_remark(self, remark: str) -> None:
        self._remarks.append(remark)
        write_status(
            self.run.folder, "running", step=0, reason=" ".join(self._remarks)
        )  # readers take the step from the log

    def _set_state(self, outcome: Outcome) -> None:
        with suppress(OSError):
            self.requests.clear()
        sentences = [*self._remarks, outcome.reason]
        if outcome.state == "paused" and self.requests.terminated and not outcome.reason:
            sentences.append("The worker process was terminated and saved its state first.")
        if outcome.state == "stopped" and self.requests.time_limit_reached:
            sentences.append(f"The time limit of {self.requests.seconds:,.0f} s was reached.")
        more: dict[str, Any] = {"peak_bytes": peak_bytes()}
        if outcome.seconds is not None:
            more |= {"seconds": outcome.seconds, "elapsed": outcome.elapsed, "val_loss": outcome.val_loss}
        reason = " ".join(filter(None, sentences))
        write_status(self.run.folder, outcome.state, step=outcome.step, reason=reason, **more)


@contextmanager
def _locked(run: Run) -> Iterator[Heartbeat]:
    try:
        with Heartbeat(run.folder) as heartbeat:
            yield heartbeat
    except Timeout as error:
        raise InputError("This run is already being trained by another process: pause or stop it first.") from error


def _failure(run: Run, error: BaseException) -> Outcome:
    """The outcome for an error: what happened and what to do."""
    step, files, message = run.status().step, run.resume_files(), str(error).lower()
    remedy = f"resume to continue from step {int(files[0].stem[-8:]):,}" if files else "resume to restart it"
    if isinstance(error, InputError):
        return Outcome("failed", step, str(error))
    if isinstance(error, PeerLostError):
        return Outcome("failed", step, f"Another rank ended or stopped responding: {remedy}.")
    if isinstance(error, MemoryError) or any(words in message for words in _OUT_OF_MEMORY):
        return Outcome("failed", step, "Out of memory: use a smaller batch_size or a smaller model.")
    if isinstance(error, OSError):
        why = error.strerror or type(error).__name__
        return Outcome("paused", step, f"The run folder could not be written ({why}): free disk space, then {remedy}.")
    if isinstance(error, KeyboardInterrupt):
        return Outcome("paused", step, f"The worker process ended before it could save: {remedy}.")
    return Outcome("failed", step, f"An internal error occurred (details in worker.log): {remedy}.")


@contextmanager
def _signals_as_requests(requests: ControlRequests, run: Run) -> Iterator[None]:
    """Within the context, SIGTERM and Ctrl-C request a pause; exit if the step does not end within GRACE_SECONDS."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals only there
        yield
        return
    timer = threading.Timer(GRACE_SECONDS, _force_exit, [run])
    timer.daemon = True

    def on_signal(number: int, frame: Any) -> None:
        if requests.terminated and number == signal.SIGINT:
            raise KeyboardInterrupt  # second Ctrl-C: end immediately
        if not requests.terminated:
            requests.terminated = True
            timer.start()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _force_exit(run: Run) -> None:
    outcome = _failure(run, KeyboardInterrupt())
    with suppress(OSError):
        write_status(run.folder, outcome.state, step=outcome.step, reason=outcome.reason)
    os._exit(0)


def _sweep(folder: Path) -> None:
    """Delete partial files of a killed worker. The caller must hold the run's lock."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


def _continue_queue(store: RunStore, corpora: Path, options: Mapping[str, float | None]) -> None:
    """Become the worker of the next queued run, if there is one.

    exec replaces this process, so the server that started it keeps waiting for the same child and no zombie remains.
    """
    with suppress(InputError, OSError), store.lock(timeout=5):
        run = next_queued_run(store, patience=stall_limit(options["run_seconds"]))
        if run is None:
            return
        with open(run.folder / run_files.LOG, "ab") as log:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        command = worker_command(run.folder, corpora.absolute(), **options)
        os.execve(command[0], command, worker_environment())


if __name__ == "__main__":
    sys.exit(main())
