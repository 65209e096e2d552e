"""Load test of a public page: concurrent visitors generate, inspect and move the time bar while one run trains.

    python -m tests.benchmarks.visitors [--visitors 20] [--seconds 60] [--flood] [--soak 2000 --uploads 500] [--json]

The page runs in its own process, configured as on a Hugging Face Space. Visitors use HTTP as a browser does, each with
its own token and IP address, which the proxy of a Space passes in a header. A single visitor is measured first, as the
baseline. Times are in seconds. The first character is timed from the request for 300 characters to the first event with
a character. --flood adds a client with 50 concurrent requests; --soak opens the given number of sessions one after the
other and uploads texts. The targets are D1, D2 and D4 of tests/faults; D3 (cancelled requests stop at once) is tested
there.
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

from nanollm.data.corpus import CorpusStore
from nanollm.limits import PUBLIC
from nanollm.runs.store import Run
from nanollm.train.events import Step
from tests.conftest import ROOT
from tests.serving import Page, serve

FIRST, SLOWED, FLOODED = 3.0, 0.5, 2.0  # D1: p95 seconds, share of the steps; D2: times the baseline
GROWN, DESCRIPTORS = 50 * 2**20, 5  # D4: bytes and open files, after the warm-up
PARALLEL = 50  # concurrent requests of the flooding client
AT_ONCE = 10  # concurrently open sessions of a soak test
REQUEST = dict(prompt="The ", max_length=300, temperature=0.8, top_k=40)
CONFIG = "window.gradio_config = "  # precedes the configuration in the page
FIRST_ADDRESS = int(IPv4Address("10.0.0.0"))  # of the first visitor
TIMEOUT = httpx.Timeout(120.0)


class Measurements:
    """Durations by interaction, and error counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()

    @contextmanager
    def timed(self, what: str) -> Iterator[Callable[[], None]]:
        """Time the block, or until the yielded function is called."""
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
        """Count, p50 and p95 of each interaction."""
        return {
            what: {"times": len(taken), "p50": statistics.median(taken), "p95": percentile(taken, 95)}
            for what, taken in sorted(self.seconds.items())
        }


