"""Calibration resolves "auto" once, caches the result and has no side effects."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nanollm.config import ModelConfig, TrainConfig
from nanollm.train import calibration
from nanollm.train.calibration import cached_results, resolve
from nanollm.train.device import available_cpus

MODEL = ModelConfig(vocab_size=11, embedding_dim=8, num_layers=1, ffn_hidden_dim=12, context_length=6)
CONFIG = TrainConfig(batch_size=2)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_auto_resolves_to_valid_values() -> None:
    settled = resolve(MODEL, CONFIG)
    assert settled.precision in ("float32", "bf16")
    assert 1 <= settled.threads <= available_cpus()  # type: ignore[operator]
    assert replace(settled, precision="auto", threads="auto") == CONFIG


def test_explicit_values_are_kept() -> None:
    asked = replace(CONFIG, precision="bf16", threads=1)
    assert resolve(MODEL, asked) == asked
    assert cached_results() == {}
    assert resolve(MODEL, replace(CONFIG, precision="bf16")).precision == "bf16"
    assert resolve(MODEL, replace(CONFIG, threads=1)).threads == 1


def test_random_states_and_thread_count_are_unchanged() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    resolve(MODEL, CONFIG)
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == threads


def test_calibration_runs_once_per_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve(MODEL, CONFIG)
    monkeypatch.setattr(calibration, "_measure", lambda *_: pytest.fail("calibrated again"))
    assert resolve(MODEL, CONFIG) == first
    with pytest.raises(pytest.fail.Exception):
        resolve(replace(MODEL, embedding_dim=16), CONFIG)


def test_the_fastest_candidate_wins_but_threads_need_a_speedup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second thread with little speedup is not used; a load during one round does not affect the result."""
    takes = {("float32", 1): 1.0, ("float32", 2): 0.9, ("bf16", 1): 0.6, ("bf16", 2): 0.55}
    taken = []

    def step(precision: str) -> float:
        taken.append(precision)
        burst = 10.0 if precision == "bf16" and len(taken) < 10 else 1.0
        return takes[precision, torch.get_num_threads()] * burst

    monkeypatch.setattr(calibration, "_thread_counts", lambda: [1, 2])
    monkeypatch.setattr(calibration, "_stepper", lambda *_: step)
    assert calibration._measure(MODEL, CONFIG, torch.device("cpu")) == {
        "precision": "bf16",
        "threads": 1,
        "seconds": 0.6,
    }
    takes["bf16", 2] = 0.4
    assert calibration._measure(MODEL, CONFIG, torch.device("cpu"))["threads"] == 2


def test_concurrent_results_are_all_cached() -> None:
    threads = [
        threading.Thread(target=calibration._cache, args=(str(i), {"precision": "float32", "threads": 1}))
        for i in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cached_results()) == 16


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"a": 1}', "null", pytest.param("[" * 100_000, id="deep")])
def test_a_damaged_cache_is_replaced(damage: str) -> None:
    calibration._cache("another shape", {})  # creates the file
    calibration._file().write_text(damage)
    assert resolve(MODEL, CONFIG).precision in ("float32", "bf16")
    assert len(cached_results()) >= 1


def test_an_invalid_cached_result_is_ignored() -> None:
    resolve(MODEL, CONFIG)
    (key,) = cached_results()
    calibration._cache(key, {"precision": "float8", "threads": 0})
    assert resolve(MODEL, CONFIG).precision in ("float32", "bf16")


def test_calibration_works_without_a_writable_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nanollm").write_text("a file where the folder would be")
    assert resolve(MODEL, CONFIG).precision in ("float32", "bf16")


def test_calibration_works_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with an unknown user."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert resolve(MODEL, CONFIG).precision in ("float32", "bf16") and cached_results() == {}
