"""The first visit after a clone: three models to sample from, look into and compare, and nothing fetched unasked."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from nanollm.data import builtin
from nanollm.data.builtin import VARIABLE
from nanollm.experiments.pretrained import SNAPSHOT_COUNTS
from nanollm.inference.generate import generate_text
from nanollm.runs.run_files import read_json
from nanollm.runs.store import RunStore
from nanollm.train.checkpoint import load_model
from playground.context import Context
from playground.page import build, launch_options
from playground.settings import Settings
from tests.browser.conftest import Come
from tests.conftest import ROOT
from tests.serving import Page, serve
from tests.speed import assert_within

SHIPPED = ROOT / "checkpoints" / "pretrained"
AT_ONCE = 15.0  # seconds until there is something to read; it takes one or two where nothing else goes on
WRITTEN = "document.querySelector('#sample-text .letters')?.textContent.length > 300"
BEST = f"step {read_json(SHIPPED / 'medium' / 'run.json')['made']['best_step']:,} (best)"
OFFER = "Download its training text (1.1 MB)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page over nothing but what comes with a clone, where Tiny Shakespeare cannot be had."""
    home = tmp_path_factory.mktemp("clone")
    shutil.copytree(SHIPPED, home / "checkpoints" / "pretrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(home / "nowhere.txt"))
        with serve(home) as page:
            yield page


def choose(tab: Tab, preset: str) -> None:
    tab.locator("#time-bar select").select_option(f"pretrained-{preset}")


def test_it_writes_at_once_with_the_largest(come: Come, page: Page) -> None:
    times = []
    for _ in range(3):  # the first one also reads the model from disk
        began = time.monotonic()
        fresh = come(page.address)
        fresh.tab.wait_for_function("document.querySelector('#sample-text .letters')?.textContent.length > 10")
        times.append(time.monotonic() - began)
        fresh.close()
    print(f"seconds until there is something to read: {', '.join(f'{seconds:.2f}' for seconds in times)}")
    assert_within(min(times), AT_ONCE)

    tab = come(page.address).tab
    tab.locator("body[data-tab=sample]").wait_for()
    expect(tab.locator("#time-bar select")).to_have_value("pretrained-medium")
    expect(tab.locator("#time-bar output")).to_have_text(BEST)
    tab.wait_for_function(WRITTEN)
    expect(tab.locator("#sidebar .run-list li")).to_have_count(3)
    for more in tab.locator("#sidebar button.more").all():
        more.click()
    for forbidden in ("Rename", "Delete"):
        expect(tab.locator("#sidebar").get_by_role("button", name=forbidden, exact=True)).to_have_count(0)


def test_the_time_bar_plays_through_the_training_of_each(come: Come, page: Page) -> None:
    tab = come(page.address).tab
    tab.wait_for_function(WRITTEN)
    expect(tab.locator("#sample-stop")).to_be_disabled()
    text = tab.locator("#sample-text .letters")
    last = str(text.text_content())  # by medium, which is chosen first
    for preset, count in SNAPSHOT_COUNTS.items():
        choose(tab, preset)
        expect(tab.locator("#time-bar input[type=range]")).to_have_attribute("max", str(count - 1))
    # Medium again, with its words: from its first snapshot to its last by itself.
    expect(text).to_have_text(last)
    tab.locator("#time-bar .play").click()
    expect(tab.locator("#time-bar output")).to_have_text("step 0")
    expect(text).not_to_have_text(last)
    expect(tab.locator("#time-bar output")).to_have_text(BEST)
    expect(text).to_have_text(last)


def test_there_is_something_to_look_into_and_to_compare(come: Come, page: Page) -> None:
    visit = come(page.address, "?tab=attention")
    tab = visit.tab
    tab.wait_for_function("document.querySelectorAll('#attention-grid button').length === 24")
    expect(tab.locator("#attention-heatmap .main-svg").first).to_be_visible()
    expect(tab.locator("#attention-fetch button")).to_have_text(OFFER)
    visit.goto("?tab=compare")
    for place, preset in enumerate(SNAPSHOT_COUNTS, 1):
        expect(tab.locator(f"#compare-{place}-model select")).to_have_value(f"pretrained-{preset}")
    expect(tab.locator(".compared:visible")).to_have_count(3)
    tab.locator("#compare-write").click()
    for place in (1, 2, 3):
        tab.wait_for_function(f"document.querySelector('#compare-{place}-text .text').textContent.length > 100")


def test_a_text_that_cannot_be_had_says_why_and_is_offered_again(come: Come, page: Page) -> None:
    tab = come(page.address).tab
    tab.wait_for_function(WRITTEN)
    expect(tab.locator("#copies-fetch button")).to_be_hidden()  # in its fold
    tab.locator("#copies-fold button").first.click()
    expect(tab.locator("#sample-copies .said")).to_contain_text("has not been downloaded")
    tab.locator("#copies-fetch button").click()
    expect(tab.locator("#copies-fetching")).to_contain_text("nowhere.txt', which cannot be read")
    expect(tab.locator("#copies-fetch button")).to_have_text(OFFER)


class TestFetching:
    """With a text in the place of Tiny Shakespeare, from a server that takes its time."""

    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A clone whose nano was trained on a text that can be fetched: some of its own words."""
        shutil.copytree(SHIPPED / "nano", tmp_path / "checkpoints" / "pretrained" / "nano")
        run = RunStore(tmp_path / "checkpoints").get("pretrained-nano")
        loaded = load_model(run.snapshot().path)
        self.text = generate_text(loaded.model, loaded.tokenizer, "The ", max_length=20_000, seed=1).encode()
        sha256 = hashlib.sha256(self.text).hexdigest()
        about = json.loads((run.folder / "run.json").read_text())
        about["corpus"]["sha256"] = sha256
        (run.folder / "run.json").write_text(json.dumps(about))
        monkeypatch.setattr(builtin, "SHAKESPEARE_SHA256", sha256)
        monkeypatch.setattr(builtin, "SHAKESPEARE_BYTES", len(self.text))
        monkeypatch.setattr(builtin, "READ_TIMEOUT_SECONDS", 100)  # its server waits for a browser that has work to do
        monkeypatch.setattr(builtin, "TOTAL_SECONDS", 100)
        return tmp_path

    @pytest.fixture
    def go_on(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
        """Lets the server send the second half."""
        go_on, text = threading.Event(), self.text

        class Server(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text[: len(text) // 2])
                self.wfile.flush()
                go_on.wait(100)
                self.wfile.write(text[len(text) // 2 :])

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{server.server_port}/input.txt")
        yield go_on
        go_on.set()
        server.shutdown()
        server.server_close()

    @pytest.fixture
    def address(self, home: Path, go_on: threading.Event) -> Iterator[str]:
        settings = Settings(home=home)
        ctx = Context.open(settings)
        demo = build(ctx)
        _, address, _ = demo.launch(
            prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_options(settings, demo)
        )
        yield address
        ctx.launcher.close()
        demo.close(verbose=False)

    @pytest.mark.long
    def test_it_comes_once_for_all_and_holds_up_nobody(self, address: str, come: Come, go_on: threading.Event) -> None:
        one, other = come(address), come(address, "?tab=corpus")
        tab = one.tab
        tab.wait_for_function(WRITTEN)
        tab.locator("#copies-fold button").first.click()
        tab.locator("#copies-fetch button").click()
        expect(tab.locator("#copies-fetching")).to_have_text("Downloading Tiny Shakespeare: 50%")

        # Somebody else chooses a text meanwhile, and is not kept waiting.
        elsewhere = other.tab
        expect(elsewhere.locator("#corpus-card .facts")).to_contain_text("characters")
        elsewhere.locator("#corpus-texts .ours .pick", has_text="Python documentation").click()
        expect(elsewhere.locator("#corpus-texts .chosen")).to_contain_text("Python documentation")
        elsewhere.locator("#corpus-texts .ours .pick", has_text="sample.txt").click()
        expect(elsewhere.locator("#corpus-texts .chosen")).to_contain_text("sample.txt")
        expect(tab.locator("#copies-fetching")).to_have_text("Downloading Tiny Shakespeare: 50%")

        # Whoever looks at what needed the text sees it begin to work, and the offer go.
        other.goto("?tab=compare&view=scored")
        expect(elsewhere.locator("#compare-fetch button")).to_have_text(OFFER)
        go_on.set()
        expect(tab.locator("#sample-copies .said")).to_contain_text("copied word for word")
        expect(tab.locator("#copies-fetch button")).to_be_hidden()
        expect(elsewhere.locator("#compare-difference .letters span").first).to_be_visible()
        expect(elsewhere.locator("#compare-fetch button")).to_be_hidden()
