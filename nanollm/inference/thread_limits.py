"""Thread limits for concurrent generation: one stream computes at a time, on one BLAS thread.

One character of a small model takes about forty tiny numpy operations, and Python's global interpreter lock may change
hands in many of them. Measured on the nano preset: eight unsynchronised threads together generate 0.8 times the
characters per second of one thread, eight threads that take time slices 0.9 times.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock, get_ident
from time import perf_counter, sleep
from typing import TypeVar

import numpy as np
from threadpoolctl import LibController, ThreadpoolController

Result = TypeVar("Result")

TIME_SLICE = 0.005  # seconds that one stream may compute before it has to queue again

_computing = Lock()  # held by the stream that computes
_next = Lock()  # held by the stream that is next; the others wait for it
_current = (0, 0.0)  # the running time slice: its thread and when it ends


class ComputeSlot:
    """One stream's access to the processor, shared fairly with all other streams of this process."""

    def __init__(self) -> None:
        self._until = 0.0

    def run(self, work: Callable[[], Result]) -> Result:
        """Call work() while no other stream computes, and return its result.

        Within its time slice a stream may compute again at once; afterwards it queues, so that no stream starves. A
        single lock would not be fair: the thread that has just released it nearly always gets it again.
        """
        if perf_counter() < self._until:
            with _computing:
                return work()
        global _current
        with _next:
            thread, until = _current
            # Sleep until the slice ends. Waiting on the lock instead would wake this thread after each character of the
            # running stream, only to find that its slice continues.
            if thread != get_ident() and (left := until - perf_counter()) > 0:
                sleep(left)
            with _computing:
                self._until = perf_counter() + TIME_SLICE
                _current = (get_ident(), self._until)
                return work()


def numpy_blas() -> list[LibController]:
    """The BLAS libraries bundled with numpy, if any. PyTorch brings its own, which is not included."""
    home = Path(np.__file__).parent
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    return [
        library for library in libraries if {home, home.with_name("numpy.libs")} & {*Path(library.filepath).parents}
    ]


# Importing this module limits numpy's BLAS to one thread for the whole process. Two threads that share a product
# busy-wait for each other, and if other work occupies the cores, waiting dominates: with both cores of a machine
# training, eight streams of the medium preset were a hundred times slower. Limiting it only around each character would
# be less invasive, but OpenBLAS 0.3.31 applies such a limit only in the main thread, and the playground generates in
# other threads. PyTorch, and so training, keeps its own threads.
for _library in numpy_blas():
    _library.set_num_threads(1)
