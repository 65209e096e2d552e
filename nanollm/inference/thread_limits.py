"""Streams in several threads take turns at computing, each on one BLAS thread.

A character is some forty tiny operations, and in many of them Python's global lock may change hands: eight threads of
nano that computed as they liked wrote 0.8 times as much as one alone, in turns they write 0.9 times as much.
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

SLICE = 0.005  # seconds for which a stream may go on before the others

_computing = Lock()  # held by the stream that computes
_line = Lock()  # held by the one that is next
_taken = (0, 0.0)  # the slice that was begun last: its thread and its end


class Turn:
    """One stream's place among the streams."""

    def __init__(self) -> None:
        self._until = 0.0

    def take(self, work: Callable[[], Result]) -> Result:
        """Compute when nobody else does.

        Within its slice a stream may step in again at once. After that it queues behind whoever is next, so that none
        starves: a lock alone would nearly always go back to the thread that has just let go of it.
        """
        if perf_counter() < self._until:
            with _computing:
                return work()
        global _taken
        with _line:
            thread, until = _taken
            # Not at the lock: whoever waits there is woken by each character of the other, to find that it goes on.
            if thread != get_ident() and (left := until - perf_counter()) > 0:
                sleep(left)
            with _computing:
                self._until = perf_counter() + SLICE
                _taken = (get_ident(), self._until)
                return work()


def numpy_blas() -> list[LibController]:
    """The BLAS that numpy brings with it, if it does. What PyTorch multiplies with is another one."""
    home = Path(np.__file__).parent
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    return [
        library for library in libraries if {home, home.with_name("numpy.libs")} & {*Path(library.filepath).parents}
    ]


# Whoever imports this has numpy multiply on one thread from then on. Two threads that share a product wait for each
# other in a loop, and where other work occupies the processors, that wait is most of the time: with both cores of a
# machine training, eight streams of medium wrote a hundred times less. To limit it only while a character is computed
# would be more polite, but OpenBLAS 0.3.31 heeds only a process's main thread in this, and the page's streams live in
# others. PyTorch, and so all training, keeps its own threads.
for _library in numpy_blas():
    _library.set_num_threads(1)
