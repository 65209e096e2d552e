"""Texts to learn from: read strictly, cleaned, counted, split, and kept under the digest of their content.

data/raw/sample.txt            the text that comes with the project
data/corpora/<sha256>.txt      what people bring, as clean UTF-8
data/corpora/<sha256>.json     its name and counts (a name is for showing only, never a path)
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from nanollm.errors import InputError

BUNDLED = Path(__file__).resolve().parent.parent / "data" / "raw" / "sample.txt"
MAX_BYTES = 200 * 2**20
MAX_VOCABULARY = 20_000
MAX_NAME = 200

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

    def sentence(self) -> str:
        """The facts in one sentence."""
        return f"{self.characters:,} characters, {self.vocab_size:,} different."


def decode(data: bytes, *, encoding: str | None = None) -> str:
    """The text of a file's bytes, cleaned.

    UTF-8 (with or without its mark) and UTF-16 with its mark are recognised; everything else needs `encoding` said.
    Raises InputError if the bytes are not such a text, too many, or hold what no text holds (NUL).
    """
    if len(data) > MAX_BYTES:
        raise InputError(
            f"This file has {len(data) / 2**20:,.0f} MB, the limit is {MAX_BYTES // 2**20} MB: bring a part of it."
        )
    if encoding is None:
        encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except LookupError as error:
        raise InputError(f"There is no encoding {encoding!r}: try latin-1.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"This file is not valid {encoding.removesuffix('-sig').upper()} (byte {error.start:,}): save it as UTF-8, "
            "or read it as Latin-1 if it is an old Western text."
        ) from error
    return clean(text)


def clean(text: str) -> str:
    """The text with all line ends as newlines. Raises InputError if it is empty, or no text at all."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError("This text is empty: bring one with some characters in it; 100,000 are plenty.")
    if "\0" in text:
        raise InputError("This is not a text (it holds NUL bytes): choose a plain .txt file.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"Character {error.start:,} of this text is half of a pair: copy the text again.") from error
    return text


def split(ids: Ids, validation_fraction: float) -> tuple[Ids, Ids]:
    """What is learned from, and the end of the text, kept back to judge by: (N - M,) and (M,)."""
    kept_back = int(len(ids) * validation_fraction)
    return ids[: len(ids) - kept_back], ids[len(ids) - kept_back :]  # type: ignore[return-value]


def frequencies(text: str) -> list[tuple[str, int]]:
    """Each character and how often it occurs, the most frequent first."""
    return Counter(text).most_common()


class CorpusStore:
    """The texts at hand: the bundled one and those that people brought."""

    def __init__(self, root: str | Path = "data/corpora") -> None:
        self.root = Path(root)

    def add(self, data: bytes, name: str, *, encoding: str | None = None) -> CorpusInfo:
        """Decode, clean and keep a file's content; the same text again only renames it. Raises InputError, OSError."""
        last_part = re.split(r"[/\\]", str(name))[-1]  # of a path, where a browser or a shell gives one
        return self.add_text(decode(data, encoding=encoding), last_part)

    def add_text(self, text: str, name: str) -> CorpusInfo:
        """Keep a text under its digest. Raises InputError if it is empty or has too many different characters."""
        text = clean(text)
        vocab_size = len(set(text))
        if vocab_size > MAX_VOCABULARY:
            raise InputError(
                f"This text has {vocab_size:,} different characters, the limit is {MAX_VOCABULARY:,}: is it plain text?"
            )
        content = text.encode()
        digest = hashlib.sha256(content).hexdigest()
        if digest == _bundled_info().sha256:
            return _bundled_info()
        info = CorpusInfo(digest, _display_name(name), len(text), vocab_size, time.time())
        self.root.mkdir(parents=True, exist_ok=True)
        _write(self._path(digest, "txt"), content)
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
        """The text itself. Raises InputError if it is not here or was changed on disk."""
        info = self.get(sha256)
        path = BUNDLED if info.bundled else self._path(sha256, "txt")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise InputError(f"The text {info.name!r} was changed on disk: bring it again.")
        return content.decode()

    def rename(self, sha256: str, name: str) -> CorpusInfo:
        """Give a text another name. Raises InputError if it is not here, or is the bundled one."""
        info = self.get(sha256)
        if info.bundled:
            raise InputError("The bundled text keeps its name.")
        info = replace(info, name=_display_name(name))
        self._write_info(info)
        return info

    def delete(self, sha256: str, *, needed_by: Sequence[str] = ()) -> None:
        """Remove a text. Raises InputError if it is not here, is the bundled one, or runs still need it."""
        info = self.get(sha256)
        if info.bundled:
            raise InputError("The bundled text stays.")
        if needed_by:
            raise InputError(f"The run {needed_by[0]!r} still needs this text: stop or delete that run first.")
        self._path(sha256, "json").unlink(missing_ok=True)
        self._path(sha256, "txt").unlink(missing_ok=True)

    def _path(self, sha256: str, ending: str) -> Path:
        return self.root / f"{sha256}.{ending}"

    def _read_info(self, sha256: str) -> CorpusInfo | None:
        if not re.fullmatch(r"[0-9a-f]{64}", str(sha256)):
            return None
        try:
            info = CorpusInfo(**json.loads(self._path(sha256, "json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return info if info.sha256 == sha256 and self._path(sha256, "txt").exists() else None

    def _write_info(self, info: CorpusInfo) -> None:
        _write(self._path(info.sha256, "json"), json.dumps(asdict(info)).encode())


def _bundled_info() -> CorpusInfo:
    """The bundled text's facts, counted once for each version of the file."""
    changed = BUNDLED.stat().st_mtime_ns
    if _bundled_cache.get("changed") != changed:
        content = BUNDLED.read_bytes()
        text = content.decode()
        digest = hashlib.sha256(content).hexdigest()
        info = CorpusInfo(digest, BUNDLED.name, len(text), len(set(text)), 0.0, bundled=True)
        _bundled_cache.update(changed=changed, info=info)
    return _bundled_cache["info"]


_bundled_cache: dict = {}


def _display_name(name: str) -> str:
    """A name fit for showing: no control characters, not too long."""
    shown = "".join(c for c in str(name) if c.isprintable()).strip()[:MAX_NAME]
    return shown or "untitled"


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that no reader ever sees half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
