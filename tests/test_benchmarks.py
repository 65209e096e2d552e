"""The benchmarks run to their ends and tell what they promise, at sizes that measure nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanollm.config import preset
from tests.benchmarks import sampling, texts, training

pytestmark = pytest.mark.slow
TINY = {"num_steps": 3, "batch_size": 2, "context_length": 16, "num_layers": 1, "precision": "float32", "threads": 1}


def figures(module, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    """What a benchmark prints as JSON; without --json it must print something, too."""
    monkeypatch.setattr("sys.argv", ["benchmark", *arguments, "--json"])
    module.main()
    told = capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["benchmark", *arguments])
    module.main()
    assert capsys.readouterr().out.strip()
    return json.loads(told)


def test_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(training, "SHAPES", {"tiny": {**preset("nano"), **TINY}})
    monkeypatch.setattr(training, "REFERENCE_RECIPE", {**training.REFERENCE_RECIPE, **TINY})
    monkeypatch.setattr(training, "RECIPES", {name: {**r, **TINY} for name, r in training.RECIPES.items()})
    monkeypatch.setattr(training, "EVENT_STEPS", {"nano": 3})
    told = figures(training, monkeypatch, capsys, "--rounds", "1", "--corpus", str(tmp_path / "text.txt"))
    assert {"ratio", "share_of_peak", "precision", "threads"} <= told["steps"]["tiny"].keys()
    assert told["loss"].keys() == {"adamw", "muon"} and told["loss"]["muon"]["val_loss"] > 0
    assert told["events"]["nano"]["share"] > 0 and told["events"]["nano"]["snapshot_ms"] > 0
    assert sum(told["profile"]["tiny"].values()) == pytest.approx(1)


def test_sampling(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--models", "nano", "--rounds", "1", "--context-length", "16"]
    told = figures(sampling, monkeypatch, capsys, *arguments)
    wanted = {"times_recompute", "times_cached_torch", "past_the_window", "candidates_cost", "first_character_ms"}
    assert wanted <= told["alone"]["nano"].keys()
    assert told["batch"]["nano"]["times_one_stream"] > 0 and 0 < told["threads"]["nano"]["least_share"] <= 1


def test_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MEGABYTES", 1)
    monkeypatch.setattr(texts, "REPEATS", 1)
    told = texts.measure()
    assert told["encode, MB/s, plain"] > 0 and told["batch, ms, emoji"] > 0
