"""The command line: commands, output, exit statuses and one-sentence errors."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from nanollm.cli import lookup
from nanollm.cli import main as cli
from nanollm.cli.exit_status import status_of
from nanollm.cli.train import add_setting_arguments
from nanollm.runs.store import Run, RunStore
from tests.conftest import ROOT
from tests.speed import until

QUICK = ["--num-steps", "20", "--batch-size", "4", "--context-length", "16", "--threads", "1", "--eval-interval", "10"]


def process(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `python -m nanollm` in a separate process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NANOLLM_HOME": str(home)}
    command = [sys.executable, "-m", "nanollm", *arguments]
    return subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def nanollm(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which is faster than starting one."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.chdir(home)
        patch.setattr(lookup, "CHECKPOINTS", home / "checkpoints")
        patch.setattr(lookup, "CORPORA", home / "data" / "corpora")
        try:
            status = cli.main(arguments)
        except SystemExit as ended:  # argparse's
            status = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run trained on a text file."""
    home = tmp_path_factory.mktemp("home")
    (home / "my text.txt").write_text("the cat sat on the mat, and the rat ran.\n" * 40)
    training = process(home, "train", "--corpus", "my text.txt", "--title", "cats", "--json", *QUICK)
    stdout, stderr = training.communicate(timeout=600)
    assert training.returncode == 0, stderr
    assert json.loads(stdout)["state"] == "completed" and "validation loss" in stderr
    return home


def test_a_trained_run_is_listed(home: Path) -> None:
    run = next(r for r in RunStore(home / "checkpoints").list() if r.title == "cats")
    assert run.status().state == "completed" and run.status().step == 20
    assert run.corpus["name"] == "my text.txt" and run.train_config.batch_size == 4
    rows = json.loads(nanollm(home, "runs", "--json").stdout)
    assert run.id in [row["id"] for row in rows]
    assert run.id in nanollm(home, "runs", "list").stdout
    shown = nanollm(home, "runs", "show", run.id).stdout.splitlines()
    assert len({line.index(line.split(maxsplit=1)[1]) for line in shown}) == 1  # aligned columns
    assert any(line.endswith("cats") for line in shown) and not any(line.endswith("None") for line in shown)


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--final-learning-rate", "0.1"], "final_learning_rate is now final_lr_fraction"),
        (["--similarity", "cosine"], "similarity is now qk_norm"),
        (["--qk-norm", "maybe"], "qk_norm is 'maybe': it must be true or false"),
    ],
)
def test_an_old_flag_name_gives_an_error_with_the_new_name(home: Path, flags: list[str], error: str) -> None:
    done = nanollm(home, "train", "--corpus", "my text.txt", *QUICK, *flags)
    assert done.returncode == 2 and error in done.stderr
    assert "--similarity" not in nanollm(home, "train", "--help").stdout


@pytest.mark.parametrize(("flags", "qk_norm"), [(["--qk-norm"], True), (["--qk-norm", "false"], False), ([], False)])
def test_a_boolean_flag_needs_no_value(flags: list[str], qk_norm: bool) -> None:
    parser = argparse.ArgumentParser()
    add_setting_arguments(parser)
    assert getattr(parser.parse_args(flags), "qk_norm", False) is qk_norm


def test_train_prints_the_best_step_besides_the_last(home: Path) -> None:
    """The validation loss falls and then rises, because the training split lacks some words and a character (Z) of the
    validation split. The best step is therefore before the last one on any CPU.
    """
    (home / "rising.txt").write_text("the cat sat on the mat, and the rat ran.\n" * 40 + "the hat, Z!\n" * 15)
    flags = ["--run-dir", "rising", "--num-steps", "30", "--learning-rate", "0.03", "--warmup-steps", "5"]
    done = nanollm(home, "train", "--corpus", "rising.txt", *QUICK, *flags, "--eval-interval", "5")
    run = Run.open(home / "rising")
    curve = run.curve()
    best = run.snapshot(curve.best_step)
    assert best.best and 0 < best.step < 30 and best.path.exists()
    assert curve.val_loss[-1] > best.val_loss + 0.3
    assert done.stdout == (
        f"Completed at step 30: validation loss {curve.val_loss[-1]:.4f} (best {best.val_loss:.4f} "
        f"at step {best.step}, also saved). Run folder: {run.folder}\n"
    )
    listed = next(r for r in RunStore(home / "checkpoints").list() if r.title == "cats")
    result = json.loads(nanollm(home, "runs", "show", listed.id, "--json").stdout)
    assert result["final_val_loss"] == listed.curve().val_loss[-1] >= result["best_val_loss"]
    assert result["best_step"] == listed.curve().best_step


