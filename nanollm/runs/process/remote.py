"""Workers on other machines: a launcher that starts each by a command of one's own, one run at a time through each.

The commands (ssh, srun, …) bring the worker's own command line to a machine that sees the same run folders; all that is
said to a worker and heard of it lies there. So nothing here knows what a cluster is.
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
    """A Launcher that trains as many runs at once as it has commands."""

    def __init__(self, store: RunStore, corpora: Path | str, commands: Sequence[str]) -> None:
        """`commands` hold {command}, where the worker's command line goes. Raises InputError for one that does not."""
        super().__init__(store, corpora)
        for command in commands:
            launch_command(command, ["true"])
        self.commands = tuple(commands)
        self._started: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}  # by the number of the command

    def advance(self, patience: float = 0.0) -> None:
        """Start the next queued run through each command that is free. Waits for none of them: there may be a queue."""
        with suppress(InputError), self.store.lock(timeout=patience):
            for number, command in enumerate(self.commands):
                if not self._busy(number) and (run := self._next()) is not None:
                    self._start_on(number, run, command)

    def _busy(self, number: int) -> bool:
        """Whether the run that went through a command is still under way; if it never began, the run says so now."""
        if number not in self._started:
            return False
        run_id, child = self._started[number]
        with suppress(InputError):  # it may have been deleted
            run = self.store.get(run_id)
            if child.poll() is None or run.alive():  # the worker may outlive what brought it there
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
            self._record_failure(run, f"Its process could not be started: {error.strerror or error}.")
        else:
            self._started[number] = run.id, child


def launch_command(template: str, command: Sequence[str]) -> list[str]:
    """The words to be run: {command} alone becomes the command's words, within a word (ssh's) it is quoted for a shell.

    Raises InputError for a template that is no command line, or has no place for the command.
    """
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise InputError(f"The launch command {template!r:.80} cannot be read ({error}): check its quotes.") from error
    if COMMAND not in template or words[0] == COMMAND:
        raise InputError(
            f"The launch command {template!r:.80} must start something that gets {COMMAND}: see TRAINING.md."
        )
    found: list[str] = []
    for word in words:
        found += command if word == COMMAND else [word.replace(COMMAND, shlex.join(command))]
    return found
