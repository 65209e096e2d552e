"""Texts to learn from: read strictly, cleaned, counted, split, and kept under the digest of their content.

data/raw/sample.txt            the text that comes with the project
data/corpora/<sha256>.txt      what people bring, as clean UTF-8
data/corpora/<sha256>.json     its name and counts (a name is for showing only, never a path)
data/corpora/<sha256>.ids      a large text as the model reads it; made when it is first trained on
data/corpora/<sha256>.counted  what plain counting achieves on it (baselines.py), for each validation_fraction asked for

Large texts are read in pieces, so that none of this needs more than a few megabytes of memory.
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
# In a clone it lies where people look for it; an installed package has a copy beside this file.
_PLACES = (_HERE.parents[2] / "data" / "raw" / "sample.txt", _HERE.with_name("sample.txt"))
BUNDLED = next(filter(Path.is_file, _PLACES), _PLACES[0])
MAX_NAME = 200
MAX_IN_MEMORY = 32 * 2**20  # bytes of ids; more of them are mapped from a file
ABANDONED = 24 * 60 * 60  # seconds after which a half-written file is taken to be left by a process that was killed

Ids = TypeVar("Ids", bound="Sequence[int] | np.ndarray")


@dataclass(frozen=True)
class CorpusInfo:
    """What is known of a text without reading it again."""

    sha256: str  # of the clean text as UTF-8
    name: str
    characters: int
    vocab_size: int
    added: float  # seconds since 1970; 0 for the bundled text
    bundled: bool = False
    builtin: str = ""  # the id of the built-in text that it is (builtin.py); empty for what people bring

    def sentence(self) -> str:
        """The facts in one sentence."""
        return f"{self.characters:,} characters, {self.vocab_size:,} different."


def read_file(path: str | Path, *, encoding: str | None = None, limit: int = LOCAL.text_bytes) -> Iterator[str]:
    """The text of a file in pieces, cleaned; only TextCounter.require_text() is still to be asked.

    Raises InputError as decode_file() does, for too many bytes before any is read, and if the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            require_size(os.fstat(file.fileno()).st_size, limit)
            yield from decode_file(file, encoding=encoding, limit=limit)
    except OSError as error:
        raise InputError(f"The text {str(path)!r} cannot be read: {error.strerror or error}.") from error


def split(ids: Ids, validation_fraction: float) -> tuple[Ids, Ids]:
    """What is learned from, and the end of the text, kept back to judge by: (N - M,) and (M,)."""
    kept_back = int(len(ids) * validation_fraction)
    return ids[: len(ids) - kept_back], ids[len(ids) - kept_back :]  # type: ignore[return-value]


