"""A run as one file: a zip that holds what can be looked at, sampled from and forked, and how it comes back.

What goes in is what a reader of the folder needs: settings, curve, snapshots, means, findings. What stays behind is
what only going on would need (resume files), what may tell of a machine (the log), and the text, which is named by its
digest. What comes in is believed in nothing: every number is read, checked and written again, and no name in the file
becomes a path. Nothing is unpickled or run.
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
from nanollm.runs.transfer import standalone as alone
from nanollm.train.checkpoint import FINAL_NAME, load_model
from nanollm.train.events import Event, Resume, from_json, to_json

SAMPLE = "sample.py"  # lets a checkpoint write with numpy alone; never read here
FORMAT = 1  # of run.json, which a capsule shares with a run folder
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
_STATES = ("completed", "stopped", "diverged")  # a run that comes from elsewhere is over
_NOT_FINITE = ("loss", "grad_norm", "train_loss", "val_loss")  # what events may have as null
_ORIGIN = "It was brought in from a file."
_ENCRYPTED = 1  # bit of a zip entry's flags
# What Python's zip reader raises for what is no zip, or only nearly one.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)


def export(run: Run, file: Path | str) -> Path:
    """Write the run, as far as it has come, as one zip. The same run gives the same bytes.

    Raises InputError if the file is there already, if the run has no snapshot, or if the disk refuses.
    """
    file = Path(file)
    if file.exists():
        raise InputError(f"{str(file)!r} is there already: choose another name.")
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, content in contents(run):
                archive.writestr(zipfile.ZipInfo(name), content)  # dated 1980: nobody asks when it was packed
        os.replace(temporary, file)
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be written {disk_error_hint(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return file


def contents(run: Run) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a capsule's files. Raises InputError if there is nothing to be looked at (yet)."""
    if run.checkpoints_only:
        raise InputError("This folder holds only checkpoints: copy the files themselves.")
    snapshots = run.snapshots()
    if not snapshots:
        run.snapshot()  # says so
    status = run.status()
    yield run_files.RUN, _as_json(_about(run))
    yield SAMPLE, Path(alone.__file__).read_bytes()
    state = status.state if status.state in _STATES else "stopped"
    facts = {"state": state, "step": status.step, "seconds": status.seconds, "val_loss": status.val_loss}
    yield run_files.STATUS, _as_json(facts)
    if run.baselines:
        yield run_files.BASELINES, _as_json(asdict(run.baselines))
    with suppress(FileNotFoundError):
        log = (run.folder / run_files.METRICS).read_bytes()
        yield run_files.METRICS, log[: log.rfind(b"\n") + 1]  # a run in training may be writing its last line
    paths = [path for one in snapshots for path in (one.path, one.means_path, one.findings_path)]
    for path in [*paths, run.folder / FINAL_NAME]:
        with suppress(FileNotFoundError):  # nothing was kept beside it, or a best snapshot was outdone a moment ago
            yield path.name, path.read_bytes()


def import_(store: RunStore, file: Path | str) -> Run:
    """The run in a file that export() wrote, as a new one of the store: over, under an id of its own.

    Raises InputError, and leaves nothing behind, if the file is missing, no such file or damaged, if anything in it
    is not as a run's folder has it, or if the disk refuses.
    """
    with _temporary_folder(store) as folder:
        _unpack(Path(file), folder)
        return validate_and_adopt(store, folder)


def import_folder(store: RunStore, folder: Path) -> Run:
    """The same for the unpacked files of a capsule; whatever else lies in the folder is left where it is."""
    with _temporary_folder(store) as temporary:
        files = [path for path in folder.iterdir() if is_name(path.name) and path.is_file()]
        if sum(path.stat().st_size for path in files) > MAX_BYTES:
            raise _invalid_archive("it is too large")
        for path in files:
            shutil.copyfile(path, temporary / path.name)
        return validate_and_adopt(store, temporary)


def validate_and_adopt(store: RunStore, folder: Path) -> Run:
    """Check and write again all that lies in a folder from elsewhere, and make it a run of the store.

    The folder must lie in the store's root, hidden: it is renamed. Raises InputError as import_() does.
    """
    try:
        run = _checked_run(folder)
        _check_models(folder, run.model_config)
        _rewrite(folder, run)
        return store.adopt(folder)
    except OSError as error:
        raise InputError(f"The run cannot be saved {disk_error_hint(error)}") from error


