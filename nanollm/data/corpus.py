"""Corpus store: texts for training, cleaned and stored under the SHA-256 of their content.

data/raw/sample.txt            the bundled text
data/corpora/<sha256>.txt      added texts, as clean UTF-8
data/corpora/<sha256>.json     name and statistics (the name is only displayed, never used as a path)
data/corpora/<sha256>.ids      token file of a large text (token_file.py), created when first used
data/corpora/<sha256>.counted  n-gram baselines (ngrams.py), one entry per validation_fraction

Large texts are processed in chunks, so that this needs only a few megabytes of memory.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import os
import re
import secrets
import time
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from nanollm.data.decoding import CHUNK, TextCounter, chunk_text, decode_file, require_size
from nanollm.data.ngrams import Baselines, measure_baselines
from nanollm.data.token_file import map_ids, write_ids
from nanollm.errors import InputError
from nanollm.files import read_json
from nanollm.limits import LOCAL, Limits
from nanollm.tokenizer import CharTokenizer

_HERE = Path(__file__).resolve()
# In a clone: data/raw/. In an installed package: a copy next to this file.
_PLACES = (_HERE.parents[2] / "data" / "raw" / "sample.txt", _HERE.with_name("sample.txt"))
BUNDLED = next(filter(Path.is_file, _PLACES), _PLACES[0])
MAX_NAME = 200
MAX_IN_MEMORY = 32 * 2**20  # bytes of ids; larger texts are memory-mapped
STALE_SECONDS = 24 * 60 * 60  # age at which temporary files are deleted, as left behind by a killed process

Ids = TypeVar("Ids", bound="Sequence[int] | np.ndarray")


@dataclass(frozen=True)
class CorpusInfo:
    """Metadata of a stored text."""

    sha256: str  # digest of the cleaned text as UTF-8
    name: str
    characters: int
    vocab_size: int
    added: float  # seconds since 1970; 0 for the bundled text
    bundled: bool = False
    builtin: str = ""  # id of the built-in text (builtin.py); empty for other texts

    def sentence(self) -> str:
        """Return the statistics in one sentence."""
        return f"{self.characters:,} characters, {self.vocab_size:,} distinct."


def read_file(path: str | Path, *, encoding: str | None = None, limit: int = LOCAL.text_bytes) -> Iterator[str]:
    """Read a text file in cleaned chunks. The caller must check TextCounter.require_text() at the end.

    Raises InputError if the file cannot be read, is larger than `limit` bytes, or cannot be decoded.
    """
    try:
        with open(path, "rb") as file:
            require_size(os.fstat(file.fileno()).st_size, limit)
            yield from decode_file(file, encoding=encoding, limit=limit)
    except OSError as error:
        raise InputError(f"The text {str(path)!r} cannot be read: {error.strerror or error}.") from error


def split(ids: Ids, validation_fraction: float) -> tuple[Ids, Ids]:
    """Split ids (N,) into training (N - M,) and validation (M,), the end of the text."""
    validation = int(len(ids) * validation_fraction)
    return ids[: len(ids) - validation], ids[len(ids) - validation :]  # type: ignore[return-value]


class CorpusStore:
    """The available texts: the bundled one and those that were added."""

    def __init__(self, root: str | Path = "data/corpora", limits: Limits = LOCAL) -> None:
        self.root = Path(root)
        self.limits = limits

    def add(self, data: bytes, name: str, *, encoding: str | None = None, builtin: str = "") -> CorpusInfo:
        """Decode, clean and store a file's content. Adding the same text again only renames it.

        Raises InputError if the content is not a text or exceeds the limits, OSError if it cannot be stored.
        """
        require_size(len(data), self.limits.text_bytes)
        chunks = decode_file(io.BytesIO(data), encoding=encoding, limit=self.limits.text_bytes)
        return self._store(chunks, _basename(name), builtin)

    def add_file(self, path: str | Path, name: str | None = None, *, encoding: str | None = None) -> CorpusInfo:
        """Add a file without loading it into memory; `name` defaults to the file name. Raises like add()."""
        chunks = read_file(path, encoding=encoding, limit=self.limits.text_bytes)
        return self._store(chunks, _basename(name or path))

    def add_text(self, text: str, name: str, *, builtin: str = "") -> CorpusInfo:
        """Store a string. Raises InputError if it is blank or exceeds the limits, OSError if it cannot be stored."""
        require_size(len(text), self.limits.text_bytes)  # in UTF-8 each character takes at least one byte
        return self._store(chunk_text(text), name, builtin)

    def _store(self, chunks: Iterable[str], name: str, builtin: str = "") -> CorpusInfo:
        counter, digest = TextCounter(), hashlib.sha256()
        with self._temporary_file() as file:
            for chunk in chunks:
                content = counter.add(chunk)
                digest.update(content)
                file.write(content)
                require_size(counter.bytes, self.limits.text_bytes)
            counter.require_text()
            vocab_size = len(counter.vocabulary())
            self.limits.require_vocabulary(vocab_size)
            sha256 = digest.hexdigest()
            if sha256 == _bundled_info().sha256:
                return _bundled_info()
            _rename_to(file, self._path(sha256, "txt"))
        before = self._read_info(sha256)
        if before and name == f"{sha256}.txt":
            return before  # a file of this store was added again: keep its name
        builtin = builtin or (before.builtin if before else "")
        info = CorpusInfo(sha256, display_name(name), counter.characters, vocab_size, time.time(), builtin=builtin)
        self._write_info(info)
        return info

    def list(self) -> list[CorpusInfo]:
        """Return all texts: the bundled one, then the others, newest first."""
        added = [info for path in self.root.glob("*.json") if (info := self._read_info(path.stem)) is not None]
        return [_bundled_info(), *sorted(added, key=lambda info: -info.added)]

    def get(self, sha256: str) -> CorpusInfo:
        """Return the metadata of a text. Raises InputError if it is not in the store."""
        bundled = _bundled_info()
        if sha256 == bundled.sha256:
            return bundled
        info = self._read_info(sha256)
        if info is None:
            raise InputError("This text is no longer here: add it again, or choose another one.")
        return info

    def read(self, sha256: str) -> str:
        """Return the complete text. Raises InputError if it is not in the store or was changed on disk."""
        return "".join(self._chunks(self.get(sha256)))

    def page(self, sha256: str, start: int, length: int) -> str:
        """Return up to `length` characters from position `start`. Raises InputError like read()."""
        info, start = self.get(sha256), max(0, start)
        starts = self._statistics(info).starts
        characters, offset = starts[bisect(starts, start, key=itemgetter(0)) - 1]
        text, needed = "", start - characters + length
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._open(info) as file:
            file.seek(offset)
            while len(text) < needed and (data := file.read(CHUNK)):
                text += decoder.decode(data)
        return text[needed - length : needed]

    def frequencies(self, sha256: str) -> list[tuple[str, int]]:
        """Return (character, count) pairs, the most frequent first. Raises InputError like read()."""
        return self._statistics(self.get(sha256)).frequencies()

    def unusual(self, sha256: str) -> list[tuple[str, int]]:
        """Return (character, count) pairs of unusual characters, see describe_unusual(). Raises like read()."""
        return self._statistics(self.get(sha256)).unusual()

    def entropy(self, sha256: str) -> float:
        """Return the unigram entropy in nats per character. Raises InputError like read()."""
        return self._statistics(self.get(sha256)).entropy()

    def encoded(self, sha256: str) -> tuple[CharTokenizer, np.ndarray]:
        """Return the tokenizer of a text and its ids (N,), in the smallest integer dtype.

        Large texts are memory-mapped from a token file, which is created on first use and verified each time. If the
        disk is full, the ids are held in memory. Raises InputError like read().
        """
        info = self.get(sha256)
        if info.characters * np.min_scalar_type(info.vocab_size - 1).itemsize > MAX_IN_MEMORY:
            path = self._path(sha256, "ids")
            mapped = map_ids(path, sha256)
            if mapped is None:
                with suppress(OSError), self._temporary_file() as file:
                    write_ids(file, sha256, self._tokenizer(info), self._chunks(info))
                    _rename_to(file, path)
                    mapped = map_ids(path, sha256)
            if mapped is not None:
                return mapped
        tokenizer = self._tokenizer(info)
        return tokenizer, np.concatenate([tokenizer.encode(piece) for piece in self._chunks(info)])

    def baselines(self, sha256: str, validation_fraction: float = 0.1) -> Baselines:
        """Return the n-gram baselines on the validation split, which are computed once and then cached.

        Raises InputError if the text is not in the store, or was changed on disk before they were computed.
        """
        self.get(sha256)
        path, key = self._path(sha256, "counted"), repr(float(validation_fraction))
        cached = read_json(path)
        with suppress(KeyError, TypeError):  # not computed yet, or written by another version
            return Baselines(**cached[key])
        tokenizer, ids = self.encoded(sha256)
        measured = measure_baselines(*split(ids, validation_fraction), tokenizer.vocab_size)
        with suppress(OSError), self._temporary_file() as file:
            file.write(json.dumps({**cached, key: asdict(measured)}).encode())
            _rename_to(file, path)
        return measured

    def rename(self, sha256: str, name: str) -> CorpusInfo:
        """Rename a text. Raises InputError if it is not in the store or is the bundled one."""
        info = self.get(sha256)
        if info.bundled:
            raise InputError("The bundled text cannot be renamed.")
        info = replace(info, name=display_name(name))
        self._write_info(info)
        return info

    def delete(self, sha256: str, *, needed_by: Sequence[str] = ()) -> None:
        """Delete a text. Raises InputError if it is not in the store, is the bundled one, or runs still need it."""
        info = self.get(sha256)
        if info.bundled:
            raise InputError("The bundled text cannot be deleted.")
        if needed_by:
            raise InputError(f"The run {needed_by[0]!r} still needs this text: stop or delete that run first.")
        for ending in ("json", "txt", "ids", "counted"):
            self._path(sha256, ending).unlink(missing_ok=True)

    def _path(self, sha256: str, ending: str) -> Path:
        return self.root / f"{sha256}.{ending}"

    def _open(self, info: CorpusInfo) -> BinaryIO:
        try:
            return open(BUNDLED if info.bundled else self._path(info.sha256, "txt"), "rb")
        except OSError as error:  # deleted meanwhile, or not readable
            reason = error.strerror or error
            raise InputError(f"The text {info.name!r} cannot be read ({reason}): add it again.") from error

    def _chunks(self, info: CorpusInfo) -> Iterator[str]:
        """Yield a text in chunks. Raises InputError after the last one if the digest does not match."""
        decoder, digest = codecs.getincrementaldecoder("utf-8")("replace"), hashlib.sha256()
        with self._open(info) as file:
            while data := file.read(CHUNK):
                digest.update(data)
                yield decoder.decode(data)
        if digest.hexdigest() != info.sha256:
            raise InputError(f"The text {info.name!r} was changed on disk: add it again.")

    def _statistics(self, info: CorpusInfo) -> TextCounter:
        """Return the statistics of a text, cached until its file changes."""
        with self._open(info) as file:
            stat = os.fstat(file.fileno())
        return _cached_statistics(self, info, stat.st_mtime_ns, stat.st_size)

    def _tokenizer(self, info: CorpusInfo) -> CharTokenizer:
        return CharTokenizer(self._statistics(info).vocabulary())

    @contextmanager
    def _temporary_file(self) -> Iterator[BinaryIO]:
        """Create a uniquely named file in this folder, deleted afterwards unless renamed by _rename_to()."""
        self.root.mkdir(parents=True, exist_ok=True)
        for stale in self.root.glob(".*.part"):
            with suppress(OSError):
                if time.time() - stale.stat().st_mtime > STALE_SECONDS:
                    stale.unlink()
        path = self.root / f".{os.getpid()}-{secrets.token_hex(4)}.part"
        try:
            with open(path, "xb") as file:
                yield file
        finally:
            path.unlink(missing_ok=True)

    def _read_info(self, sha256: str) -> CorpusInfo | None:
        if not re.fullmatch(r"[0-9a-f]{64}", str(sha256)):
            return None
        try:
            info = CorpusInfo(**read_json(self._path(sha256, "json")))
        except TypeError:
            return None
        return info if info.sha256 == sha256 and self._path(sha256, "txt").exists() else None

    def _write_info(self, info: CorpusInfo) -> None:
        with self._temporary_file() as file:
            file.write(json.dumps(asdict(info)).encode())
            _rename_to(file, self._path(info.sha256, "json"))


@lru_cache(maxsize=16)
def _cached_statistics(store: CorpusStore, info: CorpusInfo, changed: int, size: int) -> TextCounter:
    return TextCounter(store._chunks(info))


def _bundled_info() -> CorpusInfo:
    """Return the metadata of the bundled text, cached until its file changes."""
    changed = BUNDLED.stat().st_mtime_ns
    if _bundled_cache.get("changed") != changed:
        content = BUNDLED.read_bytes()
        text = content.decode()
        digest = hashlib.sha256(content).hexdigest()
        info = CorpusInfo(digest, BUNDLED.name, len(text), len(set(text)), 0.0, bundled=True, builtin="sample")
        _bundled_cache.update(changed=changed, info=info)
    return _bundled_cache["info"]


_bundled_cache: dict = {}


def display_name(name: str) -> str:
    """Return a name for display: without control characters, at most MAX_NAME characters."""
    printable = "".join(c for c in str(name) if c.isprintable()).strip()[:MAX_NAME]
    return printable or "untitled"


def _basename(path: str | Path) -> str:
    """Return the last component of a path with / or \\ separators."""
    return re.split(r"[/\\]", str(path))[-1]


def _rename_to(file: BinaryIO, path: Path) -> None:
    """Close a file and rename it atomically, so that readers never see an incomplete file."""
    file.close()
    os.replace(file.name, path)
