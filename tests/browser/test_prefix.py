"""The public page behind a proxy that publishes it below a path: every request stays below it, and every tab works."""

from __future__ import annotations

import http.client
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import Response, expect

from playground.browser.static_files import module_names, module_root
from tests.browser.conftest import OpenVisit
from tests.browser.visit import PATIENCE
from tests.conftest import ROOT
from tests.serving import serve

pytestmark = pytest.mark.slow
PREFIX = "/models/nano"
TEXT = "the cat sat on the mat, and the rat ran from the cat.\n" * 400
PER_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}  # headers that a proxy does not forward


def _proxy(page: str) -> type[BaseHTTPRequestHandler]:
    """A handler that forwards requests below PREFIX to `page` without the prefix; any other path does not exist."""
    netloc = urlsplit(page).netloc

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{PREFIX}/"):
                return self.send_error(404)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in PER_CONNECTION}
            connection = http.client.HTTPConnection(netloc, timeout=300)
            connection.request(self.command, self.path.removeprefix(PREFIX), body or None, headers)
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in PER_CONNECTION:
                    self.send_header(name, value)
            self.end_headers()
            try:
                while part := answer.read1(65536):  # an event stream is passed on as it arrives
                    self.wfile.write(part)
            except OSError:
                pass  # the browser has left
            finally:
                connection.close()

        do_POST = do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    return Proxy


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The proxy's address for the page."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(ROOT / "checkpoints" / "pretrained", Path(home) / "checkpoints" / "pretrained")
    with serve(home, public=True, env={"GRADIO_ROOT_PATH": PREFIX}) as page:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _proxy(page.address))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}/"
        server.shutdown()
        server.server_close()


@pytest.fixture
def answers(open_visit: OpenVisit, address: str) -> Iterator[tuple[Tab, list[Response]]]:
    """A browser tab on the page and all answers that it gets; none may be an error or from outside the prefix."""
    visit = open_visit(address, None)
    answers: list[Response] = []
    visit.tab.on("response", lambda answer: answers.append(answer))
    yield visit.goto("?tab=sample&prompt=ROMEO:"), answers
    assert [answer.url for answer in answers if answer.status >= 400] == []
    assert {url.path.startswith(f"{PREFIX}/") for url in map(urlsplit, _urls(answers))} == {True}


def _urls(answers: list[Response]) -> list[str]:
    return [answer.url for answer in answers if answer.url.startswith("http")]


def test_all_tabs_work_below_a_prefix(answers: tuple[Tab, list[Response]]) -> None:
    tab, received = answers
    tab.wait_for_function("document.querySelector('#sample-text .letters')?.textContent.length > 300")
    tab.locator("#sample-text .letters span").nth(40).click()
    expect(tab.locator("#sample-choices .alternatives button").first).to_be_visible()
    modules = {f"{PREFIX}/{module_root()}{name}" for name in module_names()}
    assert modules <= {urlsplit(url).path for url in _urls(received)}

    tab.get_by_role("tab", name="Attention", exact=True).click()
    tab.wait_for_function("document.querySelectorAll('#attention-grid button').length === 24")
    expect(tab.locator("#attention-heatmap .main-svg").first).to_be_visible()

    tab.get_by_role("tab", name="Compare", exact=True).click()
    tab.locator("#compare-write").click()
    for column in (1, 2, 3):
        tab.wait_for_function(f"document.querySelector('#compare-{column}-text .text')?.textContent.length > 100")

    tab.get_by_role("tab", name="Corpus", exact=True).click()
    upload = {"name": "cats.txt", "mimeType": "text/plain", "buffer": TEXT.encode()}
    tab.locator("#corpus-upload input[type=file]").set_input_files(upload)
    expect(tab.locator("#corpus-texts .yours")).to_contain_text("cats.txt")
    first_step = 5 * PATIENCE  # on a busy machine, starting the worker and calibration take minutes
    tab.locator("#corpus-train").click()
    tab.locator("#train-start").click(timeout=first_step)
    expect(tab.locator("#train-progress")).to_contain_text(re.compile("step [1-9]"), timeout=first_step)
    expect(tab.locator("#train-chart .main-svg").first).to_be_visible()


def test_downloads_work_in_public_mode_and_stay_below_the_prefix(answers: tuple[Tab, list[Response]]) -> None:
    tab, _ = answers
    tab.get_by_role("tab", name="Attention", exact=True).click()
    tab.wait_for_function("document.querySelectorAll('#attention-grid button').length === 24")
    with tab.expect_download() as started:
        tab.locator("#attention-save").click()
    assert "plotly" in started.value.path().read_text(encoding="utf-8")
