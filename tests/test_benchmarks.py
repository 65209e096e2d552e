"""The benchmarks run completely and report the documented figures, at sizes too small to measure anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanollm.config import preset
from nanollm.data import corpus
from tests.benchmarks import distributed, sampling, texts, training, wall_clock

pytestmark = pytest.mark.slow
TINY = {"num_steps": 3, "batch_size": 2, "context_length": 16, "num_layers": 1, "precision": "float32", "threads": 1}


def run_benchmark(module, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the benchmark in this process and return its output."""
    monkeypatch.setattr("sys.argv", ["benchmark", *arguments])
    module.main()
    return capsys.readouterr().out


def test_the_training_benchmark_reports_all_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(training, "SHAPES", {"tiny": {**preset("nano"), **TINY}})
    monkeypatch.setattr(training, "REFERENCE_RECIPE", {**training.REFERENCE_RECIPE, **TINY})
    monkeypatch.setattr(training, "RECIPES", {name: {**r, **TINY} for name, r in training.RECIPES.items()})
    monkeypatch.setattr(training, "EVENT_STEPS", {"nano": 3})
    arguments = ["--rounds", "1", "--corpus", str(tmp_path / "text.txt")]
    results = json.loads(run_benchmark(training, monkeypatch, capsys, *arguments, "--json"))
    assert {"ratio", "share_of_peak", "precision", "threads"} <= results["steps"]["tiny"].keys()
    assert results["loss"].keys() == {"adamw", "muon"} and results["loss"]["muon"]["val_loss"] > 0
    assert results["events"]["nano"]["share"] > 0 and results["events"]["nano"]["snapshot_ms"] > 0
    assert sum(results["profile"]["tiny"].values()) == pytest.approx(1)
    for part, function in {"steps": "steps", "loss": "to_target", "events": "events", "profile": "profiled"}.items():
        monkeypatch.setattr(training, function, lambda *_, part=part: results[part])
    assert len(run_benchmark(training, monkeypatch, capsys, *arguments).splitlines()) == 5


def test_the_sampling_benchmark_reports_all_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", "nano", "--rounds", "1", "--context-length", "16"]
    results = json.loads(run_benchmark(sampling, monkeypatch, capsys, *arguments, "--json"))
    expected = {"times_recompute", "times_cached_torch", "past_the_window", "candidates_cost", "first_character_ms"}
    assert expected <= results["alone"]["nano"].keys()
    assert results["batch"]["nano"]["times_one_stream"] > 0 and 0 < results["threads"]["nano"]["least_share"] <= 1
    monkeypatch.setattr(sampling, "PARTS", {part: lambda *_, part=part: results[part]["nano"] for part in results})
    assert len(run_benchmark(sampling, monkeypatch, capsys, *arguments).splitlines()) == 6


def test_the_text_benchmark_reports_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MEGABYTES", 1)
    monkeypatch.setattr(texts, "REPEATS", 1)
    monkeypatch.setattr(corpus, "MAX_IN_MEMORY", 1)  # store the ids in a file, like those of a large text
    results = texts.measure()
    assert results["encode, MB/s, plain"] > 0 and results["batch, ms, emoji"] > 0


def test_the_distributed_benchmark_reports_all_variants(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = {way: distributed.WAYS[way] for way in ("1 process x 2 threads", "2 processes x 1 thread")}
    monkeypatch.setattr(distributed, "WAYS", ways)
    arguments = ["--preset", "nano", "--rounds", "1", "--steps", "2"]
    results = json.loads(run_benchmark(distributed, monkeypatch, capsys, *arguments, "--json"))
    assert results["ways"].keys() == ways.keys() and results["steps"].keys() == {"nano", "small", "medium"}
    alone, together = (results["ways"][way] for way in ways)
    assert alone["bytes"] == 0 and together["bytes"] > 4 * 18_752  # the gradient and the loss


@pytest.mark.long  # starts a dozen training processes
def test_the_wall_clock_benchmark_reports_all_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    tiny = {**TINY, "num_steps": 12, "threads": "auto"}  # so that there is a calibration
    monkeypatch.setattr(wall_clock, "REFERENCE_RECIPE", {**wall_clock.REFERENCE_RECIPE, **TINY})
    monkeypatch.setattr(wall_clock, "RECIPES", {"adamw": tiny})
    monkeypatch.setattr(wall_clock, "PRESET_FLAGS", {"sprint": wall_clock.flags_of({**preset("sprint"), **tiny})})
    monkeypatch.setattr(wall_clock, "STEP_SECONDS", 0.01)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    arguments = ["--rounds", "1", "--models", "sprint", "--busy", "--corpus", str(tmp_path / "text.txt")]
    results = json.loads(run_benchmark(wall_clock, monkeypatch, capsys, *arguments, "--json"))
    assert results["target"].keys() == {"reference", "sprint", "adamw"}
    assert results["presets"].keys() == {"sprint, Tiny Shakespeare", "sprint, sample.txt"}
    for row in (results["target"]["adamw"], *results["presets"].values()):
        parts = [row[f"{part}_s"] for part in ("startup", *wall_clock.PARTS)]
        assert min(parts) > 0 and sum(parts) == pytest.approx(row["total_s"])
        assert row["val_loss"] > 1.88 and row["predicted_s"] > 0 and 0 < row["share_besides_steps"] < 1
    steps = results["steps"]["sprint"]
    assert steps["quiet_ms"] > 0 and steps["slowdown"] == steps["busy_ms"] / steps["quiet_ms"]
    for part in ("target", "presets", "steps"):
        monkeypatch.setattr(wall_clock, f"measure_{part}", lambda *_, part=part: results[part])
    lines = run_benchmark(wall_clock, monkeypatch, capsys, *arguments).splitlines()
    assert len(lines) == 3 + 2 + 2 + 1 and sum("did not reach 1.88" in line for line in lines) == 3
