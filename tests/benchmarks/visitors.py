"""How a public page bears its visitors: people who look, write, drag and think, while one run trains.

    python -m tests.benchmarks.visitors [--visitors 20] [--seconds 60] [--flood] [--soak 2000 --uploads 500] [--json]

The page runs as on a Space, in a process of its own; the visitors speak to it over HTTP as a browser does, each with a
token and an address of its own, which a Space's front writes into a header. One visitor alone comes first: the
baseline. Times are seconds. The first character is timed from asking for 300 characters to the first event that brings
one. --flood adds somebody with 50 requests under way at any moment; --soak opens so many sessions, one after the other,
and brings so many texts. Targets are D1, D2 and D4 of tests/faults; that what was called off ends at once (D3) is
tested there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import httpx

from nanollm.corpus import CorpusStore
from nanollm.events import Step
from nanollm.limits import PUBLIC
from nanollm.runs.store import Run
from tests.conftest import ROOT
from tests.serving import Page, serve

FIRST, SLOWED, FLOODED = 3.0, 0.5, 2.0  # D1: p95 seconds, share of the steps; D2: times the baseline
GROWN, DESCRIPTORS = 50 * 2**20, 5  # D4: bytes and open files, after the warm-up
PARALLEL = 50  # requests under way of somebody who floods
AT_ONCE = 10  # sessions of a soak that are open at the same time
ASKED = dict(prompt="The ", max_length=300, temperature=0.8, top_k=40)
CONFIG = "window.gradio_config = "  # what stands in the page before its configuration
FIRST_ADDRESS = int(IPv4Address("10.0.0.0"))  # the visitors'
TIMEOUT = httpx.Timeout(120.0)


class Account:
    """What was measured: seconds by interaction, and what went wrong."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()

    @contextmanager
    def timed(self, what: str) -> Iterator[Callable[[], None]]:
        """Time the block, or until what is yielded is called."""
        began, ended = time.perf_counter(), []
        try:
            yield lambda: ended or ended.append(time.perf_counter())
        except httpx.HTTPStatusError as error:
            self.errors[f"{what}: {error.response.status_code}"] += 1
        except (httpx.HTTPError, ValueError) as error:
            self.errors[f"{what}: {type(error).__name__} {error}"[:100]] += 1
        else:
            self.seconds[what].append((ended or [time.perf_counter()])[0] - began)

    def table(self) -> dict[str, dict[str, float]]:
        """By interaction: how often, p50, p95."""
        return {
            what: {"times": len(taken), "p50": statistics.median(taken), "p95": percentile(taken, 95)}
            for what, taken in sorted(self.seconds.items())
        }


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed; NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


class Visitor:
    """One browser tab."""

    def __init__(self, address: str, account: Account, number: int) -> None:
        self.draw = random.Random(number)
        self.account = account
        self.session = f"{self.draw.getrandbits(64):x}"
        token = "".join(self.draw.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=43))
        headers = {"x-nano-visitor": token, "x-forwarded-for": str(IPv4Address(FIRST_ADDRESS + number))}
        self.web = httpx.AsyncClient(base_url=address, headers=headers, timeout=TIMEOUT, limits=httpx.Limits())
        self.models: list[dict[str, Any]] = []
        self._frame, self._news = 0, {}

    async def open(self) -> None:
        """The page, with its configuration in it, and what there is to look at."""
        with self.account.timed("open the page"):
            page = (await self.web.get("/")).raise_for_status().text
        config, _ = json.JSONDecoder().raw_decode(page, page.index(CONFIG) + len(CONFIG))
        parts, events = config["components"], config["dependencies"]
        self._frame = next(part["id"] for part in parts if part["props"].get("elem_id") == "sample-text")
        ticks = (event for event in events if any(name == "tick" for _, name in event["targets"]))
        news = max(ticks, key=lambda event: event["id"])  # the page's own clock is wired last
        self._news = {"data": [None] * len(news["inputs"]), "fn_index": news["id"], "session_hash": self.session}
        self.models = [row for row in await self.call("runs") if row["steps"]]

    async def call(self, endpoint: str, *data: Any, first: Callable[[], None] = lambda: None) -> Any:
        """An endpoint's last answer; `first` is called with the first character of a stream. Raises ValueError."""
        joined = await self.web.post(f"/gradio_api/call/{endpoint}", json={"data": list(data)})
        event = joined.raise_for_status().json()["event_id"]
        said: Any = None
        async with self.web.stream("GET", f"/gradio_api/call/{endpoint}/{event}") as answer:
            kind = ""
            async for line in answer.aiter_lines():
                kind = line.removeprefix("event: ") if line.startswith("event: ") else kind
                if kind == "error":
                    raise ValueError("refused")
                if line.startswith("data: ") and kind in ("generating", "complete"):
                    said = (json.loads(line[6:]) or [said])[0]
                    if isinstance(said, str) and len(said) > len(ASKED["prompt"]):
                        first()
        return said

    async def write(self) -> None:
        model, asked = self.draw.choice(self.models), {**ASKED, "seed": self.draw.randrange(10**6)}
        with self.account.timed("first character") as first, self.account.timed("300 characters"):
            await self.call("sample", model["id"], asked["prompt"], None, *list(asked.values())[1:], first=first)

    async def drag(self) -> None:
        """The slider over five snapshots: one frame after the other, as the page asks for them."""
        model = self.draw.choice(self.models)
        for step in self.draw.sample(model["steps"], min(5, len(model["steps"]))):
            question = {**ASKED, "run": model["id"], "step": step, "seed": 42, "kept": ""}
            body = {"data": question, "fn_name": "frame", "session_hash": self.session, "component_id": self._frame}
            with self.account.timed("a frame of the slider"):
                (await self.web.post("/gradio_api/component_server", json=body)).raise_for_status()

    async def look(self) -> None:
        model = self.draw.choice(self.models)
        text = "the cat sat on the mat " * self.draw.randrange(1, 4)
        with self.account.timed("attention"):
            await self.call("attention", model["id"], text, 1, 1, None)

    async def news(self) -> None:
        with self.account.timed("news"):
            (await self.web.post("/gradio_api/run/predict", json=self._news)).raise_for_status()

    async def stay(self, until: float) -> None:
        """Look around until then: most of the time nothing happens but news."""
        await self.open()
        while time.monotonic() < until:
            doing = self.draw.choices([self.write, self.drag, self.look], [3, 3, 2])[0]
            await doing()
            for _ in range(self.draw.randrange(1, 5)):
                await asyncio.sleep(1)
                await self.news()
        await self.web.aclose()


