"""Built-in texts: texts from Python are available, and a download yields the right text or a clear error."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nanollm.data import builtin
from nanollm.data.builtin import BUILTINS, VARIABLE, add, add_by_name, builtin_by_id, download, missing_builtin
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.tokenizer import CharTokenizer
from tests.speed import within

PLAY = ("First Citizen:\nBefore we proceed any further, hear me speak.\n\n" * 2000).encode()
FACTS = {"size": len(PLAY), "sha256": hashlib.sha256(PLAY).hexdigest()}
NEVER = 300.0  # seconds; longer than any of these tests takes
LOCAL_COPY = os.environ.get(VARIABLE, "")
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "corpora")


@pytest.fixture(autouse=True)
def nearby(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable proxies and the user's local copy of Tiny Shakespeare."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(VARIABLE, raising=False)


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Run a server that handles every request with the given function; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # the client may disconnect at any time
                answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/input.txt"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def whole(content: bytes, length: int | None = None, status: int = 200) -> Answer:
    """Send the content with the given Content-Length."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content)

    return answer


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(bytes(2**16))


def dribbling(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:  # until the client disconnects
        request.wfile.write(b"a")
        time.sleep(0.05)


def silent(request: BaseHTTPRequestHandler) -> None:
    time.sleep(NEVER)


def halfway(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(PLAY[:1000])
    time.sleep(NEVER)


def no_http(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"good day\r\n\r\n")


def test_a_text_is_downloaded_with_progress() -> None:
    heard: list[tuple[int, int]] = []
    with serving(whole(PLAY)) as address:
        assert download(address, **FACTS, progress=lambda *so_far: heard.append(so_far)) == PLAY
    assert heard == sorted(heard) and heard[-1] == (len(PLAY), len(PLAY))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (whole(PLAY[:5000], len(PLAY)), r"was lost \(5,000 of 124,000 bytes received\)\. Try again"),
        (whole(PLAY[:5000]), "connection was lost"),
        (whole(PLAY[:-1] + b"!"), "sent a different text"),
        (whole(PLAY + b"!"), "more than the 124,000 bytes"),
        (endless, "more than the 124,000 bytes"),
        (whole(b"not here", status=404), r"answered 404 \(Not Found\)"),
        (whole(b"", status=500), "answered 500"),
        (silent, r"timed out \(0 of"),
        (halfway, r"timed out \(1,000 of"),
        (dribbling, "timed out"),
        (no_http, "could not be downloaded"),
    ],
    ids=["truncated", "short", "wrong", "long", "endless", "404", "500", "silent", "halfway", "dribbling", "no http"],
)
def test_every_server_failure_raises_an_error_and_stores_nothing(
    store: CorpusStore, monkeypatch: pytest.MonkeyPatch, answer: Answer, sentence: str
) -> None:
    # Short timeouts only for the answers that must time out: on a busy machine any other answer may take seconds.
    read_timeout, total = {silent: (0.4, NEVER), halfway: (3.0, NEVER), dribbling: (NEVER, 0.8)}.get(
        answer, (NEVER, NEVER)
    )
    monkeypatch.setattr(builtin, "READ_TIMEOUT_SECONDS", read_timeout)
    monkeypatch.setattr(builtin, "TOTAL_SECONDS", total)
    monkeypatch.setattr(builtin, "SHAKESPEARE_BYTES", FACTS["size"])
    monkeypatch.setattr(builtin, "SHAKESPEARE_SHA256", FACTS["sha256"])
    with serving(answer) as address:
        monkeypatch.setenv(VARIABLE, address)
        with within(NEVER / 10), pytest.raises(InputError, match=sentence) as refused:
            add_by_name(store, "tiny-shakespeare")
    assert str(refused.value).count("\n") == 0 and len(str(refused.value)) < 250
    assert not store.root.exists() or list(store.root.iterdir()) == []