def percentile(values: list[float], percent: float) -> float:
    """The given percentile of the values (nearest rank); NaN for an empty list."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


class Visitor:
    """One browser tab."""

    def __init__(self, address: str, measurements: Measurements, number: int) -> None:
        self.draw = random.Random(number)
        self.measurements = measurements
        self.session = f"{self.draw.getrandbits(64):x}"
        token = "".join(self.draw.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=43))
        headers = {"x-nano-visitor": token, "x-forwarded-for": str(IPv4Address(FIRST_ADDRESS + number))}
        self.web = httpx.AsyncClient(base_url=address, headers=headers, timeout=TIMEOUT, limits=httpx.Limits())
        self.models: list[dict[str, Any]] = []
        self._frame, self._update_request = 0, {}

    async def open(self) -> None:
        """Load the page, read its configuration and list the runs."""
        with self.measurements.timed("open the page"):
            page = (await self.web.get("/")).raise_for_status().text
        config, _ = json.JSONDecoder().raw_decode(page, page.index(CONFIG) + len(CONFIG))
        parts, events = config["components"], config["dependencies"]
        self._frame = next(part["id"] for part in parts if part["props"].get("elem_id") == "sample-text")
        ticks = (event for event in events if any(name == "tick" for _, name in event["targets"]))
        updates = max(ticks, key=lambda event: event["id"])  # the timer of the whole page is the last one
        self._update_request = {
            "data": [None] * len(updates["inputs"]),
            "fn_index": updates["id"],
            "session_hash": self.session,
        }
        self.models = [row for row in await self.call("runs") if row["steps"]]

    async def call(self, endpoint: str, *data: Any, first: Callable[[], None] = lambda: None) -> Any:
        """Call an endpoint and return its last value; first() is called at the first character. Raises ValueError."""
        joined = await self.web.post(f"/gradio_api/call/{endpoint}", json={"data": list(data)})
        event = joined.raise_for_status().json()["event_id"]
        value: Any = None
        async with self.web.stream("GET", f"/gradio_api/call/{endpoint}/{event}") as answer:
            kind = ""
            async for line in answer.aiter_lines():
                kind = line.removeprefix("event: ") if line.startswith("event: ") else kind
                if kind == "error":
                    raise ValueError("rejected")
                if line.startswith("data: ") and kind in ("generating", "complete"):
                    value = (json.loads(line[6:]) or [value])[0]
                    if isinstance(value, str) and len(value) > len(REQUEST["prompt"]):
                        first()
        return value

    async def write(self) -> None:
        model, request = self.draw.choice(self.models), {**REQUEST, "seed": self.draw.randrange(10**6)}
        with self.measurements.timed("first character") as first, self.measurements.timed("300 characters"):
            await self.call("sample", model["id"], request["prompt"], None, *list(request.values())[1:], first=first)

    async def drag(self) -> None:
        """Move the time bar over five snapshots, requesting one frame after the other as the page does."""
        model = self.draw.choice(self.models)
        for step in self.draw.sample(model["steps"], min(5, len(model["steps"]))):
            request = {**REQUEST, "run": model["id"], "step": step, "seed": 42, "kept": ""}
            body = {"data": request, "fn_name": "frame", "session_hash": self.session, "component_id": self._frame}
            with self.measurements.timed("a frame of the slider"):
                (await self.web.post("/gradio_api/component_server", json=body)).raise_for_status()

    async def look(self) -> None:
        model = self.draw.choice(self.models)
        text = "the cat sat on the mat " * self.draw.randrange(1, 4)
        with self.measurements.timed("attention"):
            await self.call("attention", model["id"], text, 1, 1, None)

    async def poll(self) -> None:
        with self.measurements.timed("updates"):
            (await self.web.post("/gradio_api/run/predict", json=self._update_request)).raise_for_status()

    async def stay(self, until: float) -> None:
        """Use the page until the given time; between interactions only poll for updates."""
        await self.open()
        while time.monotonic() < until:
            doing = self.draw.choices([self.write, self.drag, self.look], [3, 3, 2])[0]
            await doing()
            for _ in range(self.draw.randrange(1, 5)):
                await asyncio.sleep(1)
                await self.poll()
        await self.web.aclose()


class FloodingClient(Visitor):
    """A client with many concurrent requests that retries as soon as one is rejected."""

    async def stay(self, until: float) -> None:
        await self.open()
        await asyncio.gather(*(self._repeat(until) for _ in range(PARALLEL)))
        await self.web.aclose()

    async def _repeat(self, until: float) -> None:
        while time.monotonic() < until:
            await self.draw.choice([self.write, self.drag, self.look, self.poll])()
            await asyncio.sleep(0.01)


async def visit(page: Page, count: int, seconds: float) -> Measurements:
    """Simulate `count` concurrent visitors for `seconds` and return their measurements."""
    measurements, until = Measurements(), time.monotonic() + seconds
    await asyncio.gather(*(Visitor(page.address, measurements, number).stay(until) for number in range(count)))
    return measurements


def flood(address: str, seconds: float) -> dict[str, Any]:
    """Flood the page for `seconds`, at low priority so that the client itself does not slow down the server."""
    os.nice(19)
    measurements = Measurements()
    asyncio.run(FloodingClient(address, measurements, 10**6).stay(time.monotonic() + seconds))
    return {"answered": sum(map(len, measurements.seconds.values())), "errors": dict(measurements.errors)}


async def soak(page: Page, sessions: int, uploads: int) -> dict[str, float]:
    """Open sessions and upload texts; growth of memory and open files of the server since a tenth of the sessions."""
    measurements, numbers = Measurements(), iter(range(sessions))
    warm: list[tuple[int, int]] = []

    async def open_sessions() -> None:
        for number in numbers:
            visitor = Visitor(page.address, measurements, 10**7 + number)
            async with visiting(visitor):
                await visitor.open()
                await visitor.poll()
                if number * uploads // sessions != (number + 1) * uploads // sessions:
                    text = f"{number} " + "a text uploaded by a visitor who then left. " * 400
                    with measurements.timed("upload a text"):
                        await visitor.call("corpus", text, "mine.txt")
                elif visitor.models:
                    with measurements.timed("20 characters"):
                        await visitor.call("sample", visitor.models[-1]["id"], "The ", None, 20, 0.8, 40, number)
            if number == sessions // 10:
                warm.append(resources(page))

    await asyncio.gather(*(open_sessions() for _ in range(AT_ONCE)))
    await asyncio.sleep(3)
    memory, files = resources(page)
    return {
        "sessions": sessions, "uploads": uploads, "errors": dict(measurements.errors),  # type: ignore[dict-item]
        "memory_grown_mb": (memory - warm[0][0]) / 2**20, "descriptors_grown": files - warm[0][1],
    }  # fmt: skip


@asynccontextmanager
async def visiting(visitor: Visitor) -> Any:
    """An open tab, with the heartbeat by which the server notices that it is closed."""
    connected = asyncio.Event()

    async def heartbeat() -> None:
        with suppress(httpx.HTTPError):
            async with visitor.web.stream("GET", f"/gradio_api/heartbeat/{visitor.session}") as stream:
                connected.set()
                async for _ in stream.aiter_lines():
                    pass
        connected.set()

    task = asyncio.create_task(heartbeat())
    await connected.wait()
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await visitor.web.aclose()


def resources(page: Page) -> tuple[int, int]:
    """Resident memory in bytes and number of open files of the server process."""
    lines = Path(f"/proc/{page.pid}/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return 1024 * kilobytes, len(list(Path(f"/proc/{page.pid}/fd").iterdir()))


def training(page: Page) -> Run:
    """Start a run that trains during the whole measurement."""
    text = (ROOT / "data" / "raw" / "sample.txt").read_text(encoding="utf-8")
    corpus = CorpusStore(page.home / "data" / "corpora", PUBLIC).add_text(text, "sample.txt")
    settings = {"num_steps": 5_000, "log_interval": 5, "eval_interval": 1_000}
    run = page.store.create(settings=settings, corpus=corpus, preset="small")
    deadline = time.monotonic() + 120
    while not steps_of(run):
        if time.monotonic() > deadline:
            raise SystemExit(f"the run did not start to train: {run.status()}")
        time.sleep(0.2)
    return run


def steps_of(run: Run) -> list[Step]:
    return [event for event in run.events() if isinstance(event, Step)]


def steps_per_second(run: Run, seconds: float) -> float:
    """Steps per second over the last `seconds` of training."""
    steps = steps_of(run)
    recent = [event for event in steps if event.seconds >= steps[-1].seconds - seconds]
    return (recent[-1].step - recent[0].step) / max(recent[-1].seconds - recent[0].seconds, 1e-9)


def measure(options: argparse.Namespace, page: Page) -> dict[str, Any]:
    """Run all selected measurements one after the other on one server."""
    found: dict[str, Any] = {}
    run = training(page)
    time.sleep(min(10.0, options.seconds))
    found["steps_per_second_alone"] = steps_per_second(run, 8.0)
    alone = asyncio.run(visit(page, 1, options.seconds / 2))
    before = resources(page)
    many = asyncio.run(visit(page, options.visitors, options.seconds))
    after = resources(page)
    found["steps_per_second_with_visitors"] = steps_per_second(run, options.seconds * 0.8)
    found["training_slowed"] = 1 - found["steps_per_second_with_visitors"] / found["steps_per_second_alone"]
    found["one"], found["many"] = alone.table(), many.table()
    found["errors"] = {**alone.errors, **many.errors}
    found["memory_mb"], found["memory_grown_mb"] = after[0] / 2**20, (after[0] - before[0]) / 2**20
    found["descriptors_grown"] = after[1] - before[1]
    if options.flood:
        quiet = asyncio.run(visit(page, 5, options.seconds / 2))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(abs, 0).result()  # wait until the process has started
            flooding = pool.submit(flood, page.address, options.seconds / 2)
            others = asyncio.run(visit(page, 5, options.seconds / 2))
            found["flood"] = flooding.result()
        found["five"], found["beside_a_flood"] = quiet.table(), others.table()
        found["errors_beside_a_flood"] = dict(others.errors)
    if options.soak:
        found["soak"] = asyncio.run(soak(page, options.soak, options.uploads))
    return found


def targets(found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Measured values and their upper limits, by target."""
    measured_targets = {
        "D1 first character, p95 s": (found["many"].get("first character", {}).get("p95", float("inf")), FIRST),
        "D1 training slowed by": (found["training_slowed"], SLOWED),
        "errors": (sum(found["errors"].values()), 0),
    }
    for what, taken in found.get("beside_a_flood", {}).items():
        if what in ("first character", "attention", "a frame of the slider", "updates") and what in found["five"]:
            measured_targets[f"D2 {what}, p95 of baseline"] = (taken["p95"] / found["five"][what]["p95"], FLOODED)
    if soaked := found.get("soak"):
        measured_targets["D4 memory grown, MB"] = (soaked["memory_grown_mb"], GROWN / 2**20)
        measured_targets["D4 descriptors grown"] = (soaked["descriptors_grown"], DESCRIPTORS)
    return measured_targets


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
        with serve(home, public=True, env={"SPACE_ID": "user/nano-llm"}) as page:
            found = measure(options, page)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    return int(any(measured > most for measured, most in targets(found).values()))


if __name__ == "__main__":
    sys.exit(main())