def test_sampling_defaults_to_the_newest_run(home: Path) -> None:
    flags = ["--prompt", "the ", "--max-length", "30", "--seed", "3"]
    plain = nanollm(home, "sample", *flags).stdout
    assert plain.startswith("the ") and len(plain) == 4 + 30 + 1
    run = RunStore(home / "checkpoints").list()[0]
    for named in (run.id, str(run.folder), str(run.snapshot().path)):
        assert nanollm(home, "sample", named, *flags).stdout == plain
    assert json.loads(nanollm(home, "sample", "--json", *flags).stdout)["text"] + "\n" == plain
    assert nanollm(home, "sample", run.id, "--step", "0", *flags).stdout != plain


def test_each_of_several_samples_has_its_own_seed(home: Path) -> None:
    flags = ["--prompt", "the ", "--max-length", "30", "--seed", "3"]
    alone = [nanollm(home, "sample", *flags[:-1], str(3 + i)).stdout for i in range(2)]
    plain = nanollm(home, "sample", *flags, "--num-samples", "2").stdout
    assert plain == f"--- seed 3\n{alone[0]}--- seed 4\n{alone[1]}"
    result = json.loads(nanollm(home, "sample", *flags, "--num-samples", "2", "--json").stdout)
    assert [(s["seed"], s["text"] + "\n") for s in result["samples"]] == [(3, alone[0]), (4, alone[1])]
    refused = nanollm(home, "sample", "--num-samples", "0")
    assert refused.returncode == 2 and refused.stderr == "num_samples (0) must be a whole number from 1 to 256.\n"


def test_attention_prints_a_table_and_writes_a_page(home: Path) -> None:
    done = nanollm(home, "attention", "the cat", "--html", "out.html", "--layer", "2", "--head", "3")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 8
    page = (home / "out.html").read_text(encoding="utf-8")
    assert "<html" in page and not re.search(r"<(script|link)[^>]+(src|href)=", page)  # loads no other files
    weights = json.loads(nanollm(home, "attention", "the cat", "--json").stdout)["weights"]
    assert len(weights) == 2 and len(weights[0]) == 4 and len(weights[0][0]) == 7


def test_corpus_prints_character_counts(home: Path) -> None:
    about = json.loads(nanollm(home, "corpus", "my text.txt", "--json").stdout)
    assert about["characters"] == 41 * 40 and about["frequencies"]["\n"] == 40
    assert nanollm(home, "corpus", "my text.txt").stdout.startswith("1,640 characters, ")


def test_run_dir_selects_the_folder(home: Path) -> None:
    done = nanollm(home, "train", "--corpus", "my text.txt", "--run-dir", "elsewhere/mine", *QUICK)
    assert done.returncode == 0, done.stderr
    assert (home / "elsewhere" / "mine" / "checkpoint_final.safetensors").exists()
    again = nanollm(home, "train", "--corpus", "my text.txt", "--run-dir", "elsewhere/mine", *QUICK)
    assert again.returncode == 2 and "not empty" in again.stderr


def test_a_run_can_be_forked(home: Path) -> None:
    parent = next(r for r in RunStore(home / "checkpoints").list() if r.title == "cats")
    done = nanollm(home, "train", "--from", parent.id, "--num-steps", "5", "--learning-rate", "0.001", "--json")
    assert done.returncode == 0, done.stderr
    assert "Continues “cats” from step 20 with its own learning-rate schedule" in done.stderr
    about = json.loads(done.stdout)
    assert (about["state"], about["step"]) == ("completed", 5)
    assert about["title"] == "cats, continued with num steps 5, learning rate 0.001"
    assert "Continues “cats” from step 20" in nanollm(home, "runs", "show", about["run"]).stdout
    shown = json.loads(nanollm(home, "runs", "show", about["run"], "--json").stdout)
    assert shown["parent"] == {"run": parent.id, "title": "cats", "step": 20}


