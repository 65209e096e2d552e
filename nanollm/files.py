"""Atomic file writes (temporary file, fsync, rename), and tolerant reading of JSON files."""

from __future__ import annotations

import errno
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """Return the folder for files that can be recreated. Raises RuntimeError if the home folder is unknown."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nanollm"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file. Returns {} if the file is missing or contains no JSON object."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def disk_error_hint(error: OSError) -> str:
    """Return the end of an error message for a failed disk operation: the reason and a fix."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    fix = "free some disk space" if full else "choose another folder, or make it writable"
    return f"({error.strerror or error}): {fix}."


def write_atomic(path: str | Path, content: bytes) -> None:
    """Replace a file atomically: readers see the old or the new content, even after a power failure.

    Raises OSError if the write fails; the old file is then unchanged. A process that is killed while writing leaves a
    hidden file with the suffix .part.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that renames survive a power failure. Does nothing if unsupported."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
