"""Export of a run as a zip archive, and its validated import.

The archive contains what is needed to inspect, sample from and fork the run: settings, curve, snapshots, means and
findings. It excludes resume files, the log (which may reveal details of the machine) and the text, which is identified
by its digest. Imports are untrusted: every value is parsed, validated and written again, names in the archive are never
used as paths, and nothing is unpickled or executed.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nanollm.config import PRESETS, ModelConfig, TrainConfig, make_configs, to_dict
from nanollm.data.ngrams import Baselines
from nanollm.errors import InputError
from nanollm.explain.ablation import load_means
from nanollm.explain.findings import load_findings
from nanollm.files import disk_error_hint
from nanollm.runs import run_files
from nanollm.runs.record import Run, write_status
from nanollm.runs.store import RunStore
from nanollm.runs.titles import clean as clean_title
from nanollm.runs.transfer import standalone
from nanollm.train.checkpoint import load_model
from nanollm.train.checkpoint_file import FINAL_NAME
from nanollm.train.events import Event, Resume, from_json, to_json

SAMPLE = "sample.py"  # the standalone sampling script; exported, but never imported
FORMAT = 1  # format of run.json, the same as in a run folder
MAX_FILES = 200
MAX_BYTES = 2**30  # unpacked, all files together
_MAX_JSON, _MAX_METRICS, _MAX_LINE = 2**20, 64 * 2**20, 2**17  # bytes
_MAX_STEP, _MAX_TEXT = 10_000_000, 10_000
_SETTINGS = {field.name for config in (ModelConfig, TrainConfig) for field in fields(config)}
_SNAPSHOT = re.compile(r"checkpoint_(\d{8}|final)\.safetensors")
_MEANS = re.compile(r"means_\d{8}\.safetensors")
_FINDINGS = re.compile(r"findings_\d{8}\.safetensors")
_RECORDS = (run_files.RUN, run_files.STATUS, run_files.METRICS, run_files.BASELINES)
_CHUNK = 2**20
_STATES = ("completed", "stopped", "diverged")  # an imported run has always ended
_FIGURES = ("seconds", "elapsed", "val_loss")  # of status.json
_NOT_FINITE = ("loss", "grad_norm", "train_loss", "val_loss")  # event fields that may be null
_ORIGIN = "Imported from a file."
_ENCRYPTED = 1  # flag bit of a zip entry
# Exceptions of Python's zip reader for invalid archives.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)


def export(run: Run, file: Path | str) -> Path:
    """Write the current state of a run as a zip archive; the same run gives the same bytes. Returns the path.

    Raises InputError if the file exists, the run has no snapshot, or the disk cannot be written.
    """
    file = Path(file)
    if file.exists():
        raise InputError(f"{str(file)!r} already exists: choose another name.")
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, content in archive_files(run):
                archive.writestr(zipfile.ZipInfo(name), content)  # a fixed date (1980) keeps the bytes reproducible
        os.replace(temporary, file)
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be written {disk_error_hint(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return file


def archive_files(run: Run) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of an archive. Raises InputError if the run has no snapshot yet."""
    if run.checkpoints_only:
        raise InputError("This folder contains only checkpoints: copy the files themselves.")
    snapshots = run.snapshots()
    if not snapshots:
        run.snapshot()  # raises InputError
    status = run.status()
    yield run_files.RUN, _as_json(_metadata(run))
    yield SAMPLE, Path(standalone.__file__).read_bytes()
    state = status.state if status.state in _STATES else "stopped"
    figures = {name: getattr(status, name) for name in _FIGURES}
    facts = {"state": state, "step": status.step, **figures}
    yield run_files.STATUS, _as_json(facts)
    if run.baselines:
        yield run_files.BASELINES, _as_json(asdict(run.baselines))
    with suppress(FileNotFoundError):
        log = (run.folder / run_files.METRICS).read_bytes()
        yield run_files.METRICS, log[: log.rfind(b"\n") + 1]  # a worker may be writing the last line
    paths = [path for one in snapshots for path in (one.path, one.means_path, one.findings_path)]
    for path in [*paths, run.folder / FINAL_NAME]:
        with suppress(FileNotFoundError):  # optional, or just replaced by a better snapshot
            yield path.name, path.read_bytes()


def import_(store: RunStore, file: Path | str) -> Run:
    """Add the run in an exported file to the store, under a new id and in an ended state.

    Raises InputError, without leaving files behind, if the file is missing, damaged or contains anything unexpected, or
    if the disk cannot be written.
    """
    with _temporary_folder(store) as folder:
        _unpack(Path(file), folder)
        return validate_and_adopt(store, folder)


def import_folder(store: RunStore, folder: Path) -> Run:
    """Like import_() for a folder with the unpacked files; other files in it are ignored."""
    with _temporary_folder(store) as temporary:
        files = [path for path in folder.iterdir() if is_name(path.name) and path.is_file()]
        if sum(path.stat().st_size for path in files) > MAX_BYTES:
            raise _invalid_archive("it is too large")
        for path in files:
            shutil.copyfile(path, temporary / path.name)
        return validate_and_adopt(store, temporary)


