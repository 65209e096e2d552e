"""A thread-safe cache with a limited capacity that drops the least recently used values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LRUCache(Generic[Value]):
    """Keeps values until their sizes add up to more than `capacity`, but always the most recent one."""

    def __init__(self, capacity: int, size: Callable[[Value], int] = lambda value: 1) -> None:
        """`size` returns the size of a value; by default `capacity` is a number of values."""
        self._capacity, self._size = capacity, size
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()  # with their sizes
        self._total = 0
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, calling `make` if it is missing. Concurrent calls may both call `make`."""
        known = self.peek(key)
        return known if known is not None else self.put(key, make())

    def peek(self, key: Hashable) -> Value | None:
        """Return the value of a key, or None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Hashable, value: Value) -> Value:
        """Store a value and return it."""
        with self._lock:
            self._total -= self._entries.pop(key, (None, 0))[1]
            self._entries[key] = value, self._size(value)
            self._total += self._entries[key][1]
            while self._total > self._capacity and len(self._entries) > 1:
                self._total -= self._entries.popitem(last=False)[1][1]
        return value
