"""Processes that are timed from start to end, and processes that keep the CPUs busy, for benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nanollm.runs import run_files
from nanollm.runs.metrics_log import EventLog
from nanollm.train.events import Sample

ROOT = Path(__file__).resolve().parents[2]
BUSY_PROCESSES = 2
POLL_SECONDS = 0.1  # how often a training is observed; the accuracy of the time of its first sample
FIRST_SAMPLE_STEP = 10
# Ends when this process does, even if it is killed.
BUSY_LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(10**6): pass"


@contextmanager
def busy_processes() -> Iterator[None]:
    """Context manager: run BUSY_PROCESSES processes that compute all the time."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(BUSY_PROCESSES)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Watch(threading.Thread):
    """Observes a process: how long its main thread waited for a CPU, and when a run logged its first sample."""

    def __init__(self, pid: int, home: Path) -> None:
        super().__init__(daemon=True)
        self.began = time.perf_counter()
        self.waiting: float | None = None  # seconds; None if the system does not report it
        self.first_sample: float | None = None  # seconds after the start
        self.ended = threading.Event()
        self._statistics, self._home = Path(f"/proc/{pid}/schedstat"), home
        self._log: EventLog | None = None

    def run(self) -> None:
        while not self.ended.wait(POLL_SECONDS):
            with suppress(OSError):
                self.waiting = int(self._statistics.read_text().split()[1]) / 1e9
            if self._log is None:
                logs = list(self._home.glob(f"checkpoints/*/{run_files.METRICS}"))
                self._log = EventLog(logs[0]) if logs else None
            elif self.first_sample is None:
                samples = (event for event in self._log.events() if isinstance(event, Sample))
                if any(sample.step >= FIRST_SAMPLE_STEP for sample in samples):
                    self.first_sample = time.perf_counter() - self.began


def timed_process(arguments: Sequence[str], home: Path, cache: Path | None = None) -> dict[str, Any]:
    """Run `python ARGUMENTS` with an empty home folder: seconds, CPU seconds, what Watch observed, and the output.

    Raises RuntimeError, with the last line of stderr, if the process fails.
    """
    environment = {
        **os.environ,
        **{"NANOLLM_HOME": str(home), "XDG_CACHE_HOME": str(cache or home / "cache"), "PYTHONPATH": str(ROOT)},
    }
    with open(home / "stdout", "w+") as stdout, open(home / "stderr", "w+") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=home, env=environment, stdout=stdout, stderr=stderr, text=True
        )
        watch = Watch(process.pid, home)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.ended.set()
        watch.join()
        if process.returncode:
            stderr.seek(0)
            raise RuntimeError(f"{' '.join(arguments[:4])} failed: {stderr.read().strip().splitlines()[-1:]}")
        stdout.seek(0)
        return {
            **{"total_s": seconds, "cpu_s": usage.ru_utime + usage.ru_stime, "waiting_s": watch.waiting},
            **{"first_sample_s": watch.first_sample, "output": stdout.read()},
        }
