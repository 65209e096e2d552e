"""File names inside a run folder, and atomic writing of its JSON files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from nanollm.files import read_json as read_json  # re-exported beside write_json
from nanollm.files import write_atomic

RUN = "run.json"  # settings, text and title; after creation only the title changes
STATUS = "status.json"  # state, step, reason
PARENT = "parent.safetensors"  # the checkpoint that a forked run starts from
BASELINES = "baselines.json"  # n-gram losses on the run's text
METRICS = "metrics.jsonl"  # one event per line, written only by the worker
PRETRAINED = "pretrained"  # subfolder of the pretrained runs
CONTROL = "control"  # folder with empty files named as in CONTROL_REQUESTS, which the worker obeys and deletes
CONTROL_REQUESTS = ("stop", "end", "pause")  # "end" acts like SIGTERM: pause, and do not start the next run
LOG = "worker.log"  # the worker's output with tracebacks; never shown on the page
LOCK = "worker.lock"  # locked as long as the worker lives
HEARTBEAT = "heartbeat"

# JSON files are padded to this size, so that a status can be overwritten in place even when the disk is full.
_ROOM = 1024


def means_path(checkpoint: Path) -> Path:
    """Path of the mean component outputs measured for a checkpoint (see explain/ablation.py)."""
    return checkpoint.with_name(f"means_{checkpoint.name.removeprefix('checkpoint_')}")


def findings_path(checkpoint: Path) -> Path:
    """Path of the findings measured for a pretrained checkpoint (see explain/findings.py)."""
    return checkpoint.with_name(f"findings_{checkpoint.name.removeprefix('checkpoint_')}")


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Replace a JSON file atomically: a reader sees the old or the new content, even after a power failure.

    If the disk has no space for a second copy, the file is overwritten in place, provided the new content fits.
    Raises OSError if that fails too.
    """
    content = json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False).encode("utf-8", "replace")
    content = content.ljust(_ROOM - 1) + b"\n"
    try:
        write_atomic(path, content)
    except OSError:
        if not path.is_file() or path.stat().st_size < len(content):
            raise
        _overwrite(path, content)


def write_copy(path: Path, original: Path) -> None:
    """Copy a file and fsync the copy. Raises OSError, also if `path` exists."""
    with open(original, "rb") as source, open(path, "xb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


def _overwrite(path: Path, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(content.ljust(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
