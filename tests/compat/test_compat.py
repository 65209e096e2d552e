"""The files that nano-llm 0.1.0 wrote (see README.md) can still be read, resumed, sampled from and imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from nanollm import (
    CorpusStore,
    InputError,
    Launcher,
    RunStore,
    TrainState,
    evaluate,
    generate_text,
    load_checkpoint,
    load_model,
    make_configs,
)
from tests.conftest import ROOT
from tests.speed import until

FILES = Path(__file__).parent / "files"
EXPECTED: dict[str, Any] = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
TEXT = (FILES / "corpus.txt").read_bytes().decode()
RUNS = ["finished", "interrupted-adamw", "interrupted-muon", "nano-seed-1", "nano-seed-2"]
INTERRUPTED = ["interrupted-adamw", "interrupted-muon"]

# Settings that were renamed after 0.1.0: the new name and value for an old value.
RENAMED = {
    "final_learning_rate": lambda value: ("final_lr_fraction", value),
    "similarity": lambda value: ("qk_norm", value == "cosine"),
}


def assert_settings(expected: Mapping[str, Any], *configs: object) -> None:
    """Each setting has its value in one of the configs, under its name in 0.1.0 or its current name."""
    for name, value in expected.items():
        names = [(name, value), *([RENAMED[name](value)] if name in RENAMED else [])]
        found = [(getattr(config, n), v) for config in configs for n, v in names if hasattr(config, n)]
        assert found and all(have == want for have, want in found), (name, value, found)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A NANOLLM_HOME folder with copies of the runs and their text."""
    shutil.copytree(FILES / "runs", tmp_path / "checkpoints")
    CorpusStore(tmp_path / "data" / "corpora").add_text(TEXT, "corpus.txt")
    return tmp_path


@pytest.fixture
def store(home: Path) -> RunStore:
    return RunStore(home / "checkpoints")


@pytest.fixture
def launcher(home: Path, store: RunStore) -> Iterator[Launcher]:
    launcher = Launcher(store, home / "data" / "corpora")
    yield launcher
    for run in store.list():
        if run.status().active:
            launcher.stop(run.id)
    until(lambda: not any(run.alive() for run in store.list()))
    launcher.close()


