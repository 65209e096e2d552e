"""remote.py: one run per launch command at a time, and liveness across machines."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanollm.cli.main import build_parser
from nanollm.errors import InputError
from nanollm.runs import run_files
from nanollm.runs.process import liveness
from nanollm.runs.process import remote as remote_module
from nanollm.runs.process.launcher import worker_command
from nanollm.runs.process.remote import RemoteLauncher, launch_command
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore
from tests.conftest import ROOT
from tests.fake_worker import FAKE_WORKER
from tests.run_folders import make as make_run
from tests.speed import until
from tests.tiny_runs import make as make  # a fixture

WORDS = ["/a path/python", "-m", "nanollm.runs.process.worker", "/it's here/run $HOME"]


def test_the_worker_command_is_passed_unchanged(tmp_path: Path) -> None:
    """It becomes separate arguments for srun and one quoted argument for ssh."""
    assert launch_command("srun -c4 {command}", WORDS) == ["srun", "-c4", *WORDS]
    *_, last = launch_command("ssh one 'cd /shared && {command}'", WORDS)
    assert shlex.split(last) == ["cd", "/shared", "&&", *WORDS]
    command = launch_command("""bash -c 'true && printf "%s\\n" {command}'""", WORDS)
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines() == WORDS


@pytest.mark.parametrize("template", ["ssh one", "", "ssh one 'cd && {command}", "{command}"])
def test_an_invalid_launch_command_is_refused(store: RunStore, template: str) -> None:
    with pytest.raises(InputError, match="launch command"):
        RemoteLauncher(store, "corpora", [template])


def test_the_documented_examples_parse_and_pass_the_worker_command() -> None:
    """The examples in TRAINING.md parse, and the worker's command line arrives unchanged."""
    examples = re.findall(r"^(python -m nanollm scale .*--launch-command.*)$", (ROOT / "TRAINING.md").read_text(), re.M)
    assert [shlex.split(example)[7].split()[0] for example in examples] == ["ssh", "srun"]
    for example in examples:
        subprocess.run(["bash", "-n", "-c", example], check=True)
        commands = build_parser().parse_args(shlex.split(example)[3:]).launch_command
        assert len(commands) >= 2
        for command in commands:
            words = launch_command(command, WORDS)
            remote = shlex.split(words[-1]) if words[0] == "ssh" else words
            assert remote[-len(WORDS) :] == WORDS
            subprocess.run(["bash", "-n", "-c", words[-1] if words[0] == "ssh" else shlex.join(words)], check=True)


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["fake-workers", "workers"])
def test_each_launch_command_trains_one_run_at_a_time(
    make, store: RunStore, corpora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: bool
) -> None:
    """Two launch commands train three runs; each waits until both have started a run."""
    runs = [make(num_steps=20) for _ in range(3)]
    if not real:
        command = lambda folder, corpora: [sys.executable, "-c", FAKE_WORKER, str(folder)]  # noqa: E731
        monkeypatch.setattr(remote_module, "worker_command", command)
        for run in runs:
            (run.folder / run_files.CONTROL / "finish").touch()
    started = tmp_path / "started"
    started.mkdir()
    wait = f"touch {started}/$0; while [ $(ls {started} | wc -l) -lt 2 ]; do sleep 0.05; done"
    commands = [f"bash -c '{wait}; exec \"$@\"' {name} {{command}}" for name in ("one", "two")]
    launcher = RemoteLauncher(store, corpora.root, commands)
    launcher.advance()
    until(lambda: len(list(started.iterdir())) == 2)

    def all_ended() -> bool:
        launcher.advance()
        return not any(run.status().active for run in runs)

    until(all_ended)
    assert [run.status().state for run in runs] == ["completed"] * 3
    assert sorted(path.name for path in started.iterdir()) == ["one", "two"]
    launcher.close()


def test_a_failed_launch_command_is_reported_in_the_status(make, store: RunStore, corpora) -> None:
    run, launcher = (
        make(),
        RemoteLauncher(store, corpora.root, ["bash -c 'echo no route to one >&2; exit 255' {command}"]),
    )

    def ended() -> bool:
        launcher.advance()
        return not run.status().active

    until(ended)
    assert run.status().state == "failed" and "no route to one" in run.status().reason
    launcher.close()


class TestAnotherMachine:
    @pytest.fixture
    def run(self, store: RunStore) -> Run:
        return make_run(store)

    def beat(self, run: Run, at: float, machine: str = "another") -> None:
        (run.folder / run_files.HEARTBEAT).write_text(f"{at:20.3f} {4711:10d} {machine}\n")

    def test_remote_heartbeats_count_from_the_moment_they_change(self, run: Run) -> None:
        for at in (5.0, 1e9, 1.0):  # another machine's monotonic clock may have any value
            self.beat(run, at)
            assert liveness.seconds_since_heartbeat(run.folder) == 0
            time.sleep(0.05)
            assert liveness.seconds_since_heartbeat(run.folder) >= 0.05
        self.beat(run, 2.0)
        assert liveness.seconds_since_heartbeat(run.folder) == 0

    def test_a_remote_process_id_is_ignored(self, run: Run) -> None:
        self.beat(run, 5.0)
        assert liveness.owner_pid(run.folder) is None

    def test_local_heartbeats_are_compared_with_the_local_clock(self, run: Run) -> None:
        with liveness.Heartbeat(run.folder):
            assert liveness.seconds_since_heartbeat(run.folder) < 5 and liveness.owner_pid(run.folder)
        (run.folder / run_files.HEARTBEAT).write_text(
            f"{time.monotonic() - 100:20.3f} {4711:10d}\n"
        )  # written by an older worker, without a machine name
        assert 99 < liveness.seconds_since_heartbeat(run.folder) < 200 and liveness.owner_pid(run.folder) == 4711


def test_the_launch_command_ends_with_the_worker_command(store: RunStore) -> None:
    command = worker_command(store.root / "run", store.root)
    assert launch_command("nohup {command}", command)[1:] == command
