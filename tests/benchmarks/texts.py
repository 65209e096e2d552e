"""Throughput of adding, encoding and sampling texts: `python -m tests.benchmarks.texts [--json]`.

Each figure is the best of five, on one core. "emoji" is the same text with a multi-byte character at the end of every
third line, which makes every chunk of it four times as large in Python's memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nanollm.data.corpus import BUNDLED, CorpusStore
from nanollm.data.dataset import Dataset
from nanollm.tokenizer import CharTokenizer

MEGABYTES = 100
REPEATS = 5
BATCH_SIZE = CONTEXT_LENGTH = 64  # as in the nano preset
BATCHES = 500


def measure() -> dict[str, float]:
    """Megabytes of UTF-8 per second, and milliseconds per batch."""
    torch.set_num_threads(1)
    plain = BUNDLED.read_text(encoding="utf-8")
    lines = plain.splitlines()
    lines[::3] = [line + "🦊é漢😀—"[i % 5] for i, line in enumerate(lines[::3])]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, block in (("plain", plain), ("emoji", "\n".join([*lines, ""]))):
            text = block * (MEGABYTES * 10**6 // len(block.encode()))
            figures |= {f"{name}, {kind}": figure for name, figure in _figures(text, Path(folder)).items()}
    return figures


def _figures(text: str, folder: Path) -> dict[str, float]:
    store, path = CorpusStore(folder / "corpora"), folder / "text.txt"
    path.write_text(text, encoding="utf-8")
    size = path.stat().st_size / 1e6
    tokenizer = CharTokenizer.from_text(text)
    info = store.add_file(path)
    ids = store.encoded(info.sha256)[1]
    data, generator = Dataset.from_ids(ids, 0.1), torch.Generator().manual_seed(0)
    batches = _seconds(lambda: [data.batch(BATCH_SIZE, CONTEXT_LENGTH, generator) for _ in range(BATCHES)])
    return {
        "encode, MB/s": size / _seconds(lambda: tokenizer.encode(text)),
        "add_file, MB/s": size / _seconds(lambda: store.add_file(path)),
        "encoded when made, MB/s": size / _seconds(lambda: _made(store, info.sha256)),
        "encoded when mapped, MB/s": size / _seconds(lambda: store.encoded(info.sha256)),
        "batch, ms": batches / BATCHES * 1000,
    }


def _made(store: CorpusStore, sha256: str) -> None:
    (store.root / f"{sha256}.ids").unlink()
    CorpusStore(store.root).encoded(sha256)  # a new store without caches, as in a new process


def _seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print as JSON")
    as_json = parser.parse_args().json
    figures = measure()
    if as_json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{figure:10,.3f}  {name}" for name, figure in figures.items()))