def validate_and_adopt(store: RunStore, folder: Path) -> Run:
    """Validate and rewrite all files of an imported folder, and add it to the store.

    The folder must be a hidden one in the store's root; it is renamed. Raises InputError like import_().
    """
    try:
        run = _validated_run(folder)
        _check_models(folder, run.model_config)
        _rewrite(folder, run)
        return store.adopt(folder)
    except OSError as error:
        raise InputError(f"The run cannot be saved {disk_error_hint(error)}") from error


@contextmanager
def _temporary_folder(store: RunStore) -> Iterator[Path]:
    """A hidden folder in the store's root, deleted afterwards unless it was renamed to a run."""
    folder = store.root / f".new-{secrets.token_hex(4)}-{os.getpid()}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"The run cannot be saved {disk_error_hint(error)}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(file: Path, folder: Path) -> None:
    """Extract the known files of a zip; limits apply to the actual sizes, not the declared ones."""
    try:
        packed = open(file, "rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror or error}.") from error
    left = MAX_BYTES
    try:
        with packed:
            _require_few_entries(packed)
            with zipfile.ZipFile(packed) as archive:
                for entry in _valid_entries(archive):
                    with archive.open(entry) as source, open(folder / entry.filename, "xb") as target:
                        while block := source.read(_CHUNK):
                            left -= len(block)
                            if left < 0:
                                raise _invalid_archive(f"it contains more than {MAX_BYTES // 2**20:,} MB")
                            target.write(block)
    except InputError:
        raise
    except _BROKEN as error:
        raise _invalid_archive("it is not a zip file or is damaged") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: an invalid offset in the archive
            raise InputError(f"The run cannot be saved {disk_error_hint(error)}") from error
        raise _invalid_archive("it is not a zip file or is damaged") from error


def _require_few_entries(packed: BinaryIO) -> None:
    """Reject a zip with too many entries before Python's reader creates an object for each of them.

    The last 22 bytes of a zip without comment contain the number of entries and the size of the central directory.
    """
    size = packed.seek(0, os.SEEK_END)
    packed.seek(max(0, size - 42))
    tail = packed.read()
    end, before = tail[-22:], tail[:4]
    count, length = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if len(end) < 22 or end[:4] != b"PK\5\6" or before == b"PK\6\7":  # PK\6\7: a zip64 directory, of any length
        raise _invalid_archive("it is not a zip file or is damaged")
    if size > MAX_BYTES or count > MAX_FILES or length > 500 * MAX_FILES:
        raise _invalid_archive("it is too large")


