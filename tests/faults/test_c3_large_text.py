"""Guarantee C3: a text of the maximum size, with emoji, is stored and trained with at most 3 × its size in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanollm.limits import LOCAL
from nanollm.tokenizer import CharTokenizer
from tests.conftest import ROOT
from tests.speed import assert_within

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc"),
]

# Runs code and then prints the peak memory of the process in bytes. This includes memory-mapped files (torch's
# libraries, token ids), although the system can reclaim those pages at any time.
PEAK = """
import sys
exec(sys.argv.pop(1))
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder that is deleted after the test, unlike pytest's tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


# Emoji, accents and ideographs, with enough distinct ones to need two-byte ids.
ENDS = {"few characters": "🦊é漢😀—", "many characters": "🦊" + "".join(map(chr, range(0x4E00, 0x4E00 + 400)))}


@pytest.fixture(scope="module", params=ENDS)
def large(text: str, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file of nearly 200 MB with a non-ASCII character at the end of every third line."""
    lines, ends = text.splitlines(), ENDS[request.param]
    lines[::3] = [line + ends[i % len(ends)] for i, line in enumerate(lines[::3])]
    block = "\r\n".join([*lines, ""]).encode()
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        for _ in range(LOCAL.text_bytes // len(block)):
            file.write(block)
        file.flush()
        yield Path(file.name)


def peak(home: Path, code: str, *arguments: str) -> tuple[int, list[str]]:
    """Run code in a separate process and return its peak memory in bytes and its output lines."""
    environment = {**os.environ, "NANOLLM_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PEAK, code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    *printed, most = done.stdout.splitlines()
    return int(most), printed


def test_c3_a_large_text_is_stored_and_displayed_in_little_memory(home: Path, large: Path) -> None:
    code = """
import time
from nanollm.data.corpus import CorpusStore
store, began = CorpusStore(sys.argv[1]), time.process_time()
info = store.add_file(sys.argv[2])
print(time.process_time() - began)
print(info.characters, len(store.page(info.sha256, info.characters // 2, 20_000)), len(store.frequencies(info.sha256)))
"""
    most, (seconds, counted) = peak(home, code, str(home / "corpora"), str(large))
    characters, shown, distinct = map(int, counted.split())
    assert 150_000_000 < characters < large.stat().st_size and shown == 20_000 and distinct > 70
    assert most < 100 * 2**20  # a few megabytes more than Python and numpy
    assert_within(float(seconds), 5, time.process_time)  # about 1 s on an idle machine


def test_c3_training_on_a_large_text_uses_at_most_three_times_its_size(home: Path, large: Path) -> None:
    code = "from nanollm.cli.main import main; main(sys.argv[1:])"
    arguments = ["train", "--corpus", str(large), "--num-steps", "5", "--threads", "1", "--json"]
    for attempt in ("encoding the text", "mapping the existing ids"):
        most, (line,) = peak(home, code, *arguments)
        result = json.loads(line)
        assert result["state"] == "completed" and 3 < result["best_val_loss"] < 5
        assert most <= 3 * large.stat().st_size, f"{most / 2**20:.0f} MB while {attempt}"
    assert len(list((home / "data" / "corpora").glob("*.ids"))) == 1


def test_c3_texts_are_encoded_at_50_megabytes_per_second(text: str) -> None:
    large_text = text * (20 * 10**6 // len(text.encode()))
    tokenizer = CharTokenizer.from_text(text)
    took = []
    for _ in range(3):
        began = time.process_time()
        tokenizer.encode(large_text)
        took.append(time.process_time() - began)
    assert_within(min(took), len(large_text.encode()) / 50e6, time.process_time)