@contextmanager
def _temporary_folder(store: RunStore) -> Iterator[Path]:
    """A hidden folder in the store's root that is gone afterwards, unless it has become a run."""
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
    """Write the known files of a zip into a folder; of the declared sizes none is believed."""
    try:
        packed = open(file, "rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror or error}.") from error
    left = MAX_BYTES
    try:
        with packed:
            _require_short_list(packed)
            with zipfile.ZipFile(packed) as archive:
                for entry in _valid_entries(archive):
                    with archive.open(entry) as source, open(folder / entry.filename, "xb") as target:
                        while block := source.read(_CHUNK):
                            left -= len(block)
                            if left < 0:
                                raise _invalid_archive(f"it holds more than {MAX_BYTES // 2**20:,} MB")
                            target.write(block)
    except InputError:
        raise
    except _BROKEN as error:
        raise _invalid_archive("it is no zip, or it is damaged") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place in the file that cannot be
            raise InputError(f"The run cannot be saved {disk_error_hint(error)}") from error
        raise _invalid_archive("it is no zip, or it is damaged") from error


def _require_short_list(packed: BinaryIO) -> None:
    """Refuse a zip whose list of files is long, before Python's reader makes an object of each of them.

    A zip ends with 22 bytes (no remark behind them) that say how many files it has and how long the list of them is.
    """
    size = packed.seek(0, os.SEEK_END)
    packed.seek(max(0, size - 42))
    tail = packed.read()
    end, before = tail[-22:], tail[:4]
    count, length = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if len(end) < 22 or end[:4] != b"PK\5\6" or before == b"PK\6\7":  # the latter: another list, of any length
        raise _invalid_archive("it is no zip, or it is damaged")
    if size > MAX_BYTES or count > MAX_FILES or length > 500 * MAX_FILES:
        raise _invalid_archive("it is too large")


def _valid_entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries to be unpacked. Raises InputError for one that cannot be of a run."""
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise _invalid_archive("two of its files have the same name")
    for entry in entries:
        stored = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not entry.flag_bits & _ENCRYPTED
        if not (stored and (entry.filename == SAMPLE or is_name(entry.filename))):
            raise _invalid_archive(f"{entry.filename!r:.60} does not belong in it")
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise _invalid_archive(f"it holds more than {MAX_BYTES // 2**20:,} MB")
    return [entry for entry in entries if entry.filename != SAMPLE]


def is_name(name: str) -> bool:
    """Whether a file of this name belongs to a run that comes in."""
    return name in _RECORDS or any(pattern.fullmatch(name) for pattern in (_SNAPSHOT, _MEANS, _FINDINGS))


def _checked_run(folder: Path) -> Run:
    """What run.json says, as far as it can be believed."""
    for name in _RECORDS:
        path, most = folder / name, _MAX_METRICS if name == run_files.METRICS else _MAX_JSON
        if path.exists() and path.stat().st_size > most:
            raise _invalid_archive(f"{name} is too long")
    about = run_files.read_json(folder / run_files.RUN)
    if about.get("format", FORMAT) != FORMAT:
        version = about["format"]
        raise InputError(f"The file has format {version!r:.40}, this nano-llm reads format {FORMAT}: update nano-llm.")
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
        raise _invalid_archive(f"{run_files.RUN} is missing or not as a run has it") from error
    return run


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**40:
        raise ValueError("no number of characters")
    return value


def _check_models(folder: Path, config: ModelConfig) -> None:
    """Load every snapshot and what lies beside it, and see that it is of the run's model and of its step."""
    vocabularies = set()
    for path in sorted(folder.iterdir()):
        if numbered := _SNAPSHOT.fullmatch(path.name):
            info = load_model(path).info
            vocabularies.add(info.characters)
            if info.model_config != config or numbered[1] not in (f"{info.step:08d}", "final"):
                raise _invalid_archive(f"{path.name} is of another run")
        elif _MEANS.fullmatch(path.name):
            means = load_means(path)
            shapes = (config.num_layers, config.heads, config.embedding_dim), (config.num_layers, config.embedding_dim)
            tensors = means.heads, means.feed_forwards
            if tuple(t.shape for t in tensors) != shapes or any(t.dtype != np.float32 for t in tensors):
                raise _invalid_archive(f"{path.name} is of another run")
            if not all(np.isfinite(tensor).all() for tensor in tensors):
                raise _invalid_archive(f"{path.name} has numbers that are not finite")
        elif _FINDINGS.fullmatch(path.name) and not load_findings(path).fit(config):
            raise _invalid_archive(f"{path.name} is of another run")
    if len(vocabularies) != 1:
        raise _invalid_archive("its snapshots know different characters" if vocabularies else "it has no snapshot")