class Flooder(Visitor):
    """Somebody who asks for everything at once, and again as soon as it is refused."""

    async def stay(self, until: float) -> None:
        await self.open()
        await asyncio.gather(*(self._hurry(until) for _ in range(PARALLEL)))
        await self.web.aclose()

    async def _hurry(self, until: float) -> None:
        while time.monotonic() < until:
            await self.draw.choice([self.write, self.drag, self.look, self.news])()
            await asyncio.sleep(0.01)


async def crowd(page: Page, count: int, seconds: float) -> Account:
    """So many visitors for so long, and what they measured."""
    account, until = Account(), time.monotonic() + seconds
    await asyncio.gather(*(Visitor(page.address, account, number).stay(until) for number in range(count)))
    return account


def flood(address: str, seconds: float) -> dict[str, Any]:
    """Somebody who floods for so long, on a machine of their own as far as that can be had on one machine."""
    os.nice(19)
    account = Account()
    asyncio.run(Flooder(address, account, 10**6).stay(time.monotonic() + seconds))
    return {"answered": sum(map(len, account.seconds.values())), "errors": dict(account.errors)}


async def soak(page: Page, sessions: int, uploads: int) -> dict[str, float]:
    """Open sessions and bring texts; how much memory and how many open files the server has more than after a tenth."""
    account, numbers = Account(), iter(range(sessions))
    warm: list[tuple[int, int]] = []

    async def come_and_go() -> None:
        for number in numbers:
            visitor = Visitor(page.address, account, 10**7 + number)
            async with visiting(visitor):
                await visitor.open()
                await visitor.news()
                if number * uploads // sessions != (number + 1) * uploads // sessions:
                    text = f"{number} " + "a text that somebody brought, and then left. " * 400
                    with account.timed("bring a text"):
                        await visitor.call("corpus", text, "mine.txt")
                elif visitor.models:
                    with account.timed("20 characters"):
                        await visitor.call("sample", visitor.models[-1]["id"], "The ", None, 20, 0.8, 40, number)
            if number == sessions // 10:
                warm.append(held(page))

    await asyncio.gather(*(come_and_go() for _ in range(AT_ONCE)))
    await asyncio.sleep(3)
    memory, files = held(page)
    return {
        "sessions": sessions, "uploads": uploads, "errors": dict(account.errors),  # type: ignore[dict-item]
        "memory_grown_mb": (memory - warm[0][0]) / 2**20, "descriptors_grown": files - warm[0][1],
    }  # fmt: skip


@asynccontextmanager
async def visiting(visitor: Visitor) -> Any:
    """An open tab: by its heartbeat the server knows when it is closed."""
    beating = asyncio.Event()

    async def beat() -> None:
        with suppress(httpx.HTTPError):
            async with visitor.web.stream("GET", f"/gradio_api/heartbeat/{visitor.session}") as pulse:
                beating.set()
                async for _ in pulse.aiter_lines():
                    pass
        beating.set()

    heart = asyncio.create_task(beat())
    await beating.wait()
    try:
        yield
    finally:
        heart.cancel()
        with suppress(asyncio.CancelledError):
            await heart
        await visitor.web.aclose()


