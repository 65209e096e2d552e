"""Files that are whole or not there: written aside, forced onto the disk, and given their name in one step.

And what is read where nobody may rely on that.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file is missing or does not hold one."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def disk_error_hint(error: OSError) -> str:
    """What may help where the disk refused something, as the end of a sentence: the reason, and what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"({error.strerror or error}): {'make room' if full else 'choose another place, or make it writable'}."


def write_atomic(path: str | Path, content: bytes) -> None:
    """Replace a file: a reader finds the old content or the new, even after a power cut.

    Raises OSError, and leaves the old file as it was, if the disk refuses. A process that is killed here leaves a file
    that ends in .part.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with open(aside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
