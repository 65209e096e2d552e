"""The frames of the time bar: the same question put to one snapshot after another, each answered once for everybody."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from threading import Lock
from typing import Any

from nanollm.errors import InputError
from nanollm.limits import Limits
from playground.public.fair_queue import ENOUGH
from playground.services.generation_request import Question
from playground.services.models import Models, Version, version

LENGTH = 400  # characters of a frame; who rests on one gets the rest written on
CAPACITY = 64 * 2**20  # bytes of frames that are kept, over all visitors
MOST_WAITING = 64  # over all visitors

Key = tuple[Question, Version]


class Frames:
    """Finished answers by question. One is computed at a time, as one more among those who write at the moment.

    `who` names the visitor for whom a task is at work: each may have `most` questions waiting. A page has one.
    """

    def __init__(self, models: Models, limits: Limits, who: Callable[[], str], most: int) -> None:
        self._models, self._limits, self._who, self._most = models, limits, who, most
        self._kept: OrderedDict[Key, tuple[int, list[dict[str, Any]]]] = OrderedDict()
        self._size = 0
        self._lock = Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="frames")
        self._waiting: Counter[str] = Counter()  # questions, by visitor

    async def frame(self, question: Question) -> list[dict[str, Any]]:
        """The value of a shaded_text.

        Raises InputError as a Draft does, for too long a prompt, and where too many are waiting.
        """
        self._limits.require_generation(question.given)
        question = replace(question, max_length=min(question.max_length, LENGTH))
        visitor = self._who()
        if self._waiting[visitor] >= self._most:
            raise InputError(ENOUGH)
        if self._waiting.total() >= MOST_WAITING:
            raise InputError("Many want to travel at this moment: try again in a while.")
        self._waiting[visitor] += 1
        try:
            if (known := await asyncio.to_thread(self._known, question)) is not None:  # past those that are computed
                return known
            return await asyncio.wrap_future(self._worker.submit(copy_context().run, self._compute, question))
        finally:
            self._waiting[visitor] -= 1
            self._waiting += Counter()  # forgets who waits no more

    def _known(self, question: Question) -> list[dict[str, Any]] | None:
        """The frame, if it was computed before."""
        key = self._key(question)
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][1]

    def _compute(self, question: Question) -> list[dict[str, Any]]:
        from playground.services.generation import Draft

        if (known := self._known(question)) is not None:  # somebody asked the same a moment earlier
            return known
        key = self._key(question)
        draft = Draft(self._models.get(question.run, question.step), question)
        while not draft.pen.finished:
            draft.pen.advance(1.0)
        value = draft.value()
        self._keep(key, value)
        return value

    def _key(self, question: Question) -> Key:
        """The question, and the version of the file that it is put to. Raises InputError where that is gone."""
        return question, version(self._models.find(question.run, question.step)[1])

    def _keep(self, key: Key, value: list[dict[str, Any]]) -> None:
        size = len(json.dumps(value))
        with self._lock:
            self._kept[key] = (size, value)
            self._size += size
            while self._size > CAPACITY:
                _, (gone, _) = self._kept.popitem(last=False)
                self._size -= gone
