"""Recorded loss curves of short real runs, for tests of the doctor; `python -m tests.recorded` records them again.

Each file in tests/curves/ contains the settings and the curve of one run, without the columns that no test needs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nanollm.data.corpus import CorpusStore
from nanollm.runs.process.worker import work
from nanollm.runs.store import RunStore

FOLDER = Path(__file__).parent / "curves"
# name: (preset, settings over it, characters of the bundled text; None for all)
RUNS: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "healthy-nano": ("nano", {}, None),
    "healthy-sprint": ("sprint", {}, None),
    "healthy-nano-seed-7": ("nano", {"seed": 7, "batch_size": 32}, None),
    "healthy-dropout": ("sprint", {"dropout": 0.2, "seed": 3}, None),
    "diverged": ("nano", {"learning_rate": 1e6}, None),
    "too-high-nano": ("nano", {"learning_rate": 1.0, "num_steps": 400}, None),
    "too-high-sprint": ("sprint", {"learning_rate": 1.0}, None),
    "too-high-adamw": ("sprint", {"optimizer": "adamw", "learning_rate": 0.3}, None),
    "too-low-nano": ("nano", {"learning_rate": 1e-4}, None),
    "too-low-sprint": ("sprint", {"learning_rate": 2e-4}, None),
    "overfitting-sprint": ("sprint", {"num_steps": 300, "warmup_steps": 10}, 20_000),
    "overfitting-adamw": ("sprint", {"num_steps": 400, "optimizer": "adamw", "learning_rate": 0.01}, 12_000),
    "falling-nano": ("nano", {"num_steps": 100, "warmup_steps": 10, "eval_interval": 10}, None),
    "falling-sprint": ("sprint", {"num_steps": 50, "eval_interval": 5}, None),
    "small-text": ("sprint", {"num_steps": 120, "eval_interval": 10}, 5_000),
}


def load(name: str) -> dict[str, Any]:
    """Return a recorded run: preset, settings, state, vocab_size, characters, baselines and curve (as lists)."""
    return json.loads((FOLDER / f"{name}.json").read_text())


COLUMNS = ("steps", "loss", "eval_steps", "train_loss", "val_loss")  # of the curve


def record(name: str) -> dict[str, Any]:
    """Train the run with this name and return the data to record."""
    preset, settings, characters = RUNS[name]
    with tempfile.TemporaryDirectory() as home:
        corpora, store = CorpusStore(Path(home) / "corpora"), RunStore(Path(home) / "checkpoints")
        corpus = corpora.list()[0]
        if characters:
            corpus = corpora.add_text(corpora.page(corpus.sha256, 0, characters), "a part")
        run = store.create(settings={"threads": 1, **settings}, corpus=corpus, preset=preset, queued=False)
        status = work(run, corpora.root)
        curve = {column: values for column, values in asdict(run.curve()).items() if column in COLUMNS}
        return {
            **{"preset": preset, "settings": settings, "state": status.state},
            **{"vocab_size": corpus.vocab_size, "characters": corpus.characters},
            "baselines": asdict(run.baselines) if run.baselines else None,
            "curve": {column: [_short(value) for value in values] for column, values in curve.items()},
        }


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    for name in sys.argv[1:] or RUNS:
        (FOLDER / f"{name}.json").write_text(json.dumps(record(name)) + "\n")
        print(name, flush=True)