class CorpusStore:
    """The texts at hand: the bundled one and those that people brought."""

    def __init__(self, root: str | Path = "data/corpora", limits: Limits = LOCAL) -> None:
        self.root = Path(root)
        self.limits = limits

    def add(self, data: bytes, name: str, *, encoding: str | None = None, builtin: str = "") -> CorpusInfo:
        """Decode, clean and keep a file's content; the same text again only renames it. Raises InputError, OSError."""
        require_size(len(data), self.limits.text_bytes)
        pieces = decode_file(io.BytesIO(data), encoding=encoding, limit=self.limits.text_bytes)
        return self._keep(pieces, _last_part(name), builtin)

    def add_file(self, path: str | Path, name: str | None = None, *, encoding: str | None = None) -> CorpusInfo:
        """The same of a file, under its own name if no other is given, without holding its content in memory."""
        pieces = read_file(path, encoding=encoding, limit=self.limits.text_bytes)
        return self._keep(pieces, _last_part(name or path))

    def add_text(self, text: str, name: str, *, builtin: str = "") -> CorpusInfo:
        """Keep a text under its digest. Raises InputError if it is empty, or more than the limits allow."""
        require_size(len(text), self.limits.text_bytes)  # each character takes a byte or more
        return self._keep(chunk_text(text), name, builtin)

    def _keep(self, pieces: Iterable[str], name: str, builtin: str = "") -> CorpusInfo:
        survey, digest = TextCounter(), hashlib.sha256()
        with self._aside() as file:
            for piece in pieces:
                content = survey.add(piece)
                digest.update(content)
                file.write(content)
                require_size(survey.bytes, self.limits.text_bytes)
            survey.require_text()
            vocab_size = len(survey.vocabulary())
            self.limits.require_vocabulary(vocab_size)
            sha256 = digest.hexdigest()
            if sha256 == _bundled_info().sha256:
                return _bundled_info()
            _into_place(file, self._path(sha256, "txt"))
        before = self._read_info(sha256)
        if before and name == f"{sha256}.txt":
            return before  # a file of this very store: it has a name already
        builtin = builtin or (before.builtin if before else "")
        info = CorpusInfo(sha256, display_name(name), survey.characters, vocab_size, time.time(), builtin=builtin)
        self._write_info(info)
        return info

    def list(self) -> list[CorpusInfo]:
        """All texts: the bundled one, then the newest first."""
        brought = [info for path in self.root.glob("*.json") if (info := self._read_info(path.stem)) is not None]
        return [_bundled_info(), *sorted(brought, key=lambda info: -info.added)]

    def get(self, sha256: str) -> CorpusInfo:
        """What is known of a text. Raises InputError if it is not here."""
        bundled = _bundled_info()
        if sha256 == bundled.sha256:
            return bundled
        info = self._read_info(sha256)
        if info is None:
            raise InputError("This text is no longer here: bring it again, or choose another one.")
        return info

    def read(self, sha256: str) -> str:
        """The text itself, whole. Raises InputError if it is not here or was changed on disk."""
        return "".join(self._pieces(self.get(sha256)))

    def page(self, sha256: str, start: int, length: int) -> str:
        """So many characters of a text from `start` on (fewer at its end). Raises InputError as read() does."""
        info, start = self.get(sha256), max(0, start)
        starts = self._survey(info).starts
        characters, offset = starts[bisect(starts, start, key=itemgetter(0)) - 1]
        text, wanted = "", start - characters + length
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._open(info) as file:
            file.seek(offset)
            while len(text) < wanted and (data := file.read(CHUNK)):
                text += decoder.decode(data)
        return text[wanted - length : wanted]

    def frequencies(self, sha256: str) -> list[tuple[str, int]]:
        """Each character and how often it occurs, the most frequent first. Raises InputError as read() does."""
        return self._survey(self.get(sha256)).frequencies()

    def odd(self, sha256: str) -> list[tuple[str, int]]:
        """Its characters that cannot be seen or mean nothing by themselves (plaintext.oddity). As frequencies()."""
        return self._survey(self.get(sha256)).odd()

    def entropy(self, sha256: str) -> float:
        """Of its characters, in nats: what knowing their frequencies alone leaves to be guessed. As frequencies()."""
        return self._survey(self.get(sha256)).entropy()

    def encoded(self, sha256: str) -> tuple[CharTokenizer, np.ndarray]:
        """A text as a model reads it: the tokenizer of its characters, and its ids (N,) in the smallest type.

        Many ids are mapped from a file, which is made when they are first asked for and checked every time; where the
        disk has no room for it, they are held in memory. Raises InputError as read() does.
        """
        info = self.get(sha256)
        if info.characters * np.min_scalar_type(info.vocab_size - 1).itemsize > MAX_IN_MEMORY:
            path = self._path(sha256, "ids")
            mapped = map_ids(path, sha256)
            if mapped is None:
                with suppress(OSError), self._aside() as file:
                    write_ids(file, sha256, self._tokenizer(info), self._pieces(info))
                    _into_place(file, path)
                    mapped = map_ids(path, sha256)
            if mapped is not None:
                return mapped
        tokenizer = self._tokenizer(info)
        return tokenizer, np.concatenate([tokenizer.encode(piece) for piece in self._pieces(info)])

    def baselines(self, sha256: str, validation_fraction: float = 0.1) -> Baselines:
        """What plain counting loses on the text's validation part, in nats a character; counted once, then remembered.

        Raises InputError if the text is not here, or was changed on disk before it was counted.
        """
        self.get(sha256)
        path, asked = self._path(sha256, "counted"), repr(float(validation_fraction))
        known = read_json(path)
        with suppress(KeyError, TypeError):  # not measured yet, or by another version
            return Baselines(**known[asked])
        tokenizer, ids = self.encoded(sha256)
        measured = measure_baselines(*split(ids, validation_fraction), tokenizer.vocab_size)
        with suppress(OSError), self._aside() as file:
            file.write(json.dumps({**known, asked: asdict(measured)}).encode())
            _into_place(file, path)
        return measured

    def rename(self, sha256: str, name: str) -> CorpusInfo:
        """Give a text another name. Raises InputError if it is not here, or is the bundled one."""
        info = self.get(sha256)
        if info.bundled:
            raise InputError("The bundled text keeps its name.")
        info = replace(info, name=display_name(name))
        self._write_info(info)
        return info

    def delete(self, sha256: str, *, needed_by: Sequence[str] = ()) -> None:
        """Remove a text. Raises InputError if it is not here, is the bundled one, or runs still need it."""
        info = self.get(sha256)
        if info.bundled:
            raise InputError("The bundled text stays.")
        if needed_by:
            raise InputError(f"The run {needed_by[0]!r} still needs this text: stop or delete that run first.")
        for ending in ("json", "txt", "ids", "counted"):
            self._path(sha256, ending).unlink(missing_ok=True)

    def _path(self, sha256: str, ending: str) -> Path:
        return self.root / f"{sha256}.{ending}"

    def _open(self, info: CorpusInfo) -> BinaryIO:
        try:
            return open(BUNDLED if info.bundled else self._path(info.sha256, "txt"), "rb")
        except OSError as error:  # deleted a moment ago, or made unreadable
            why = error.strerror or error
            raise InputError(f"The text {info.name!r} cannot be read ({why}): bring it again.") from error

    def _pieces(self, info: CorpusInfo) -> Iterator[str]:
        """A text in pieces. Raises InputError after the last one if it is not what the digest says."""
        decoder, digest = codecs.getincrementaldecoder("utf-8")("replace"), hashlib.sha256()
        with self._open(info) as file:
            while data := file.read(CHUNK):
                digest.update(data)
                yield decoder.decode(data)
        if digest.hexdigest() != info.sha256:
            raise InputError(f"The text {info.name!r} was changed on disk: bring it again.")

    def _survey(self, info: CorpusInfo) -> TextCounter:
        """What a text consists of, counted once for each version of its file."""
        with self._open(info) as file:
            facts = os.fstat(file.fileno())
        return _survey_of(self, info, facts.st_mtime_ns, facts.st_size)

    def _tokenizer(self, info: CorpusInfo) -> CharTokenizer:
        return CharTokenizer(self._survey(info).vocabulary())

    @contextmanager
    def _aside(self) -> Iterator[BinaryIO]:
        """A new file in this folder under a name that is nobody else's, gone afterwards unless put into place."""
        self.root.mkdir(parents=True, exist_ok=True)
        for left in self.root.glob(".*.part"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > ABANDONED:
                    left.unlink()
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
        with self._aside() as file:
            file.write(json.dumps(asdict(info)).encode())
            _into_place(file, self._path(info.sha256, "json"))


@lru_cache(maxsize=16)
def _survey_of(store: CorpusStore, info: CorpusInfo, changed: int, size: int) -> TextCounter:
    return TextCounter(store._pieces(info))


def _bundled_info() -> CorpusInfo:
    """The bundled text's facts, counted once for each version of the file."""
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
    """A name fit for showing: no control characters, not too long."""
    shown = "".join(c for c in str(name) if c.isprintable()).strip()[:MAX_NAME]
    return shown or "untitled"


def _last_part(path: str | Path) -> str:
    """The name in a path, where a browser or a shell gives one."""
    return re.split(r"[/\\]", str(path))[-1]


def _into_place(file: BinaryIO, path: Path) -> None:
    """Close a file and give it its name in one step, so that no reader ever sees half of it."""
    file.close()
    os.replace(file.name, path)