def test_without_a_network_the_error_says_so(store: CorpusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = f"http://127.0.0.1:{taken.getsockname()[1]}/input.txt"
    for place, why in ((refused, "refused"), ("http://nowhere.invalid/input.txt", "could not be downloaded")):
        monkeypatch.setenv(VARIABLE, place)
        with pytest.raises(InputError, match=f"{why}.*set {VARIABLE} to the file"):
            add_by_name(store, "tiny-shakespeare")
    for address in ("https://", "http://[", "gopher://x/y", "no address"):
        with pytest.raises(InputError, match="could not be downloaded"):
            download(address, **FACTS)


def test_a_downloaded_text_is_not_downloaded_again(store: CorpusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "SHAKESPEARE_BYTES", FACTS["size"])
    monkeypatch.setattr(builtin, "SHAKESPEARE_SHA256", FACTS["sha256"])
    with serving(whole(PLAY)) as address:
        monkeypatch.setenv(VARIABLE, address)
        info = add_by_name(store, "tiny-shakespeare")
    assert (info.name, info.builtin, info.sha256) == ("Tiny Shakespeare", "tiny-shakespeare", FACTS["sha256"])
    assert store.read(info.sha256) == PLAY.decode()
    store.rename(info.sha256, "the plays")
    assert add_by_name(store, "tiny-shakespeare") == store.get(info.sha256)  # the server has stopped


def test_a_local_copy_is_used_if_its_digest_matches(
    store: CorpusStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plays.txt"
    path.write_bytes(PLAY)
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(InputError, match="not Tiny Shakespeare"):
        add_by_name(store, "tiny-shakespeare")
    monkeypatch.setattr(builtin, "SHAKESPEARE_SHA256", FACTS["sha256"])
    monkeypatch.setattr(builtin, "SHAKESPEARE_BYTES", FACTS["size"])
    assert store.read(add_by_name(store, "tiny-shakespeare").sha256) == PLAY.decode()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing"))
    store.delete(FACTS["sha256"])
    with pytest.raises(InputError, match=r"missing.*cannot be read"):
        add_by_name(store, "tiny-shakespeare")


@pytest.mark.parametrize(("name", "least"), [("python-documentation", 300_000), ("python-source", 3_000_000)])
def test_texts_from_python_are_stored_like_any_text(store: CorpusStore, name: str, least: int) -> None:
    info = add_by_name(store, name)
    assert least < info.characters <= builtin.SOURCE_BYTES and 90 < info.vocab_size < 300
    assert add_by_name(store, name).sha256 == info.sha256 == store.get(info.sha256).sha256  # deterministic
    text = store.read(info.sha256)
    assert ("def " if name == "python-source" else "for_stmt ::=") in text
    assert store.rename(info.sha256, "mine").name == "mine"
    store.delete(info.sha256)
    assert len(store.list()) == 1


def test_a_python_without_these_texts_raises_an_error(
    store: CorpusStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    monkeypatch.setattr(builtin.sysconfig, "get_path", lambda _: str(tmp_path / "python311.zip"))
    for name in ("python-documentation", "python-source"):
        with pytest.raises(InputError, match=r"This Python has no .* choose another text"):
            add_by_name(store, name)


def test_python_source_is_in_fixed_order_and_skips_unreadable_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtin.sysconfig, "get_path", lambda _: str(tmp_path))
    (tmp_path / "c.py").write_bytes("# coding: latin-1\nc = 'é'".encode("latin-1"))
    (tmp_path / "a.py").write_text("a = 1")
    (tmp_path / "bad.py").write_bytes(b"# coding: nonsense\n\xff")
    (tmp_path / "worse.py").write_bytes(b"w = '\xff'")
    (tmp_path / "_sysconfigdata_here.py").write_text("this machine's")
    (tmp_path / "folder.py").mkdir()
    order = list(tmp_path.glob("*.py"))
    for listed in (order, order[::-1]):
        monkeypatch.setattr(Path, "glob", lambda *_, listed=listed: iter(listed))
        assert builtin.source() == "a = 1\n# coding: latin-1\nc = 'é'"


@pytest.mark.skipif(not Path(LOCAL_COPY).is_file(), reason=f"{VARIABLE} names no file")
def test_the_real_tiny_shakespeare_has_the_expected_digest(store: CorpusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, LOCAL_COPY)
    info = add_by_name(store, "tiny-shakespeare")
    assert (info.characters, info.vocab_size) == (builtin.SHAKESPEARE_BYTES, 65)
    assert (
        builtin.builtin_by_digest(info.sha256) is builtin_by_id("tiny-shakespeare")
        and missing_builtin(store, info.sha256) is None
    )


def test_missing_builtin_finds_a_text_by_digest_until_it_is_added(store: CorpusStore, monkeypatch) -> None:
    assert missing_builtin(store, builtin.SHAKESPEARE_SHA256) is builtin_by_id("tiny-shakespeare")
    assert (
        missing_builtin(store, "ab" * 32)
        is missing_builtin(store, None)
        is missing_builtin(store, store.list()[0].sha256)
        is None
    )
    monkeypatch.setattr(builtin, "SHAKESPEARE_SHA256", store.add_text("added manually", "input.txt").sha256)
    assert missing_builtin(store, builtin.SHAKESPEARE_SHA256) is None


def test_a_name_is_a_built_in_text_or_a_file(store: CorpusStore, tmp_path: Path, monkeypatch) -> None:
    assert add_by_name(store, "sample").bundled
    assert [b.id for b in BUILTINS if builtin_by_id(b.id) is b] == [
        "sample", "tiny-shakespeare", "python-documentation", "python-source",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("sample").write_text("my own sample")
    assert add_by_name(store, "./sample").name == "sample" and builtin_by_id("./sample") is None
    with pytest.raises(InputError, match="cannot be read"):
        add_by_name(store, "shakespeare")


def test_the_bundled_text_is_long_enough(store: CorpusStore) -> None:
    info = add(store, BUILTINS[0])
    text = store.read(info.sha256)
    assert info.characters >= 120_000 and CharTokenizer.from_text(text).vocab_size == info.vocab_size