def held(page: Page) -> tuple[int, int]:
    """Bytes of memory and open files of the server's process."""
    lines = Path(f"/proc/{page.pid}/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return 1024 * kilobytes, len(list(Path(f"/proc/{page.pid}/fd").iterdir()))


def training(page: Page) -> Run:
    """A run that trains for as long as anybody looks."""
    text = (ROOT / "data" / "raw" / "sample.txt").read_text(encoding="utf-8")
    corpus = CorpusStore(page.home / "data" / "corpora", PUBLIC).add_text(text, "sample.txt")
    settings = {"num_steps": 5_000, "log_interval": 5, "eval_interval": 1_000}
    run = page.store.create(settings=settings, corpus=corpus, preset="small")
    deadline = time.monotonic() + 120
    while not steps_of(run):
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing trains: {run.status()}")
        time.sleep(0.2)
    return run


def steps_of(run: Run) -> list[Step]:
    return [event for event in run.events() if isinstance(event, Step)]


def pace(run: Run, seconds: float) -> float:
    """Steps a second over the last so many seconds of training."""
    steps = steps_of(run)
    recent = [event for event in steps if event.seconds >= steps[-1].seconds - seconds]
    return (recent[-1].step - recent[0].step) / max(recent[-1].seconds - recent[0].seconds, 1e-9)


def measure(options: argparse.Namespace, page: Page) -> dict[str, Any]:
    """Everything that was asked for, one after the other on one server."""
    found: dict[str, Any] = {}
    run = training(page)
    time.sleep(min(10.0, options.seconds))
    found["steps_per_second_alone"] = pace(run, 8.0)
    alone = asyncio.run(crowd(page, 1, options.seconds / 2))
    before = held(page)
    many = asyncio.run(crowd(page, options.visitors, options.seconds))
    after = held(page)
    found["steps_per_second_with_visitors"] = pace(run, options.seconds * 0.8)
    found["training_slowed"] = 1 - found["steps_per_second_with_visitors"] / found["steps_per_second_alone"]
    found["one"], found["many"] = alone.table(), many.table()
    found["errors"] = {**alone.errors, **many.errors}
    found["memory_mb"], found["memory_grown_mb"] = after[0] / 2**20, (after[0] - before[0]) / 2**20
    found["descriptors_grown"] = after[1] - before[1]
    if options.flood:
        quiet = asyncio.run(crowd(page, 5, options.seconds / 2))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
            elsewhere.submit(abs, 0).result()  # has begun
            flooding = elsewhere.submit(flood, page.address, options.seconds / 2)
            others = asyncio.run(crowd(page, 5, options.seconds / 2))
            found["flood"] = flooding.result()
        found["five"], found["beside_a_flood"] = quiet.table(), others.table()
        found["errors_beside_a_flood"] = dict(others.errors)
    if options.soak:
        found["soak"] = asyncio.run(soak(page, options.soak, options.uploads))
    return found


def targets(found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """What was measured, and what it may be at most."""
    judged = {
        "D1 first character, p95 s": (found["many"].get("first character", {}).get("p95", float("inf")), FIRST),
        "D1 training slowed by": (found["training_slowed"], SLOWED),
        "errors": (sum(found["errors"].values()), 0),
    }
    for what, taken in found.get("beside_a_flood", {}).items():
        if what in ("first character", "attention", "a frame of the slider", "news") and what in found["five"]:
            judged[f"D2 {what}, p95 of baseline"] = (taken["p95"] / found["five"][what]["p95"], FLOODED)
    if soaked := found.get("soak"):
        judged["D4 memory grown, MB"] = (soaked["memory_grown_mb"], GROWN / 2**20)
        judged["D4 descriptors grown"] = (soaked["descriptors_grown"], DESCRIPTORS)
    return judged


def show(found: dict[str, Any]) -> None:
    for name in ("one", "many", "five", "beside_a_flood"):
        if name in found:
            print(f"\n{name.replace('_', ' ')}: {'interaction':<28}{'times':>6}{'p50':>8}{'p95':>8}")
            for what, row in found[name].items():
                print(f"  {what:<30}{row['times']:>6}{row['p50']:>8.3f}{row['p95']:>8.3f}")
    tables = ("one", "many", "five", "beside_a_flood")
    print("\n" + "\n".join(f"{name}: {value}" for name, value in found.items() if name not in tables))
    print(f"\n{'target':<44}{'measured':>10}{'at most':>10}")
    for what, (measured, most) in targets(found).items():
        print(f"{what:<44}{measured:>10.2f}{most:>10.2f}   {'holds' if measured <= most else 'MISSED'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--flood", action="store_true")
    parser.add_argument("--soak", type=int, default=0, metavar="SESSIONS")
    parser.add_argument("--uploads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nanollm-visitors-") as folder:
        home = Path(folder)
        shutil.copytree(ROOT / "checkpoints" / "pretrained", home / "checkpoints" / "pretrained")
        with serve(home, public=True, env={"SPACE_ID": "somebody/nano-llm"}) as page:
            found = measure(options, page)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    return int(any(measured > most for measured, most in targets(found).values()))


if __name__ == "__main__":
    sys.exit(main())
