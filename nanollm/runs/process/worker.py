"""The process that trains one run: `python -m nanollm.runs.process.worker RUN_DIR`.

It owns the folder by a lock that it takes before anything slow (torch) is imported, and says in status.json how things
went, in a sentence; what only a developer understands goes to its output, worker.log. At its end it turns into the
worker of the next queued run, so that a queue goes on when no page is open.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
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
    """Train a run in this process until it ends, is asked to pause or stop, or gets SIGTERM or Ctrl-C (a pause).

    `on_event` sees each event right after it was written down. Returns how the run stands then; what went wrong is in
    its state and reason. Raises InputError if another process has the run in hand or it came with nano-llm, OSError if
    its folder is read-only.
    """
    if run.read_only:
        raise InputError("The models that come with nano-llm stay as they are: fork this one into a run of your own.")
    with _locked(run) as heartbeat:
        state = run.status().state
        if run.checkpoints_only or state in ("completed", "diverged"):
            raise InputError(f"This run is {state}: continue it in a new one, or start afresh.")
        Worker(run, heartbeat, corpora, on_event, ranks).work()
    return run.status()


def main() -> int:
    """Train the run in RUN_DIR if it is its turn, then the rest of the queue."""
    parser = argparse.ArgumentParser(prog="python -m nanollm.runs.process.worker", description=main.__doc__)
    parser.add_argument("run_dir", type=Path, help="the folder of a queued run")
    parser.add_argument("--corpora", type=Path, default=Path("data/corpora"), help="where texts are kept")
    parser.add_argument("--nice", type=int, default=0, help="how far to step back where others need the processor")
    parser.add_argument("--run-seconds", type=float, help="end a run that trained for so long, and keep it")
    arguments = parser.parse_args()
    if arguments.nice:
        with suppress(OSError):  # not lower than it is: a worker that follows another has stepped back already
            os.setpriority(os.PRIO_PROCESS, 0, arguments.nice)
    try:
        run = Run.open(arguments.run_dir)
        with _locked(run) as heartbeat:
            # Asked again now that nobody else can have it: it may have been paused on the way here.
            if (state := run.status().state) != "queued":
                raise InputError(f"This run is {state}, not queued: resume it instead.")
            worker = Worker(run, heartbeat, arguments.corpora, seconds=arguments.run_seconds)
            worker.work()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if not worker.requests.terminated:
        terms = {"nice": arguments.nice, "run_seconds": arguments.run_seconds}
        _continue_queue(RunStore(run.folder.parent), arguments.corpora, terms)
    return 0


class Worker:
    """Trains one run that this process owns, and leaves its status settled whatever happens."""

    def __init__(
        self,
        run: Run,
        heartbeat: Heartbeat,
        corpora: Path | str,
        on_event: Callable[[Event], None] | None = None,
        ranks: Ranks | None = None,
        seconds: float | None = None,
    ) -> None:
        self.run = run
        self.requests = ControlRequests(run.folder, seconds)  # None: as long as it takes
        self._heartbeat = heartbeat
        self._corpora = corpora
        self._on_event = on_event
        self._ranks = ranks  # None: alone
        self._remarks: list[str] = []

    def work(self) -> None:
        """Train to the end or to an interruption. Raises OSError only if not even the status can be written."""
        step = self.run.status().step
        with _signals_as_requests(
            self.requests, self.run
        ):  # before it says that it runs: no signal finds it unprepared
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
        from nanollm.runs.process.training import Training  # takes seconds: torch

        ranks = {"ranks": self._ranks} if self._ranks else {}
        return Training(self.run, self._corpora, self._handle_event, self._add_remark, **ranks).go(self._between_steps)

    def _handle_event(self, event: Event) -> None:
        self._heartbeat.record_progress()
        if self._on_event:
            self._on_event(event)

    def _between_steps(self) -> None:
        self._heartbeat.record_progress()
        self.requests.check()

    def _add_remark(self, remark: str) -> None:
        self._remarks.append(remark)
        write_status(self.run.folder, "running", step=0, reason=" ".join(self._remarks))  # the step is in the log

    def _set_state(self, outcome: Outcome) -> None:
        with suppress(OSError):
            self.requests.clear()
        sentences = [*self._remarks, outcome.reason]
        if outcome.state == "paused" and self.requests.terminated and not outcome.reason:
            sentences.append("Its process was asked to end, and saved everything first.")
        if outcome.state == "stopped" and self.requests.time_limit_reached:
            sentences.append(f"Its {self.requests.seconds:,.0f} s were over.")
        more: dict[str, Any] = {"peak_bytes": peak_bytes()}
        if outcome.seconds is not None:
            more |= {"seconds": outcome.seconds, "val_loss": outcome.val_loss}
        reason = " ".join(filter(None, sentences))
        write_status(self.run.folder, outcome.state, step=outcome.step, reason=reason, **more)


@contextmanager
def _locked(run: Run) -> Iterator[Heartbeat]:
    try:
        with Heartbeat(run.folder) as heartbeat:
            yield heartbeat
    except Timeout as error:
        raise InputError("This run is in training already: another process has it in hand.") from error


def _failure(run: Run, error: BaseException) -> Outcome:
    """What went wrong, as an outcome with a sentence that says what to do."""
    step, files, trouble = run.status().step, run.resume_files(), str(error).lower()
    remedy = f"resume goes on from step {int(files[0].stem[-8:]):,}" if files else "resume starts it again"
    if isinstance(error, InputError):
        return Outcome("failed", step, str(error))
    if isinstance(error, PeerLostError):
        return Outcome("failed", step, f"Another of its processes ended or fell silent: {remedy}.")
    if isinstance(error, MemoryError) or any(words in trouble for words in _OUT_OF_MEMORY):
        return Outcome("failed", step, "There was not enough memory: choose a smaller batch_size or a smaller model.")
    if isinstance(error, OSError):
        why = error.strerror or type(error).__name__
        return Outcome("paused", step, f"Its files could not be written ({why}): make room; {remedy}.")
    if isinstance(error, KeyboardInterrupt):
        return Outcome("paused", step, f"Its process had to end before it could save: {remedy}.")
    return Outcome("failed", step, f"Something inside went wrong (worker.log has the details): {remedy}.")


@contextmanager
def _signals_as_requests(requests: ControlRequests, run: Run) -> Iterator[None]:
    """While inside, SIGTERM and Ctrl-C ask for a pause; a step that does not end in time is given up."""
    if threading.current_thread() is not threading.main_thread():  # only there does Python let one handle signals
        yield
        return
    timer = threading.Timer(GRACE_SECONDS, _force_exit, [run])
    timer.daemon = True

    def on_signal(number: int, frame: Any) -> None:
        if requests.terminated and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C: at once
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
    """Remove what a killed worker left half-written; only the run's owner may."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)


def _continue_queue(store: RunStore, corpora: Path, terms: Mapping[str, float | None]) -> None:
    """Become the worker of the next queued run, if there is one.

    Replacing this process, not starting a child: the server that started this one goes on waiting for it, and nobody
    is left with a dead process to bury.
    """
    with suppress(InputError, OSError), store.lock(timeout=5):
        run = next_queued_run(store, patience=stall_limit(terms["run_seconds"]))
        if run is None:
            return
        with open(run.folder / run_files.LOG, "ab") as log:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        command = worker_command(run.folder, corpora.absolute(), **terms)
        os.execve(command[0], command, worker_environment())


if __name__ == "__main__":
    sys.exit(main())