def nanollm(home: Path, *arguments: str) -> str:
    """The output of a command, which must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NANOLLM_HOME": str(home)}
    command = [sys.executable, "-m", "nanollm", *arguments]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_run_is_listed_with_its_record(store: RunStore) -> None:
    assert sorted(run.id for run in store.list()) == RUNS
    for run in store.list():
        status, curve = run.status(), run.curve()
        assert status.state == ("paused" if run.id in INTERRUPTED else "completed")
        assert status.step == curve.steps[-1] == run.snapshot().step
        assert curve.val_loss and run.samples() and run.baselines and run.baselines.bigram < run.baselines.uniform
        assert (run.corpus["characters"], run.corpus["vocab_size"]) == (len(TEXT), len(set(TEXT)))
        assert run.model_config.vocab_size == len(set(TEXT))
    finished = store.get("finished")
    assert finished.title == "finished" and finished.status().step == EXPECTED["finished"]["step"]
    assert finished.curve().val_loss[-1] == EXPECTED["finished"]["val_loss"]


@pytest.mark.parametrize("name", ["finished", *INTERRUPTED])
def test_settings_keep_their_values(store: RunStore, name: str) -> None:
    expected = EXPECTED["finished"]["settings"] if name == "finished" else EXPECTED["resumed"][name]["settings"]
    run = store.get(name)
    assert_settings(expected, run.model_config, run.train_config)
    info = load_model(run.snapshot().path).info
    assert_settings(expected, info.model_config, info.train_config)
    assert (info.model_config, info.train_config) == (run.model_config, run.train_config)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("checkpoint.safetensors", 1e-3), ("checkpoint_half.safetensors", 0.1)]
)
def test_a_checkpoint_gives_the_same_logits_and_text(name: str, tolerance: float) -> None:
    """Logits are compared with a tolerance. Each character of the greedy text has a logit margin of at least 0.5."""
    loaded, expected = load_model(FILES / name), EXPECTED["finished"]
    model, tokenizer = loaded.model, loaded.tokenizer
    assert_settings(expected["settings"], loaded.info.model_config, loaded.info.train_config)
    assert loaded.info.step == expected["step"] and "".join(tokenizer.characters) == "".join(sorted(set(TEXT)))
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode(expected["prompt"]).tolist()]))[0, -1]
    assert logits.tolist() == pytest.approx(expected["logits"], abs=tolerance)
    assert evaluate(model, tokenizer.encode(TEXT)) == pytest.approx(expected["loss_on_corpus"], abs=tolerance)
    length = len(expected["greedy"]) - len(expected["prompt"])
    assert length >= 8
    assert generate_text(model, tokenizer, expected["prompt"], max_length=length, top_k=1) == expected["greedy"]


def test_a_checkpoint_is_loaded_into_a_model_of_its_shape() -> None:
    loaded = load_model(FILES / "checkpoint.safetensors")
    model = type(loaded.model).from_config(loaded.info.model_config)
    assert load_checkpoint(FILES / "checkpoint.safetensors", model).step == loaded.info.step
    for name, weights in loaded.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], weights), name


@pytest.mark.parametrize("name", INTERRUPTED)
def test_a_resume_file_holds_the_whole_state(store: RunStore, name: str) -> None:
    run = store.get(name)
    (path,) = run.resume_files()
    state = TrainState.load(path, run.train_config)
    assert state.step == EXPECTED["resumed"][name]["from_step"] and state.best_val_loss == run.curve().best_val_loss
    assert state.model.config == run.model_config
    weights = load_model(run.snapshot(state.step).path).model.state_dict()
    for key, value in state.model.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_a_resume_file_from_before_gradient_norms_were_stored(store: RunStore) -> None:
    run = store.get("interrupted-adamw")
    state = TrainState.load(FILES / "resume_without_grad_norm.safetensors", run.train_config)
    whole = TrainState.load(run.resume_files()[0], run.train_config)
    assert state.step == whole.step and state.grad_norm_sum == 0
    for key, value in state.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[key]), key


@pytest.mark.parametrize(
    ("name", "older"), [*((name, False) for name in INTERRUPTED), ("interrupted-adamw", True)], ids=str
)
def test_an_interrupted_run_is_resumed_to_the_same_losses(
    store: RunStore, launcher: Launcher, name: str, older: bool
) -> None:
    run, expected = store.get(name), EXPECTED["resumed"][name]
    if older:  # written before gradient norms were stored
        shutil.copyfile(FILES / "resume_without_grad_norm.safetensors", run.resume_files()[0])
    launcher.resume(run.id)
    until(lambda: not run.status().active and not run.alive(), seconds=300)
    status, curve = run.status(), run.curve()
    assert (status.state, status.step) == ("completed", expected["step"]), status
    assert [event.step for event in run.events() if event.type == "resume"] == [expected["from_step"]]
    # The schedule is exact and detects a setting that falls back to its default. Losses vary with the CPU's rounding.
    assert curve.learning_rate == pytest.approx(expected["learning_rates"], rel=1e-6)
    assert curve.loss == pytest.approx(expected["losses"], abs=0.02)
    assert curve.val_loss[-1] == pytest.approx(expected["val_loss"], abs=0.02)
    final = load_model(run.folder / "checkpoint_final.safetensors")
    assert final.info.step == expected["step"]
    assert_settings(expected["settings"], final.info.model_config, final.info.train_config)


def test_a_run_is_forked_with_its_settings(home: Path, store: RunStore) -> None:
    parent = store.get("finished")
    corpora = CorpusStore(home / "data" / "corpora")
    child = store.fork(parent, corpora=corpora, settings={"num_steps": 3}, queued=False)
    assert child.parent is not None and (child.parent.run, child.parent.step) == ("finished", parent.snapshot().step)
    assert child.model_config == parent.model_config
    assert_settings({**EXPECTED["finished"]["settings"], "num_steps": 3}, child.model_config, child.train_config)


def test_an_exported_run_is_imported_into_a_fresh_store(tmp_path: Path) -> None:
    nanollm(tmp_path, "runs", "import", str(FILES / "run.zip"))
    (run,) = (run for run in RunStore(tmp_path / "checkpoints").list() if not run.read_only)
    expected = EXPECTED["finished"]
    assert run.title == "finished" and run.status().state == "completed" and run.status().step == expected["step"]
    assert [snapshot.step for snapshot in run.snapshots()] == expected["snapshots"]
    assert run.curve().val_loss[-1] == expected["val_loss"] and run.baselines
    assert_settings(expected["settings"], run.model_config, run.train_config)
    one, other = (load_model(path).model for path in (run.snapshot().path, FILES / "checkpoint.safetensors"))
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, other.state_dict()[name]), name


def test_an_experiment_is_read_and_reported_again(home: Path) -> None:
    """The scale command finds the completed experiment and writes its results and report again."""
    expected, folder = EXPECTED["experiment"], home / "checkpoints" / "experiment"
    (folder / "results.json").unlink()
    (folder / "results.csv").unlink()
    (home / "corpus.txt").write_bytes(TEXT.encode())
    plan = ["--presets", *expected["presets"], "--num-steps-scale", str(expected["num_steps_scale"])]
    plan += ["--seeds", *map(str, expected["seeds"]), "--name", "experiment", "--json"]
    found = json.loads(nanollm(home, "scale", "--corpus", "corpus.txt", *plan))
    assert [run["run"] for run in found["runs"]] == expected["runs"]
    assert [run["final_val_loss"] for run in found["runs"]] == expected["val_losses"]
    assert [(run["state"], run["steps"]) for run in found["runs"]] == [("completed", expected["steps"])] * 2
    assert all(len(run["sample"]) > 100 for run in found["runs"])
    assert json.loads((folder / "results.json").read_text(encoding="utf-8")) == found
    written = json.loads((FILES / "runs" / "experiment" / "results.json").read_text(encoding="utf-8"))
    for now, then in zip(found["runs"], written["runs"], strict=True):
        elapsed = now["curve"].pop("seconds")  # since 0.2.0 the elapsed time, before the time of the steps
        assert elapsed == sorted(elapsed) and len(elapsed) == len(then["curve"].pop("seconds"))
        assert {key: value for key, value in now.items() if key not in ("title", "sample")} == {
            key: value for key, value in then.items() if key not in ("title", "sample")
        }
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "nano" in report and "corpus.txt" in report
    assert len(RunStore(home / "checkpoints").list()) == len(RUNS), "no run is trained again"


def test_the_settings_of_a_run_can_be_reused(store: RunStore) -> None:
    """The flat settings in run.json: a renamed one is accepted, or rejected with an error that names the new one."""
    settings = json.loads((store.get("finished").folder / "run.json").read_text(encoding="utf-8"))["settings"]
    try:
        model, train = make_configs(settings, len(set(TEXT)))
    except InputError as error:
        assert any(RENAMED[name](value)[0] in str(error) for name, value in settings.items() if name in RENAMED), error
    else:
        assert_settings(EXPECTED["finished"]["settings"], model, train)


def test_no_file_is_ignored_or_large() -> None:
    files = [path for path in FILES.rglob("*") if path.is_file()]
    assert len(files) > 40 and sum(path.stat().st_size for path in files) < 300_000
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "check-ignore", *map(str, files)]
        assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout == ""
