"""Is a run's worker alive? A lock that dies with the process says so, and a heartbeat says whether it still moves.

No process id is ever trusted (the system reuses them), and no clock that a person can set: the kernel frees the lock
within a millisecond of a worker's death, and beats are readings of the monotonic clock, which all processes of a
machine share and which stands still while the machine sleeps. Of a worker on another machine, whose clock and process
ids say nothing here, only whether its beats change is looked at.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nanollm.errors import InputError
from nanollm.files import disk_error_hint
from nanollm.runs import run_files

BEAT_SECONDS = 2.0
STALL_SECONDS = 20.0  # this long without a beat: stalled
PATIENCE_SECONDS = 300.0  # this long (or ten times the longest wait so far) without an event: the beating stops, too


class Heartbeat:
    """The sign of life of the process that owns a run folder: `with Heartbeat(folder) as heartbeat: ...`.

    A thread beats every two seconds, so a process that was stopped falls silent. Since a thread would go on beating
    while training hangs, it vouches for training only as long as moved() keeps being called.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / run_files.LOCK, thread_local=False)
        self._over = threading.Event()
        self._longest = 0.0
        self._moved = time.monotonic()

    def __enter__(self) -> Heartbeat:
        """Raises filelock.Timeout if another process owns the run."""
        self._lock.acquire(timeout=1)  # longer than any reader's look at the lock
        self._file = os.open(self._folder / run_files.HEARTBEAT, os.O_CREAT | os.O_WRONLY, 0o644)
        self._beat()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._file)
        self._lock.release()

    def record_progress(self) -> None:
        """Training has got on: to be called at every event."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._moved)
        self._moved = now

    def _keep_beating(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            if time.monotonic() - self._moved < max(PATIENCE_SECONDS, 10 * self._longest):
                self._beat()

    def _beat(self) -> None:
        # One short write in place: readers never see half of it, and a full disk does not silence it.
        os.pwrite(self._file, f"{time.monotonic():20.3f} {os.getpid():10d} {_MACHINE}\n".encode(), 0)


def alive(folder: Path) -> bool:
    """Whether a process owns this run folder now."""
    try:
        descriptor = os.open(folder / run_files.LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared, so that two readers looking at once do not take each other for a worker.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def seconds_since_heartbeat(folder: Path) -> float:
    """Seconds since the owner of this folder last showed that it moves; 0 if it has not begun to."""
    beat, now = _heartbeat(folder), time.monotonic()
    if beat is None:
        return 0.0
    if beat[2] == _MACHINE:
        return max(0.0, now - beat[0])
    known, since = _remote_beats.get(folder, (None, now))
    _remote_beats[folder] = (beat, since if beat == known else now)
    return now - _remote_beats[folder][1]


def owner_pid(folder: Path) -> int | None:
    """The process id that the owner wrote down: to be shown, or compared with a child that is certainly one's own.

    None where nobody owns it, or somebody on another machine.
    """
    beat = _heartbeat(folder)
    return beat[1] if beat and beat[2] == _MACHINE else None


@contextmanager
def try_claim(folder: Path, timeout: float = 0.5) -> Iterator[bool]:
    """Keep workers off a run for a moment: yields whether that succeeded, False if one has it in hand.

    The timeout is for a worker that has said its last word and is about to be gone. Raises InputError if the folder
    cannot be written.
    """
    lock = FileLock(folder / run_files.LOCK, thread_local=False)
    try:
        lock.acquire(timeout=timeout, poll_interval=0.02)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise InputError(f"The run's folder cannot be written {disk_error_hint(error)}") from error
    try:
        yield True
    finally:
        lock.release()


def _heartbeat(folder: Path) -> Beat | None:
    try:
        at, pid, *machine = (folder / run_files.HEARTBEAT).read_text().split()
        return float(at), int(pid), machine[0] if machine else _MACHINE  # older workers did not say where they were
    except (OSError, ValueError):
        return None


def _machine() -> str:
    """What tells this machine from others, and from itself before it was started anew."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


Beat = tuple[float, int, str]  # the monotonic clock, process id and machine of its writer
_MACHINE = _machine()
_remote_beats: dict[
    Path, tuple[Beat | None, float]
] = {}  # beats from other machines, and since when they are known here
