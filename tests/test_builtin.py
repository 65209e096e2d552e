"""Texts to start from: what Python brings is there, and a download is the right text or one clear sentence."""

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

from nanollm import builtin
from nanollm.builtin import BUILTINS, VARIABLE, add, bring, download, lacking, named
from nanollm.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.tokenizer import CharTokenizer
from tests.speed import within

PLAY = ("First Citizen:\nBefore we proceed any further, hear me speak.\n\n" * 2000).encode()
FACTS = {"size": len(PLAY), "sha256": hashlib.sha256(PLAY).hexdigest()}
NEVER = 300.0  # seconds: longer than any of these tests
LOCAL_COPY = os.environ.get(VARIABLE, "")
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "corpora")


@pytest.fixture(autouse=True)
def nearby(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands between the tests and their own server, and nobody's Shakespeare is taken."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(VARIABLE, raising=False)


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A real server that answers every request in this way; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # the other side may go at any time
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
    """The content, said to be so long."""

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
    while True:  # until the other side goes
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


def test_a_text_is_fetched_whole_with_its_progress() -> None:
    heard: list[tuple[int, int]] = []
    with serving(whole(PLAY)) as address:
        assert download(address, **FACTS, progress=lambda *so_far: heard.append(so_far)) == PLAY
    assert heard == sorted(heard) and heard[-1] == (len(PLAY), len(PLAY))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (whole(PLAY[:5000], len(PLAY)), r"broke off \(5,000 of 124,000 bytes came\): try again"),
        (whole(PLAY[:5000]), "broke off"),
        (whole(PLAY[:-1] + b"!"), "another text than expected"),
        (whole(PLAY + b"!"), "more than the 124,000 bytes"),
        (endless, "more than the 124,000 bytes"),
        (whole(b"not here", status=404), r"answered 404 \(Not Found\)"),
        (whole(b"", status=500), "answered 500"),
        (silent, r"too slow \(0 of"),
        (halfway, r"too slow \(1,000 of"),
        (dribbling, "too slow"),
        (no_http, "could not be fetched"),
    ],
    ids=["truncated", "short", "wrong", "long", "endless", "404", "500", "silent", "halfway", "dribbling", "no http"],
)
def test_whatever_a_server_does_there_is_one_sentence_and_nothing_left(
    store: CorpusStore, monkeypatch: pytest.MonkeyPatch, answer: Answer, sentence: str
) -> None:
    # Short only where time is what the refusal is about: a busy machine may take seconds for any other answer.
    silence, total = {silent: (0.4, NEVER), halfway: (3.0, NEVER), dribbling: (NEVER, 0.8)}.get(answer, (NEVER, NEVER))
    monkeypatch.setattr(builtin, "SILENCE_SECONDS", silence)
    monkeypatch.setattr(builtin, "TOTAL_SECONDS", total)
    monkeypatch.setattr(builtin, "SHAKESPEARE_BYTES", FACTS["size"])
    monkeypatch.setattr(builtin, "SHAKESPEARE_SHA256", FACTS["sha256"])
    with serving(answer) as address:
        monkeypatch.setenv(VARIABLE, address)
        with within(NEVER / 10), pytest.raises(InputError, match=sentence) as refused:
            bring(store, "tiny-shakespeare")
    assert str(refused.value).count("\n") == 0 and len(str(refused.value)) < 250
    assert not store.root.exists() or list(store.root.iterdir()) == []


