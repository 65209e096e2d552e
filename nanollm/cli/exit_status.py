"""How a command ends: with an exit status, and whatever went wrong said in one sentence.

0: done; 2: the request was wrong, or the disk refused; 130: Ctrl-C. A command itself may return another.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

from nanollm.errors import InputError


def status_of(command: Callable[[], int]) -> int:
    """The exit status of a command, after what went wrong was said in one sentence on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    try:
        status = command()
        sys.stdout.flush()
        return status
    except InputError as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:  # whoever reads stdout has seen enough; unread, Python would complain when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{error.filename or 'A file'}: {error.strerror or error}.", file=sys.stderr)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130  # as shells count it
    return 2
