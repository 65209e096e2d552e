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
THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_auto_resolves_to_valid_values() -> None:
    settled = resolve(MODEL, CONFIG)
    assert settled.precision in ("float32", "bf16")
    assert 1 <= settled.threads <= available_cpus()  # type: ignore[operator]
    assert settled.attention_kernel in ("pytorch", "compiled")
    assert replace(settled, precision="auto", threads="auto", attention_kernel="auto") == CONFIG


def test_explicit_values_are_kept() -> None:
    explicit = replace(CONFIG, precision="bf16", threads=1, attention_kernel="pytorch")
    assert resolve(MODEL, explicit) == explicit
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


def measured(
    takes: dict[tuple[str, int], float], monkeypatch: pytest.MonkeyPatch, config: TrainConfig = CONFIG
) -> dict:
    """The result of a calibration in which a step of (precision, threads) takes `takes` seconds of CPU time.

    The measured candidates, in order, are added under "tried".
    """
    tried: list[tuple[str, int]] = []

    def step(_: object, precision: str, threads: int) -> float:
        tried.append((precision, threads))
        return takes[precision, threads]

    monkeypatch.setattr(calibration._Timing, "_step", step)
    monkeypatch.setattr(calibration, "_thread_counts", lambda: sorted({threads for _, threads in takes}))
    monkeypatch.setattr(calibration, "bf16_supported", lambda _: any(precision == "bf16" for precision, _ in takes))
    trials = calibration._measure(MODEL, config, torch.device("cpu"))
    try:
        while True:
            next(trials)
    except StopIteration as end:
        return {**end.value, "tried": tried}


def test_the_fastest_candidate_wins_but_threads_need_a_speedup(monkeypatch: pytest.MonkeyPatch) -> None:
    takes = {("float32", 1): 1.0, ("float32", 2): 0.9, ("bf16", 1): 0.6, ("bf16", 2): 0.55}
    found = measured(takes, monkeypatch)
    assert (found["precision"], found["threads"], found["seconds"]) == ("bf16", 1, 0.6)
    assert measured({**takes, ("bf16", 2): 0.4}, monkeypatch)["threads"] == 2


def test_more_threads_are_tried_only_as_long_as_they_help(monkeypatch: pytest.MonkeyPatch) -> None:
    takes = {("float32", 1): 1.0, ("float32", 2): 0.6, ("float32", 4): 0.58, ("float32", 8): 0.1}
    found = measured(takes, monkeypatch)
    assert found["threads"] == 2 and ("float32", 8) not in found["tried"]


def test_bf16_is_not_tried_without_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {precision for precision, _ in measured({("float32", 1): 1.0}, monkeypatch)["tried"]} == {"float32"}


def test_a_hopeless_candidate_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = measured({("float32", 1): 1.0, ("bf16", 1): 10.0}, monkeypatch)["tried"]
    assert tried.count(("bf16", 1)) == 1 < tried.count(("float32", 1))


def test_a_long_step_is_repeated_only_if_the_run_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A calibration may take 3 seconds, or 5% of the expected run if that is longer."""
    monkeypatch.setattr(calibration.time, "perf_counter", iter(range(0, 10_000, 2)).__next__)  # each step: 2 seconds
    takes = {("float32", 1): 2.0}
    short = measured(takes, monkeypatch, replace(CONFIG, num_steps=10))["tried"]
    long = measured(takes, monkeypatch, replace(CONFIG, num_steps=1000))["tried"]
    assert len(short) == 1 and len(long) == 1 + calibration.ROUNDS


def test_progress_is_reported_after_every_step_and_can_stop_the_calibration() -> None:
    trials = calibration.resolve_stepwise(MODEL, CONFIG)
    progress = [next(trials), next(trials)]
    assert [done for done, _ in progress] == [1, 2] and all(done <= most for done, most in progress)
    trials.close()
    assert cached_results() == {} and torch.get_num_threads() == THREADS


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


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_compiled_kernel_is_recorded_only_where_it_is_used(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    """The kernel computes in float32; in bf16, training uses PyTorch's."""
    monkeypatch.setattr(calibration, "choose_kernel", lambda *_: "compiled")
    key = calibration.cache_key(MODEL, CONFIG, torch.device("cpu"))
    calibration._cache(key, {"precision": precision, "threads": 1, "seconds": 0.1})
    assert resolve(MODEL, CONFIG).attention_kernel == ("compiled" if precision == "float32" else "pytorch")