def test_where_there_is_no_network_it_says_so(store: CorpusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = f"http://127.0.0.1:{taken.getsockname()[1]}/input.txt"
    for place, why in ((refused, "refused"), ("http://nowhere.invalid/input.txt", "could not be fetched")):
        monkeypatch.setenv(VARIABLE, place)
        with pytest.raises(InputError, match=f"{why}.*set {VARIABLE} to the file"):
            bring(store, "tiny-shakespeare")
    for address in ("https://", "http://[", "gopher://x/y", "no address"):
        with pytest.raises(InputError, match="could not be fetched"):
            download(address, **FACTS)


def test_what_was_fetched_once_is_not_fetched_again(store: CorpusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "SHAKESPEARE_BYTES", FACTS["size"])
    monkeypatch.setattr(builtin, "SHAKESPEARE_SHA256", FACTS["sha256"])
    with serving(whole(PLAY)) as address:
        monkeypatch.setenv(VARIABLE, address)
        info = bring(store, "tiny-shakespeare")
    assert (info.name, info.builtin, info.sha256) == ("Tiny Shakespeare", "tiny-shakespeare", FACTS["sha256"])
    assert store.read(info.sha256) == PLAY.decode()
    store.rename(info.sha256, "the plays")
    assert bring(store, "tiny-shakespeare") == store.get(info.sha256)  # the server is gone


def test_a_local_copy_is_taken_if_it_is_one(
    store: CorpusStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plays.txt"
    path.write_bytes(PLAY)
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(InputError, match="not Tiny Shakespeare"):
        bring(store, "tiny-shakespeare")
    monkeypatch.setattr(builtin, "SHAKESPEARE_SHA256", FACTS["sha256"])
    monkeypatch.setattr(builtin, "SHAKESPEARE_BYTES", FACTS["size"])
    assert store.read(bring(store, "tiny-shakespeare").sha256) == PLAY.decode()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing"))
    store.delete(FACTS["sha256"])
    with pytest.raises(InputError, match=r"missing.*cannot be read"):
        bring(store, "tiny-shakespeare")


@pytest.mark.parametrize(("name", "least"), [("python-documentation", 300_000), ("python-source", 3_000_000)])
def test_what_python_brings_is_an_ordinary_text(store: CorpusStore, name: str, least: int) -> None:
    info = bring(store, name)
    assert least < info.characters <= builtin.SOURCE_BYTES and 90 < info.vocab_size < 300
    assert bring(store, name).sha256 == info.sha256 == store.get(info.sha256).sha256  # in a fixed order
    text = store.read(info.sha256)
    assert ("def " if name == "python-source" else "for_stmt ::=") in text
    assert store.rename(info.sha256, "mine").name == "mine"
    store.delete(info.sha256)
    assert len(store.list()) == 1


def test_a_python_without_them_says_so(store: CorpusStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    monkeypatch.setattr(builtin.sysconfig, "get_path", lambda _: str(tmp_path / "python311.zip"))
    for name in ("python-documentation", "python-source"):
        with pytest.raises(InputError, match=r"This Python comes without .* take another text"):
            bring(store, name)


def test_the_source_of_python_is_read_in_a_fixed_order_and_past_what_cannot_be_read(
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
def test_the_real_one_is_what_is_asked_for(store: CorpusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, LOCAL_COPY)
    info = bring(store, "tiny-shakespeare")
    assert (info.characters, info.vocab_size) == (builtin.SHAKESPEARE_BYTES, 65)
    assert builtin.of_digest(info.sha256) is named("tiny-shakespeare") and lacking(store, info.sha256) is None


def test_what_is_lacking_is_known_by_its_digest_until_it_is_here(store: CorpusStore, monkeypatch) -> None:
    assert lacking(store, builtin.SHAKESPEARE_SHA256) is named("tiny-shakespeare")
    assert lacking(store, "ab" * 32) is lacking(store, None) is lacking(store, store.list()[0].sha256) is None
    monkeypatch.setattr(
        builtin, "SHAKESPEARE_SHA256", store.add_text("somebody brought it by hand", "input.txt").sha256
    )
    assert lacking(store, builtin.SHAKESPEARE_SHA256) is None


def test_a_name_is_a_built_in_text_or_a_file(store: CorpusStore, tmp_path: Path, monkeypatch) -> None:
    assert bring(store, "sample").bundled
    assert [b.id for b in BUILTINS if named(b.id) is b] == [
        "sample", "tiny-shakespeare", "python-documentation", "python-source",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("sample").write_text("my own sample")
    assert bring(store, "./sample").name == "sample" and named("./sample") is None
    with pytest.raises(InputError, match="cannot be read"):
        bring(store, "shakespeare")


def test_the_bundled_text_is_large_enough_to_learn_from(store: CorpusStore) -> None:
    info = add(store, BUILTINS[0])
    text = store.read(info.sha256)
    assert info.characters >= 120_000 and CharTokenizer.from_text(text).vocab_size == info.vocab_size
