"""Time-bar frames: generations for one snapshot after another, computed once and cached for all visitors."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from nanollm.errors import InputError
from nanollm.limits import Limits
from playground.services import sentences
from playground.services.generation import Generation
from playground.services.generation_request import GenerationRequest
from playground.services.lru_cache import LRUCache
from playground.services.models import Models, Version, version

FRAME_LENGTH = 400  # characters; for a snapshot on which the time bar rests, the page generates the rest
CAPACITY = 64 * 2**20  # bytes of cached frames, for all visitors together
MAX_WAITING = 64  # for all visitors together

Key = tuple[GenerationRequest, Version]
Frame = list[dict[str, Any]]  # the value of a shaded_text


class Frames:
    """Computes frames one at a time, beside the other generations, and caches them.

    `visitor` returns the visitor of the current task; each may have `max_waiting` requests waiting.
    """

    def __init__(self, models: Models, limits: Limits, visitor: Callable[[], str], max_waiting: int) -> None:
        self._models, self._limits, self._visitor, self._max_waiting = models, limits, visitor, max_waiting
        self._cache: LRUCache[Frame] = LRUCache(CAPACITY, lambda frame: len(json.dumps(frame)))
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="frames")
        self._waiting: Counter[str] = Counter()  # requests by visitor

    async def frame(self, request: GenerationRequest) -> Frame:
        """Return the value of a shaded_text with the first FRAME_LENGTH generated characters.

        Raises InputError as Generation does, for a prompt over the limit, and if too many requests are waiting.
        """
        self._limits.require_generation(request.full_prompt)
        request = replace(request, max_length=min(request.max_length, FRAME_LENGTH))
        visitor = self._visitor()
        if self._waiting[visitor] >= self._max_waiting:
            raise InputError(sentences.TOO_MANY_REQUESTS)
        if self._waiting.total() >= MAX_WAITING:
            raise InputError(sentences.BUSY)
        self._waiting[visitor] += 1
        try:
            # Cached frames do not wait for the ones that are being computed.
            if (cached := await asyncio.to_thread(lambda: self._cache.peek(self._key(request)))) is not None:
                return cached
            return await asyncio.wrap_future(self._worker.submit(copy_context().run, self._compute, request))
        finally:
            self._waiting[visitor] -= 1
            self._waiting += Counter()  # removes visitors whose count is 0

    def _compute(self, request: GenerationRequest) -> Frame:
        key = self._key(request)
        if (cached := self._cache.peek(key)) is not None:  # computed while this request was waiting
            return cached
        generation = Generation(self._models.get(request.run, request.step), request)
        while not generation.stream.finished:
            generation.stream.advance(1.0)
        return self._cache.put(key, generation.value())

    def _key(self, request: GenerationRequest) -> Key:
        """The request and the version of the snapshot's file. Raises InputError if the file does not exist."""
        return request, version(self._models.find(request.run, request.step)[1])
