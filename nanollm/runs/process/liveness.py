"""Whether a run's worker is alive (a file lock that ends with the process) and making progress (a heartbeat).

Process ids and the wall clock are not trusted: the system reuses ids, and users can change the clock. The kernel
releases the lock within a millisecond of a worker's death. Heartbeats contain the monotonic clock, which all
processes of a machine share and which stops while the machine sleeps. For a worker on another machine, whose clock and
process ids are not comparable, only changes of its heartbeat count.
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
STALL_SECONDS = 20.0  # no heartbeat for this long: stalled
PATIENCE_SECONDS = 300.0  # no progress for this long (or 10 × the longest interval so far): the heartbeat stops


class Heartbeat:
    """Locks a run folder and writes its heartbeat: `with Heartbeat(folder) as heartbeat: ...`.

    A thread writes the heartbeat every two seconds, so it stops if the process is suspended. Because the thread would
    continue if training hangs, it only writes while record_progress() keeps being called.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / run_files.LOCK, thread_local=False)
        self._over = threading.Event()
        self._longest = 0.0
        self._moved = time.monotonic()

    def __enter__(self) -> Heartbeat:
        """Raises filelock.Timeout if another process owns the run."""
        self._lock.acquire(timeout=1)  # longer than readers hold the shared lock
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
        """Report progress; call this at every event."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._moved)
        self._moved = now

    def _keep_beating(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            if time.monotonic() - self._moved < max(PATIENCE_SECONDS, 10 * self._longest):
                self._beat()

    def _beat(self) -> None:
        # One short write in place is atomic for readers and works on a full disk.
        os.pwrite(self._file, f"{time.monotonic():20.3f} {os.getpid():10d} {_MACHINE}\n".encode(), 0)


def alive(folder: Path) -> bool:
    """Whether a process holds the lock of this run folder."""
    try:
        descriptor = os.open(folder / run_files.LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        # A shared lock, so that concurrent readers do not mistake each other for a worker.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def seconds_since_heartbeat(folder: Path) -> float:
    """Seconds since the last heartbeat in this folder; 0 if there was none yet."""
    beat, now = _heartbeat(folder), time.monotonic()
    if beat is None:
        return 0.0
    if beat[2] == _MACHINE:
        return max(0.0, now - beat[0])
    known, since = _remote_beats.get(folder, (None, now))
    _remote_beats[folder] = (beat, since if beat == known else now)
    return now - _remote_beats[folder][1]


def owner_pid(folder: Path) -> int | None:
    """The process id in the heartbeat, for display or comparison with a child process; it may have been reused.

    None without a heartbeat and for a worker on another machine.
    """
    beat = _heartbeat(folder)
    return beat[1] if beat and beat[2] == _MACHINE else None


@contextmanager
def try_claim(folder: Path, timeout: float = 0.5) -> Iterator[bool]:
    """Try to lock a run against workers; yields whether that succeeded (False if a worker owns it).

    The timeout covers a worker that has written its final status and is about to exit. Raises InputError if the folder
    cannot be written.
    """
    lock = FileLock(folder / run_files.LOCK, thread_local=False)
    try:
        lock.acquire(timeout=timeout, poll_interval=0.02)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise InputError(f"The run folder cannot be written {disk_error_hint(error)}") from error
    try:
        yield True
    finally:
        lock.release()


def _heartbeat(folder: Path) -> Beat | None:
    try:
        at, pid, *machine = (folder / run_files.HEARTBEAT).read_text().split()
        return float(at), int(pid), machine[0] if machine else _MACHINE  # older versions did not write the machine
    except (OSError, ValueError):
        return None


def _machine() -> str:
    """An id of this machine since its last boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


Beat = tuple[float, int, str]  # monotonic clock, process id and machine of the writer
_MACHINE = _machine()
_remote_beats: dict[
    Path, tuple[Beat | None, float]
] = {}  # last heartbeat from another machine, and when it was first seen here
