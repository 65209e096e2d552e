"""Exit statuses and one-sentence errors, shared by all commands.

0: success; 2: invalid request or disk error; 130: Ctrl-C. A command may return other values itself.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from nanollm.errors import InputError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports an error as one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message.rstrip('.')}: see {self.prog} --help.\n")


def status_of(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; errors are printed to stderr as one sentence."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # print "?" for characters that the terminal cannot encode
    try:
        status = command()
        sys.stdout.flush()
        return status
    except InputError as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:
        # The reader closed the pipe (for example `| head`). Without the redirect, Python would report an error when it
        # flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{error.filename or 'A file'}: {error.strerror or error}.", file=sys.stderr)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130  # 128 + SIGINT, the shell convention
    return 2
