"""The files of a run folder, and how JSON gets into them without ever being seen half-written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from nanollm.files import read_json as read_json  # at home here too, beside write_json
from nanollm.files import write_atomic

RUN = "run.json"  # what was asked for; written once, later only its title changes
STATUS = "status.json"  # state, step, reason
PARENT = "parent.safetensors"  # the checkpoint that a run starts from if it continues another
BASELINES = "baselines.json"  # what plain counting achieves on the run's text
METRICS = "metrics.jsonl"  # one event a line; only the worker writes it
PRETRAINED = "pretrained"  # the folder of the runs that come with the project, beside those that people start
CONTROL = "control"  # files named as CONTROL_REQUESTS: created by anyone, obeyed by the worker
CONTROL_REQUESTS = ("stop", "end", "pause")  # "end": as a signal would, to pause and leave the queue to others
LOG = "worker.log"  # what the worker printed, tracebacks included; never shown on the page
LOCK = "worker.lock"  # held for the worker's life
HEARTBEAT = "heartbeat"

# Files smaller than this are padded to it, so that a full disk still has room for the news that it is full.
_ROOM = 1024


def means_path(checkpoint: Path) -> Path:
    """Where a worker keeps what each part of a snapshot's model does on average (explain/ablation.py says why)."""
    return checkpoint.with_name(f"means_{checkpoint.name.removeprefix('checkpoint_')}")


def findings_path(checkpoint: Path) -> Path:
    """Where the models that come along keep what was found out about a snapshot (explain/findings.py says why)."""
    return checkpoint.with_name(f"findings_{checkpoint.name.removeprefix('checkpoint_')}")


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Replace a JSON file in one step: a reader finds the old content or the new, even after a power cut.

    Where the disk has no room for a second copy, the old one is overwritten in place if the new fits into it.
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
    """A new file with another one's content, safe on disk. Raises OSError."""
    with open(original, "rb") as source, open(path, "xb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


def _overwrite(path: Path, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(content.ljust(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
