"""Event handlers: the options that listeners share, and how a handler's errors reach the user."""

from __future__ import annotations

import functools
import html
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import gradio as gr

from nanollm.errors import InputError

log = logging.getLogger("nanollm.page")
Function = TypeVar("Function", bound=Callable[..., Any])

# For events that start without a click, such as timers: no queue, no spinner, not part of the public API. Gradio shows
# no toast for an unqueued event.
UNQUEUED: dict[str, Any] = dict(api_visibility="private", show_progress="hidden", queue=False)
# For what a user clicks: the same, but queued.
QUEUED: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
# For every listener to a change that has other listeners. With the default for changes, "always_last", Gradio repeats a
# deferred event for all of its listeners, not only for the one that was busy: two such listeners trigger each other
# forever.
MULTIPLE: dict[str, Any] = dict(trigger_mode="multiple")
# For a listener whose answer must not be overwritten by a late one: one event at a time, then the latest of the others.
LAST: dict[str, Any] = dict(trigger_mode="always_last")
ERROR_TITLE = "That did not work"
INTERNAL_ERROR = "Something went wrong on the server. Your runs and texts are safe. The server log has the details."


def report_errors(handler: Function) -> Function:
    """Decorate a handler so that its exceptions appear as toasts.

    An InputError shows its own message. Any other exception is logged with its traceback and shows INTERNAL_ERROR.
    Works on functions and generators. The event must be queued: Gradio shows no toast otherwise.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def generator(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except Exception as error:
                raise error_toast(error) from None

        return cast(Function, generator)

    @functools.wraps(handler)
    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise error_toast(error) from None

    return cast(Function, function)


def error_toast(error: Exception) -> gr.Error:
    """Convert an exception to the error that Gradio shows as a toast: one sentence, never a traceback."""
    message = html.escape(error_message(error), quote=False)
    return gr.Error(message, duration=6, title=ERROR_TITLE, print_exception=False)


def warn(message: str) -> None:
    """Show a warning toast. The message is escaped, because Gradio reads it as HTML and it may quote user text."""
    gr.Warning(html.escape(message, quote=False), duration=6, title=ERROR_TITLE)


def error_message(error: Exception) -> str:
    """Return the sentence to show for an exception; log any that is neither InputError nor gr.Error."""
    if isinstance(error, gr.Error):
        return str(error.message)
    if isinstance(error, InputError):
        return str(error)
    log.error("a handler failed", exc_info=error)
    return INTERNAL_ERROR
