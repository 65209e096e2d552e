"""Texts to start from: one that is bundled, two that every Python brings along, and one that is fetched when asked for.

Chosen, each becomes an ordinary text of the store, so that runs refer to it by its digest like to any other. Nothing is
fetched unless somebody chooses Tiny Shakespeare, and then once: afterwards the store has it.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
import time
import tokenize
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from nanollm.data.corpus import CorpusInfo, CorpusStore
from nanollm.errors import InputError

# Made by Andrej Karpathy from Shakespeare's plays; many published losses are of it.
SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_BYTES = 1_115_394
VARIABLE = "NANOLLM_TINY_SHAKESPEARE"  # a file, or the address of a copy that is nearer
SOURCE_BYTES = 4 * 10**6
SILENCE_SECONDS = 10.0  # in which a server must say something
TOTAL_SECONDS = 60.0  # in which all of it must have come
_BY_HAND = f"fetch it with a browser and drop it in Corpus, or set {VARIABLE} to the file."

Progress = Callable[[int, int], None]  # bytes so far, and of how many


@dataclass(frozen=True)
class Builtin:
    """A text that anybody can begin with."""

    id: str  # what the command line calls it
    title: str
    about: str  # in a few words, for somebody who has yet to choose


BUILTINS = (
    Builtin("sample", "sample.txt", "prose, dialogue and verse written for this project"),
    Builtin("tiny-shakespeare", "Tiny Shakespeare", "1.1 MB of plays, fetched from GitHub when chosen"),
    Builtin("python-documentation", "Python documentation", "465,000 characters that come with Python"),
    Builtin("python-source", "Python source", "4 MB of the standard library, as this Python has it"),
)


def builtin_by_id(name: object) -> Builtin | None:
    """The built-in text that the command line calls so; None for any other word."""
    return next((builtin for builtin in BUILTINS if builtin.id == name), None)


def builtin_by_digest(sha256: object) -> Builtin | None:
    """The built-in text with this digest, where that says which one it is; what Python brings differs with each."""
    return builtin_by_id("tiny-shakespeare") if sha256 == SHAKESPEARE_SHA256 else None


def missing_builtin(store: CorpusStore, sha256: object) -> Builtin | None:
    """The built-in text with this digest if it is still to be fetched; None if it is here, or nobody knows it."""
    builtin = builtin_by_digest(sha256)
    if builtin is not None:
        with suppress(InputError):
            store.get(str(sha256))
            return None
    return builtin


def add_by_name(
    store: CorpusStore, name: str | Path, *, encoding: str | None = None, progress: Progress | None = None
) -> CorpusInfo:
    """Keep a text in the store by the name that somebody typed: that of a built-in text, else of a file.

    A file that is called like a built-in text goes by ./NAME. `progress` hears how far a download is. Raises
    InputError if there is no such text, or it cannot be had.
    """
    builtin = builtin_by_id(str(name))
    return store.add_file(name, encoding=encoding) if builtin is None else add(store, builtin, progress)


def add(store: CorpusStore, builtin: Builtin, progress: Progress | None = None) -> CorpusInfo:
    """Keep a built-in text in the store. Raises InputError if this Python lacks it, or it cannot be fetched."""
    if builtin.id == "sample":
        return store.list()[0]
    if builtin.id == "tiny-shakespeare":
        return _add_shakespeare(store, builtin, progress)
    text = documentation() if builtin.id == "python-documentation" else source()
    return store.add_text(text, builtin.title, builtin=builtin.id)


def documentation() -> str:
    """What help() knows about the language, topic by topic. Raises InputError where Python comes without it."""
    try:
        from pydoc_data.topics import topics
    except (ImportError, OSError, SyntaxError) as error:
        raise InputError("This Python comes without its documentation (pydoc_data): take another text.") from error
    return "\n\n".join(topics[name] for name in sorted(topics))


def source() -> str:
    """The standard library's top-level modules by name, as many as SOURCE_BYTES has room for.

    Raises InputError where Python comes without their source.
    """
    folder, modules, room = Path(sysconfig.get_path("stdlib")), [], SOURCE_BYTES
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_sysconfigdata"):  # what this one machine was built with
            continue
        room -= path.stat().st_size
        if room < 0:
            break
        # Each in the encoding that it declares; one that cannot be read does not keep the others back.
        with suppress(OSError, SyntaxError, UnicodeError), tokenize.open(path) as file:
            modules.append(file.read())
    if not modules:
        raise InputError(f"This Python comes without the source of its library ({folder}): take another text.")
    return "\n".join(modules)


def download(address: str, *, size: int, sha256: str, progress: Progress | None = None) -> bytes:
    """What lies at an address, if it is exactly the content that has this size and digest. It is held in memory.

    Raises InputError if it cannot be reached, takes longer than TOTAL_SECONDS, or is anything else.
    """
    content = bytearray()
    try:
        for piece in _arriving(address):
            content += piece
            if len(content) > size:
                break
            if progress:
                progress(len(content), size)
    except TimeoutError as error:
        raise InputError(f"The server was too slow ({len(content):,} of {size:,} bytes came): {_BY_HAND}") from error
    except HTTPError as error:
        raise InputError(f"The server answered {error.code} ({error.reason}): {_BY_HAND}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise InputError(f"The text could not be fetched ({_why(error)}): {_BY_HAND}") from error
    if len(content) > size:
        raise InputError(f"The server sent more than the {size:,} bytes of this text: {_BY_HAND}")
    if len(content) < size:
        raise InputError(f"The connection broke off ({len(content):,} of {size:,} bytes came): try again.")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"What the server sent is another text than expected (its digest differs): {_BY_HAND}")
    return bytes(content)


def _arriving(address: str) -> Iterator[bytes]:
    """An answer's content as it comes. Raises OSError, HTTPException, and TimeoutError if it takes too long."""
    deadline = time.monotonic() + TOTAL_SECONDS
    request = Request(address, headers={"User-Agent": "nano-llm"})
    with urlopen(request, timeout=SILENCE_SECONDS) as answer:
        while piece := answer.read1(2**16):  # what one packet brought: read() would wait for all of it
            yield piece
            if time.monotonic() > deadline:
                raise TimeoutError


def _why(error: Exception) -> str:
    """The reason in the system's own words, without Python's decoration."""
    reason = error.reason if isinstance(error, URLError) else error
    words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(words.split())[:100]  # it may quote what the server said


def _add_shakespeare(store: CorpusStore, builtin: Builtin, progress: Progress | None) -> CorpusInfo:
    try:
        return store.get(SHAKESPEARE_SHA256)
    except InputError:
        pass  # not here yet
    place = os.environ.get(VARIABLE) or SHAKESPEARE
    if place.startswith(("https://", "http://")):
        content = download(place, size=SHAKESPEARE_BYTES, sha256=SHAKESPEARE_SHA256, progress=progress)
    else:
        content = _local_copy(Path(place))
    return store.add(content, builtin.title, builtin=builtin.id)


def _local_copy(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(SHAKESPEARE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{VARIABLE} names {str(path)!r}, which cannot be read: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != SHAKESPEARE_SHA256:
        raise InputError(f"{VARIABLE} names {str(path)!r}, which is not Tiny Shakespeare (its digest differs).")
    return content