def _valid_entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries to extract. Raises InputError if any entry is not part of a run."""
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise _invalid_archive("two of its files have the same name")
    for entry in entries:
        stored = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not entry.flag_bits & _ENCRYPTED
        if not (stored and (entry.filename == SAMPLE or is_name(entry.filename))):
            raise _invalid_archive(f"it contains an unexpected entry, {entry.filename!r:.60}")
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise _invalid_archive(f"it contains more than {MAX_BYTES // 2**20:,} MB")
    return [entry for entry in entries if entry.filename != SAMPLE]


def is_name(name: str) -> bool:
    """Whether a file of this name is part of an archive."""
    return name in _RECORDS or any(pattern.fullmatch(name) for pattern in (_SNAPSHOT, _MEANS, _FINDINGS))


def _validated_run(folder: Path) -> Run:
    """The run with validated metadata."""
    for name in _RECORDS:
        path, most = folder / name, _MAX_METRICS if name == run_files.METRICS else _MAX_JSON
        if path.exists() and path.stat().st_size > most:
            raise _invalid_archive(f"{name} is too long")
    about = run_files.read_json(folder / run_files.RUN)
    if about.get("format", FORMAT) != FORMAT:
        version = about["format"]
        raise InputError(
            f"The file has format {version!r:.40}, but this nano-llm reads format {FORMAT}: update nano-llm."
        )
    try:
        run = Run.open(folder)
        run.settings = {name: value for name, value in run.settings.items() if name in _SETTINGS}
        make_configs({**run.settings, "vocab_size": run.model_config.vocab_size}, run.model_config.vocab_size)
        corpus = run.corpus
        run.corpus = {
            "name": clean_title(corpus["name"]),
            "sha256": re.fullmatch("[0-9a-f]{64}", corpus["sha256"])[0],  # type: ignore[index]
            "characters": _count(corpus["characters"]),
            "vocab_size": _count(corpus["vocab_size"]),
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _invalid_archive(f"{run_files.RUN} is missing or invalid") from error
    return run


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError("not a number of characters")
    return value


def _check_models(folder: Path, config: ModelConfig) -> None:
    """Load every snapshot with its means and findings, and check that model and step match."""
    vocabularies = set()
    for path in sorted(folder.iterdir()):
        if numbered := _SNAPSHOT.fullmatch(path.name):
            info = load_model(path).info
            vocabularies.add(info.characters)
            if info.model_config != config or numbered[1] not in (f"{info.step:08d}", "final"):
                raise _invalid_archive(f"{path.name} belongs to another run")
        elif _MEANS.fullmatch(path.name):
            means = load_means(path)
            shapes = (config.num_layers, config.heads, config.embedding_dim), (config.num_layers, config.embedding_dim)
            tensors = means.heads, means.feed_forwards
            if tuple(t.shape for t in tensors) != shapes or any(t.dtype != np.float32 for t in tensors):
                raise _invalid_archive(f"{path.name} belongs to another run")
            if not all(np.isfinite(tensor).all() for tensor in tensors):
                raise _invalid_archive(f"{path.name} has numbers that are not finite")
        elif _FINDINGS.fullmatch(path.name) and not load_findings(path).fit(config):
            raise _invalid_archive(f"{path.name} belongs to another run")
    if len(vocabularies) != 1:
        raise _invalid_archive("its snapshots have different vocabularies" if vocabularies else "it has no snapshot")


def _rewrite(folder: Path, run: Run) -> None:
    """Rewrite the JSON files with only the validated content."""
    status, counted = run_files.read_json(folder / run_files.STATUS), run_files.read_json(folder / run_files.BASELINES)
    lines = [to_json(event) for event in _events(folder / run_files.METRICS)]
    (folder / run_files.METRICS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    run_files.write_json(folder / run_files.RUN, {**_metadata(run), "created": time.time()})
    if _matches_fields(counted, Baselines):
        run_files.write_json(folder / run_files.BASELINES, {f.name: counted.get(f.name) for f in fields(Baselines)})
    else:
        (folder / run_files.BASELINES).unlink(missing_ok=True)
    state, step = status.get("state"), status.get("step")
    if state not in _STATES or type(step) is not int or not 0 <= step <= _MAX_STEP:
        raise _invalid_archive(f"{run_files.STATUS} is missing or invalid")
    figures = {name: status.get(name) for name in _FIGURES if _matches_type(status.get(name), "float")}
    write_status(folder, state, step=step, reason=_ORIGIN, **figures)
    (folder / run_files.CONTROL).mkdir()


def _events(path: Path) -> Iterator[Event]:
    """Yield the validated events. Raises InputError for an invalid event."""
    reached = -1
    with suppress(FileNotFoundError), open(path, "rb") as lines:
        while line := lines.readline(_MAX_LINE):
            event = from_json(line.decode("utf-8", "replace"))
            if event is None:
                continue  # an event type of a newer version
            if not _matches_fields(asdict(event), type(event)) or not -1 <= event.step <= _MAX_STEP:
                raise _invalid_archive(f"{run_files.METRICS} contains an invalid event")
            if event.step < reached and not isinstance(event, Resume):
                raise _invalid_archive(f"{run_files.METRICS} goes back to an earlier step without a resume")
            reached = event.step
            yield event


def _matches_fields(values: dict[str, Any], kind: type) -> bool:
    """Whether values have the types that a dataclass declares; _NOT_FINITE may be null."""

    def matches(name: str, declared: str) -> bool:
        return _matches_type(values.get(name), declared) or (values.get(name) is None and name in _NOT_FINITE)

    return all(matches(f.name, str(f.type)) for f in fields(kind))


def _matches_type(value: Any, declared: str) -> bool:
    if value is None:
        return "None" in declared
    if isinstance(value, bool):
        return declared == "bool"
    if isinstance(value, int):
        return declared.startswith(("int", "float")) and abs(value) < 2**53
    if isinstance(value, float):
        return declared.startswith("float") and math.isfinite(value)
    if isinstance(value, dict):
        return declared == "dict[str, float]" and all(
            _matches_type(name, "str") and _matches_type(number, "float") for name, number in value.items()
        )
    return isinstance(value, str) and declared == "str" and len(value) <= _MAX_TEXT


def _metadata(run: Run) -> dict[str, Any]:
    """The content of run.json for export and import, without owner and share key."""
    parent = {**asdict(run.parent), "title": clean_title(run.parent.title)} if run.parent else None
    return {
        "format": FORMAT,
        "title": clean_title(run.title) or "untitled",
        "created": run.created,
        "preset": run.preset
        if run.preset in list(PRESETS)
        else None,  # as a list, because an untrusted preset may be unhashable
        "settings": run.settings,
        "corpus": run.corpus,
        "model": to_dict(run.model_config),
        "train": to_dict(run.train_config),
        "parent": parent,
    }


def _as_json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False, indent=1, allow_nan=False).encode()


def _invalid_archive(why: str) -> InputError:
    return InputError(f"This is not a valid nano-llm run archive ({why}): choose another file.")
