"""Workers on other machines, started by user-defined commands (ssh, srun, …), one run at a time per command.

The other machine must see the same run folders: control requests and status are exchanged through files only.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nanollm.errors import InputError
from nanollm.runs import run_files
from nanollm.runs.process.launcher import Launcher, last_error, worker_command
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore

COMMAND = "{command}"


class RemoteLauncher(Launcher):
    """A Launcher that trains one run per command at a time."""

    def __init__(self, store: RunStore, corpora: Path | str, commands: Sequence[str]) -> None:
        """Each command contains {command}, a placeholder for the worker's command line. Raises InputError otherwise."""
        super().__init__(store, corpora)
        for command in commands:
            launch_command(command, ["true"])
        self.commands = tuple(commands)
        self._started: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}  # run id and process by index of the command

    def advance(self, patience: float = 0.0) -> None:
        """Start the next queued run with each free command. Does not wait: the command may queue the job itself."""
        with suppress(InputError), self.store.lock(timeout=patience):
            for number, command in enumerate(self.commands):
                if not self._busy(number) and (run := self._next()) is not None:
                    self._start_on(number, run, command)

    def _busy(self, number: int) -> bool:
        """Whether a command's run is still active; if its worker never started, record the failure in the run."""
        if number not in self._started:
            return False
        run_id, child = self._started[number]
        with suppress(InputError):  # it may have been deleted
            run = self.store.get(run_id)
            if child.poll() is None or run.alive():  # the worker may outlive the command that started it
                return True
            if run.status().state == "queued":
                self._record_failure(run, last_error(run.folder / run_files.LOG))
        del self._started[number]
        return False

    def _next(self) -> Run | None:
        taken = {run_id for run_id, _ in self._started.values()} | self._unstartable
        waiting = [run_id for run_id in self.store.queue() if run_id not in taken]
        return self.store.get(waiting[0]) if waiting else None

    def _start_on(self, number: int, run: Run, command: str) -> None:
        try:
            child = self._spawn(run, launch_command(command, worker_command(run.folder, self.corpora)))
        except OSError as error:
            self._record_failure(run, f"The worker process could not be started: {error.strerror or error}.")
        else:
            self._started[number] = run.id, child


def launch_command(template: str, command: Sequence[str]) -> list[str]:
    """Insert a command into a template: {command} as its own word expands to words, inside a word it is shell-quoted.

    Raises InputError if the template cannot be parsed or does not contain {command} after a program name.
    """
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise InputError(f"The launch command {template!r:.80} cannot be read ({error}): check its quotes.") from error
    if COMMAND not in template or words[0] == COMMAND:
        raise InputError(
            f"The launch command {template!r:.80} must pass {COMMAND} to a program: see TRAINING.md for examples."
        )
    found: list[str] = []
    for word in words:
        found += command if word == COMMAND else [word.replace(COMMAND, shlex.join(command))]
    return found
