"""Event handlers: the options that listeners share, and how a handler's errors reach the user."""

from __future__ import annotations

import functools
import html
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from nanollm.errors import InputError

log = logging.getLogger("nanollm.page")
Function = TypeVar("Function", bound=Callable[..., Any])

# For events that no visitor waits for: no queue, no spinner, no place in the public API (and no toast).
QUIET: dict[str, Any] = dict(api_visibility="private", show_progress="hidden", queue=False)
# For every listener to a change that others listen to, too. The default for changes, "always_last", repeats a deferred
# event for all of its listeners, not for the one that was busy: two of them keep each other going for ever.
EACH: dict[str, Any] = dict(trigger_mode="multiple")
REFUSED = "That did not work"
DEFECT = "Something went wrong on our side; nothing of yours is lost. The server's log says more."


def polite(handler: Function) -> Function:
    """A handler whose failures are sentences: InputError's own as a toast, for anything else DEFECT, logged in full.

    Works on functions and on generators. The event must be queued: Gradio shows no toast otherwise.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def generator(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except Exception as error:
                raise spoken(error) from None

        return generator  # type: ignore[return-value]

    @functools.wraps(handler)
    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise spoken(error) from None

    return function  # type: ignore[return-value]


def spoken(error: Exception) -> gr.Error:
    """The error as the page shows it: one sentence, never a traceback."""
    return gr.Error(html.escape(sentence(error), quote=False), duration=6, title=REFUSED, print_exception=False)


def warn(message: str) -> None:
    """A toast. Gradio reads its text as HTML, and a sentence may quote a title or a text."""
    gr.Warning(html.escape(message, quote=False), duration=6, title=REFUSED)


def sentence(error: Exception) -> str:
    """What to tell the person; a defect of ours goes to the log with its traceback and gets a general sentence."""
    if isinstance(error, gr.Error):
        return str(error.message)
    if isinstance(error, InputError):
        return str(error)
    log.error("a handler failed", exc_info=error)
    return DEFECT
