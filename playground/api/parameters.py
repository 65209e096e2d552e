"""Check the parameters of the public endpoints, which clients can fill with any JSON value."""

from __future__ import annotations

import reprlib
from typing import Any

from nanollm.errors import InputError
from playground.api import sentences


def text(value: Any, message: str = sentences.NOT_TEXT) -> str:
    """Return a text parameter. Raises InputError with the message if it is no string."""
    if not isinstance(value, str):
        raise InputError(message.format(value=reprlib.repr(value)))
    return value


def step(value: Any) -> int | None:
    """Return the step of a snapshot, None for the last. Raises InputError if it is no integer."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InputError(sentences.NOT_A_STEP.format(value=reprlib.repr(value)))
    return value


def number(name: str, value: Any, count: int) -> int:
    """Return a number from 1 to `count`. Raises InputError for any other value."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= count:
        raise InputError(sentences.NOT_IN_RANGE.format(name=name, count=count, value=reprlib.repr(value)))
    return value