def _rewrite(folder: Path, run: Run) -> None:
    """Replace the records by what was understood of them."""
    status, counted = run_files.read_json(folder / run_files.STATUS), run_files.read_json(folder / run_files.BASELINES)
    lines = [to_json(event) for event in _events(folder / run_files.METRICS)]
    (folder / run_files.METRICS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    run_files.write_json(folder / run_files.RUN, {**_about(run), "created": time.time()})
    if _is_fitting(counted, Baselines):
        run_files.write_json(folder / run_files.BASELINES, {f.name: counted.get(f.name) for f in fields(Baselines)})
    else:
        (folder / run_files.BASELINES).unlink(missing_ok=True)
    state, step = status.get("state"), status.get("step")
    if state not in _STATES or type(step) is not int or not 0 <= step <= _MAX_STEP:
        raise _invalid_archive(f"{run_files.STATUS} is missing or not as a run has it")
    figures = {name: status.get(name) for name in ("seconds", "val_loss") if _fits(status.get(name), "float")}
    write_status(folder, state, step=step, reason=_ORIGIN, **figures)
    (folder / run_files.CONTROL).mkdir()


def _events(path: Path) -> Iterator[Event]:
    """What happened, line by line. Raises InputError for a line that no run has written."""
    reached = -1
    with suppress(FileNotFoundError), open(path, "rb") as lines:
        while line := lines.readline(_MAX_LINE):
            event = from_json(line.decode("utf-8", "replace"))
            if event is None:
                continue  # of a newer version
            if not _is_fitting(asdict(event), type(event)) or not -1 <= event.step <= _MAX_STEP:
                raise _invalid_archive(f"{run_files.METRICS} has a line that no run has written")
            if event.step < reached and not isinstance(event, Resume):
                raise _invalid_archive(f"{run_files.METRICS} goes back without a word")
            reached = event.step
            yield event


def _is_fitting(values: dict[str, Any], kind: type) -> bool:
    """Whether a record's values are of the types that its dataclass declares; JSON has null where one is not finite."""

    def is_fitting(name: str, declared: str) -> bool:
        return _fits(values.get(name), declared) or (values.get(name) is None and name in _NOT_FINITE)

    return all(is_fitting(f.name, str(f.type)) for f in fields(kind))


def _fits(value: Any, declared: str) -> bool:
    if value is None:
        return "None" in declared
    if isinstance(value, bool):
        return declared == "bool"
    if isinstance(value, int):
        return declared.startswith(("int", "float")) and abs(value) < 2**53
    if isinstance(value, float):
        return declared.startswith("float") and math.isfinite(value)
    return isinstance(value, str) and declared == "str" and len(value) <= _MAX_TEXT


def _about(run: Run) -> dict[str, Any]:
    """run.json as it may leave this machine, and as it comes in."""
    parent = {**asdict(run.parent), "title": clean_title(run.parent.title)} if run.parent else None
    return {
        "format": FORMAT,
        "title": clean_title(run.title) or "untitled",
        "created": run.created,
        "preset": run.preset if run.preset in list(PRESETS) else None,  # listed: it may be anything
        "settings": run.settings,
        "corpus": run.corpus,
        "model": to_dict(run.model_config),
        "train": to_dict(run.train_config),
        "parent": parent,
    }


def _as_json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False, indent=1, allow_nan=False).encode()


def _invalid_archive(why: str) -> InputError:
    return InputError(f"This is no run that nano-llm has exported ({why}): choose another file.")
