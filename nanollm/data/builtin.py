"""Built-in texts: a bundled sample, two texts from the Python installation, and Tiny Shakespeare, which is downloaded.

When selected, a built-in text is added to the corpus store like any other text. Tiny Shakespeare is the only download.
It happens once, when a user selects that text.
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

# Compiled by Andrej Karpathy from Shakespeare's plays; many published losses refer to it.
SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_BYTES = 1_115_394
VARIABLE = "NANOLLM_TINY_SHAKESPEARE"  # path of a local copy, or URL of a mirror
SOURCE_BYTES = 4 * 10**6
READ_TIMEOUT_SECONDS = 10.0  # per read
TOTAL_SECONDS = 60.0  # for the whole download
_MANUALLY = f"download it with a browser and add it in the Corpus tab, or set {VARIABLE} to the file."

Progress = Callable[[int, int], None]  # (bytes received, total bytes)


@dataclass(frozen=True)
class Builtin:
    """A built-in text."""

    id: str  # name on the command line
    title: str
    about: str  # short description


BUILTINS = (
    Builtin("sample", "sample.txt", "prose, dialogue and verse written for this project"),
    Builtin("tiny-shakespeare", "Tiny Shakespeare", "1.1 MB of plays, downloaded from GitHub when selected"),
    Builtin("python-documentation", "Python documentation", "465,000 characters, included with Python"),
    Builtin("python-source", "Python source", "4 MB of source code: Python's standard library"),
)


def builtin_by_id(name: object) -> Builtin | None:
    """Return the built-in text with this id, or None."""
    return next((builtin for builtin in BUILTINS if builtin.id == name), None)


def builtin_by_digest(sha256: object) -> Builtin | None:
    """Return the built-in text with this digest, or None. Texts from Python have no fixed digest."""
    return builtin_by_id("tiny-shakespeare") if sha256 == SHAKESPEARE_SHA256 else None


def missing_builtin(store: CorpusStore, sha256: object) -> Builtin | None:
    """Return the built-in text with this digest if it can be downloaded and is not in the store, else None."""
    builtin = builtin_by_digest(sha256)
    if builtin is not None:
        with suppress(InputError):
            store.get(str(sha256))
            return None
    return builtin


def add_by_name(
    store: CorpusStore, name: str | Path, *, encoding: str | None = None, progress: Progress | None = None
) -> CorpusInfo:
    """Add a text to the store by name: the id of a built-in text, or the path of a file.

    Use ./NAME for a file that is named like a built-in text. `progress` is called during a download. Raises InputError
    if the text does not exist, or cannot be read or downloaded.
    """
    builtin = builtin_by_id(str(name))
    return store.add_file(name, encoding=encoding) if builtin is None else add(store, builtin, progress)


def add(store: CorpusStore, builtin: Builtin, progress: Progress | None = None) -> CorpusInfo:
    """Add a built-in text to the store. Raises InputError if Python does not include it or the download fails."""
    if builtin.id == "sample":
        return store.list()[0]
    if builtin.id == "tiny-shakespeare":
        return _add_shakespeare(store, builtin, progress)
    text = documentation() if builtin.id == "python-documentation" else source()
    return store.add_text(text, builtin.title, builtin=builtin.id)


def documentation() -> str:
    """Return the language topics of help(). Raises InputError if Python is installed without them."""
    try:
        from pydoc_data.topics import topics
    except (ImportError, OSError, SyntaxError) as error:
        raise InputError("This Python has no documentation (pydoc_data is missing): choose another text.") from error
    return "\n\n".join(topics[name] for name in sorted(topics))


def source() -> str:
    """Return the source of the standard library's top-level modules, in order of name, up to SOURCE_BYTES.

    Raises InputError if Python is installed without source files.
    """
    folder, modules, room = Path(sysconfig.get_path("stdlib")), [], SOURCE_BYTES
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_sysconfigdata"):  # depends on the machine it was built on
            continue
        room -= path.stat().st_size
        if room < 0:
            break
        # tokenize.open() uses the encoding declared in the file. Unreadable files are skipped.
        with suppress(OSError, SyntaxError, UnicodeError), tokenize.open(path) as file:
            modules.append(file.read())
    if not modules:
        raise InputError(f"This Python has no source of its standard library ({folder}): choose another text.")
    return "\n".join(modules)


def download(address: str, *, size: int, sha256: str, progress: Progress | None = None) -> bytes:
    """Download a file of known size and digest into memory.

    Raises InputError if the server cannot be reached, the download takes longer than TOTAL_SECONDS, or the content is
    different.
    """
    content = bytearray()
    try:
        for chunk in _response_chunks(address):
            content += chunk
            if len(content) > size:
                break
            if progress:
                progress(len(content), size)
    except TimeoutError as error:
        raise InputError(f"The download timed out ({len(content):,} of {size:,} bytes): {_MANUALLY}") from error
    except HTTPError as error:
        raise InputError(f"The server answered {error.code} ({error.reason}): {_MANUALLY}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise InputError(f"The text could not be downloaded ({_reason(error)}): {_MANUALLY}") from error
    if len(content) > size:
        raise InputError(f"The server sent more than the {size:,} bytes of this text: {_MANUALLY}")
    if len(content) < size:
        raise InputError(f"The connection was lost ({len(content):,} of {size:,} bytes received). Try again.")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"The server sent a different text (its digest does not match): {_MANUALLY}")
    return bytes(content)


def _response_chunks(address: str) -> Iterator[bytes]:
    """Yield the body of a response. Raises OSError, HTTPException, or TimeoutError after TOTAL_SECONDS."""
    deadline = time.monotonic() + TOTAL_SECONDS
    request = Request(address, headers={"User-Agent": "nano-llm"})
    with urlopen(request, timeout=READ_TIMEOUT_SECONDS) as response:
        while chunk := response.read1(2**16):  # what has arrived; read() would block until the end
            yield chunk
            if time.monotonic() > deadline:
                raise TimeoutError


def _reason(error: Exception) -> str:
    """Return the system's error message, without Python's prefix."""
    reason = error.reason if isinstance(error, URLError) else error
    words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(words.split())[:100]  # it may quote the response


def _add_shakespeare(store: CorpusStore, builtin: Builtin, progress: Progress | None) -> CorpusInfo:
    try:
        return store.get(SHAKESPEARE_SHA256)
    except InputError:
        pass  # not in the store yet
    source = os.environ.get(VARIABLE) or SHAKESPEARE
    if source.startswith(("https://", "http://")):
        content = download(source, size=SHAKESPEARE_BYTES, sha256=SHAKESPEARE_SHA256, progress=progress)
    else:
        content = _local_copy(Path(source))
    return store.add(content, builtin.title, builtin=builtin.id)


def _local_copy(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(SHAKESPEARE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{VARIABLE} names {str(path)!r}, which cannot be read: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != SHAKESPEARE_SHA256:
        raise InputError(f"{VARIABLE} names {str(path)!r}, which is not Tiny Shakespeare (its digest does not match).")
    return content