def test_a_fork_of_an_earlier_snapshot_on_another_text(home: Path) -> None:
    parent = next(r for r in RunStore(home / "checkpoints").list() if r.title == "cats")
    (home / "rats.txt").write_text("a rat sat on that mat.\n" * 60)
    where = ["--from", str(parent.folder), "--step", "0", "--corpus", "rats.txt", "--run-dir", "elsewhere/rats"]
    done = nanollm(home, "train", *where, "--num-steps", "5")
    assert done.returncode == 0, done.stderr
    run = Run.open(home / "elsewhere" / "rats")
    assert run.parent is not None and run.parent.step == 0 and run.corpus["name"] == "rats.txt"
    assert run.model_config == parent.model_config


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset", "nano"], "omit --preset"),
        (["--step", "700"], "no snapshot at step 700"),
        (["--num-layers", "3"], "omit num_layers"),
        (["--corpus", "dogs.txt"], "not in the model's vocabulary ('D' 'g' 'u')"),
    ],
    ids=str,
)
def test_an_invalid_fork_gives_a_one_line_message(home: Path, flags: list[str], message: str) -> None:
    (home / "dogs.txt").write_text("Do hot dogs run.\n" * 20)
    parent = next(r for r in RunStore(home / "checkpoints").list() if r.title == "cats")
    done = nanollm(home, "train", "--from", parent.id, *flags)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_interrupt_pauses_and_resume_finishes(home: Path) -> None:
    training = process(home, "train", "--corpus", "my text.txt", "--title", "long", *QUICK, "--num-steps", "1000000")
    store = RunStore(home / "checkpoints")
    until(lambda: any(r.title == "long" and r.status().step > 10 for r in store.list()) or training.poll() is not None)
    training.send_signal(signal.SIGINT)
    assert "Paused at step" in training.communicate(timeout=300)[0]
    run = next(r for r in store.list() if r.title == "long")
    paused_at = run.status().step
    assert run.status().state == "paused" and 10 < paused_at < 1_000_000
    assert process(home, "runs", "resume", run.id).wait(timeout=300) == 0
    until(lambda: store.get(run.id).status().step > paused_at)
    assert nanollm(home, "runs", "stop", run.id).returncode == 0
    until(lambda: store.get(run.id).status().state == "stopped")
    assert nanollm(home, "runs", "delete", run.id).stdout == "Deleted.\n"
    assert run.id not in [r.id for r in store.list()]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train", "--preset", "huge"],
        ["train", "--corpus", "missing.txt"],
        ["train", "--corpus", "."],
        ["train", "--num-heads", "3"],
        ["train", "--learning-rate", "nan"],
        ["train", "--num-steps", "many"],
        ["train", "--learnin-rate", "1"],
        ["train", "--step", "10"],
        ["train", "--corpus", ""],
        ["train", "--from", "nothing-like-it"],
        ["train", "--from", "my text.txt"],
        ["sample", "nothing-like-it"],
        ["sample", "../../etc/passwd"],
        ["sample", "--prompt", "ЖЖ"],
        ["sample", "--temperature", "-1"],
        ["sample", "--step", "7777"],
        ["sample", str(ROOT / "checkpoints/pretrained/nano/checkpoint_00000000.safetensors"), "--step", "0"],
        ["attention", ""],
        ["attention", "the", "--layer", "9"],
        ["runs", "show"],
        ["runs", "delete", "20260101-000000-0000"],
        ["runs", "explode"],
        ["corpus", "missing.txt"],
        ["corpus", "--encoding", "klingon"],
    ],
    ids=" ".join,
)
def test_an_invalid_request_gives_a_one_line_message(home: Path, arguments: list[str]) -> None:
    done = nanollm(home, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.rstrip().endswith((".", ")"))


def test_ctrl_c_and_a_closed_pipe_give_no_traceback(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert status_of(interrupted) == 130 and capsys.readouterr().err == "\n"
    listing = process(home, "runs")
    assert listing.stdout is not None and listing.stderr is not None
    listing.stdout.close()
    assert (listing.stderr.read(), listing.wait(timeout=300)) == ("", 0)
    listing.stderr.close()


def test_unprintable_characters_become_question_marks() -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with redirect_stdout(output):
        assert status_of(lambda: print("L1·H2 █ \udc80") or 0) == 0
    assert output.buffer.getvalue() == b"L1?H2 ? ?\n"


def test_without_runs_the_message_suggests_training(tmp_path: Path) -> None:
    assert "python -m nanollm train" in nanollm(tmp_path, "runs").stdout
    assert "train one first" in nanollm(tmp_path, "sample").stderr


def test_an_exported_run_can_be_imported(home: Path, tmp_path: Path) -> None:
    run = next(r for r in RunStore(home / "checkpoints").list() if r.title == "cats")
    exported = nanollm(home, "runs", "export", run.id, "cats.zip", "--json")
    assert exported.returncode == 0 and json.loads(exported.stdout) == {"file": "cats.zip"}
    again = nanollm(home, "runs", "export", run.id, "cats.zip")
    assert again.returncode == 2 and "already exists" in again.stderr
    done = nanollm(tmp_path, "runs", "import", str(home / "cats.zip"), "--json")
    assert done.returncode == 0, done.stderr
    imported = RunStore(tmp_path / "checkpoints").get(json.loads(done.stdout)["id"])
    assert (imported.title, imported.events()) == ("cats", run.events())
    flags = ["--max-length", "30", "--seed", "3"]
    assert nanollm(tmp_path, "sample", imported.id, *flags).stdout == nanollm(home, "sample", run.id, *flags).stdout
    wrong = nanollm(tmp_path, "runs", "import", str(home / "my text.txt"))
    assert wrong.returncode == 2 and "not a valid nano-llm run archive" in wrong.stderr
    assert nanollm(tmp_path, "runs", "import").returncode == 2
    assert nanollm(tmp_path, "runs", "show", imported.id, "file").returncode == 2
