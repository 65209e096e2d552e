"""launcher.py: queue, liveness, requests and start failures, with fake workers, so that no worker imports torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanollm.errors import InputError
from nanollm.runs import run_files
from nanollm.runs.process import launcher as launcher_module
from nanollm.runs.process import liveness
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.record import Run, write_status
from nanollm.runs.store import RunStore
from tests.conftest import ROOT
from tests.fake_worker import FAKE_WORKER, replace_worker
from tests.run_folders import make
from tests.speed import until


@pytest.fixture
def launch(store: RunStore, monkeypatch) -> Iterator[Launcher]:
    """A launcher of fake workers, which are killed after the test."""
    replace_worker(monkeypatch)
    launcher = Launcher(store)
    yield launcher
    launcher.close()
    for child in launcher._children:
        child.kill()
        child.wait()


def state(run: Run) -> str:
    return run.status().state


def owners(store: RunStore) -> list[str]:
    path = store.root / "owners.txt"
    return path.read_text().split() if path.exists() else []


def pid_of(run: Run) -> int:
    pid = liveness.owner_pid(run.folder)
    assert pid is not None
    return pid


class TestQueue:
    def test_queued_runs_train_one_at_a_time_in_order(self, store: RunStore, launch: Launcher) -> None:
        first, second, third = (make(store) for _ in range(3))
        launch.start(second.id)
        until(lambda: state(first) == "running")
        assert [state(second), state(third)] == ["queued", "queued"]
        assert [r.status().place for r in (first, second, third)] == [None, 1, 2]
        launch.advance()
        assert owners(store) == [first.id]
        launch.pause(third.id)
        (first.folder / run_files.CONTROL / "finish").touch()
        launch.watch()
        until(lambda: state(second) == "running")
        launch.resume(third.id)
        launch.stop(second.id)
        until(lambda: state(third) == "running")
        assert owners(store) == [first.id, second.id, third.id]
        assert [state(first), state(second)] == ["completed", "stopped"]

    def test_concurrent_launchers_start_one_worker_per_run(self, store: RunStore, launch: Launcher) -> None:
        others = [Launcher(RunStore(store.root)) for _ in range(4)]
        for _ in range(5):
            run = make(store)
            racers = [threading.Thread(target=each.start, args=[run.id]) for each in [launch, *others, launch]]
            for racer in racers:
                racer.start()
            for racer in racers:
                racer.join()
            until(lambda run=run: state(run) == "running")
            (run.folder / run_files.CONTROL / "finish").touch()
            until(lambda run=run: not run.alive())
        assert len(owners(store)) == len(set(owners(store))) == 5
        for each in others:
            each.close()

    def test_a_worker_survives_its_server_and_a_new_server_controls_it(self, store: RunStore, launch: Launcher) -> None:
        run, waiting = make(store), make(store)
        server = f"""
import sys
from nanollm.runs.process import launcher
from nanollm.runs.store import RunStore
launcher.worker_command = lambda folder, corpora: [sys.executable, "-c", {FAKE_WORKER!r}, str(folder)]
launcher.Launcher(RunStore({str(store.root)!r})).start({run.id!r})
"""
        subprocess.run([sys.executable, "-c", server], check=True, cwd=ROOT)
        until(lambda: state(run) == "running")  # the worker locks the run before it writes its status
        launch.advance()
        assert (state(run), state(waiting), owners(store)) == ("running", "queued", [run.id])
        launch.pause(run.id)
        until(lambda: state(run) == "paused" and not run.alive())
        launch.advance()
        until(lambda: state(waiting) == "running")

    def test_options_reach_the_worker_and_a_time_limit_enables_the_stall_limit(
        self, store: RunStore, monkeypatch
    ) -> None:
        command = launcher_module.worker_command(store.root / "x", store.root, nice=10, run_seconds=600)
        assert command[-2:] == ["--nice=10", "--run-seconds=600"]
        assert len(launcher_module.worker_command(store.root / "x", store.root)) == len(command) - 2
        frozen, waiting = make(store), make(store)
        with liveness.Heartbeat(frozen.folder):
            write_status(frozen.folder, "running", step=0)
            monkeypatch.setattr(liveness, "seconds_since_heartbeat", lambda folder: launcher_module.FROZEN_SECONDS + 1)
            for run_seconds, following in ((None, None), (600, waiting.id)):
                patience = launcher_module.stall_limit(run_seconds)
                run = launcher_module.next_queued_run(store, patience=patience)
                assert (run and run.id) == following


class TestLiveness:
    def test_a_killed_worker_is_lost_immediately_and_leaves_no_zombie(self, store: RunStore, launch: Launcher) -> None:
        run, waiting = make(store), make(store)
        launch.start(run.id)
        until(lambda: state(run) == "running")
        killed = pid_of(run)
        os.kill(killed, signal.SIGKILL)
        until(lambda: state(run) == "lost", seconds=5)
        launch.advance()
        with pytest.raises(ProcessLookupError):  # the id of a zombie would still exist
            os.kill(killed, 0)
        until(lambda: state(waiting) == "running")
        launch.resume(run.id)
        assert (state(run), run.status().place) == ("queued", 1)

    def test_a_frozen_worker_is_stalled_until_it_continues(self, store: RunStore, launch: Launcher) -> None:
        run = make(store)
        launch.start(run.id)
        until(lambda: state(run) == "running")
        os.kill(pid_of(run), signal.SIGSTOP)
        time.sleep(0.3)
        assert run.status(stall_seconds=0.2).state == "stalled"
        os.kill(pid_of(run), signal.SIGCONT)
        until(lambda: run.status(stall_seconds=0.2).state == "running", seconds=5)

    def test_stop_kills_a_frozen_child_worker(self, store: RunStore, launch: Launcher, monkeypatch) -> None:
        run = make(store)
        launch.start(run.id)
        until(lambda: state(run) == "running")
        os.kill(pid_of(run), signal.SIGSTOP)
        monkeypatch.setattr(liveness, "seconds_since_heartbeat", lambda folder: 3600.0)
        launch.stop(run.id)
        assert state(run) == "stopped" and "made no progress" in run.status().reason and not run.alive()

    def test_a_process_id_from_disk_is_never_killed(self, store: RunStore, launch: Launcher, monkeypatch) -> None:
        run = make(store)
        monkeypatch.setattr(liveness, "seconds_since_heartbeat", lambda folder: 3600.0)
        bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with liveness.Heartbeat(run.folder):
            write_status(run.folder, "running", step=0)
            (run.folder / run_files.HEARTBEAT).write_text(f"0.0 {bystander.pid}\n")
            launch.stop(run.id)
            assert state(run) == "stalled" and (run.folder / run_files.CONTROL / "stop").exists()
        assert bystander.poll() is None
        bystander.kill()
        bystander.wait()


class TestRequests:
    def test_repeated_requests_have_no_further_effect(self, store: RunStore, launch: Launcher) -> None:
        run = make(store)
        for request in (launch.start, launch.start, launch.resume):
            request(run.id)
            until(lambda: state(run) == "running")
        assert owners(store) == [run.id]
        launch.pause(run.id)
        until(lambda: state(run) == "paused")
        launch.pause(run.id)
        launch.resume(run.id)
        launch.resume(run.id)
        until(lambda: (launch.advance(), state(run) == "running")[1])
        launch.stop(run.id)
        until(lambda: state(run) == "stopped")
        launch.stop(run.id)
        assert owners(store) == [run.id] * 2

    def test_a_pending_request_is_reported_and_can_be_replaced_or_cancelled(
        self, store: RunStore, launch: Launcher
    ) -> None:
        run = make(store)
        with liveness.Heartbeat(run.folder):
            write_status(run.folder, "running", step=0)
            launch.pause(run.id)
            assert run.status().requested == "pause"
            launch.stop(run.id)
            assert run.status().requested == "stop"
            launch.resume(run.id)
            assert run.status().requested == ""

    @pytest.mark.parametrize("previous", ["queued", "running", "paused"])
    @pytest.mark.parametrize(("request_name", "expected"), [("pause", "paused"), ("stop", "stopped")])
    def test_requests_without_a_worker_take_effect_immediately(
        self, store: RunStore, launch: Launcher, previous: str, request_name: str, expected: str
    ) -> None:
        run = make(store)
        write_status(run.folder, previous, step=0)
        getattr(launch, request_name)(run.id)
        assert (state(run), owners(store)) == (expected, [])

    @pytest.mark.parametrize("ended", ["completed", "diverged", "failed"])
    def test_requests_to_ended_and_missing_runs_are_refused(
        self, store: RunStore, launch: Launcher, ended: str
    ) -> None:
        run = make(store)
        write_status(run.folder, ended, step=10)
        refused = [launch.pause, launch.stop, launch.start, *([] if ended == "failed" else [launch.resume])]
        for request in refused:
            with pytest.raises(InputError, match=rf"This run (is )?{ended}"):
                request(run.id)
        for request in (launch.pause, launch.stop, launch.start, launch.resume):
            with pytest.raises(InputError, match="no longer here"):
                request("20200101-000000-0000")

    def test_a_stopped_run_can_only_resume_with_a_resume_file(self, store: RunStore, launch: Launcher) -> None:
        run = make(store)
        write_status(run.folder, "stopped", step=10)
        with pytest.raises(InputError, match="no resume file"):
            launch.resume(run.id)
        (run.folder / "resume_00000010.safetensors").touch()
        launch.resume(run.id)
        until(lambda: state(run) == "running")


class TestFailures:
    def test_a_worker_that_cannot_start_reports_the_error_and_the_queue_continues(
        self, store: RunStore, launch: Launcher, monkeypatch
    ) -> None:
        replace_worker(
            monkeypatch, "import sys; sys.argv[1].endswith(FIRST) and 1 / 0".replace("FIRST", repr("-x")) + FAKE_WORKER
        )
        broken, fine = make(store), make(store)
        os.rename(broken.folder, store.root / "20200101-000000-x")
        broken = store.get("20200101-000000-x")
        launch.advance()
        assert state(broken) == "failed"
        assert broken.status().reason == "The worker process could not start: division by zero."
        until(lambda: state(fine) == "running")

    def test_the_last_error_contains_no_path_and_no_traceback(self, tmp_path: Path) -> None:
        log = tmp_path / run_files.LOG
        log.write_text(
            "Traceback (most recent call last):\n  File ...\nOSError: cannot open /home/me/.secret/x.so: gone\n"
        )
        assert launcher_module.last_error(log) == "The worker process could not start: cannot open x.so: gone."
        log.write_text("")
        assert launcher_module.last_error(log) == "The worker process could not start: it logged no error."

    def test_a_failed_start_is_not_repeated_if_the_status_cannot_be_written(
        self, store: RunStore, launch: Launcher, monkeypatch
    ) -> None:
        replace_worker(monkeypatch, f"open({str(store.root / 'owners.txt')!r}, 'a').write('tried ')")
        run = make(store)

        def refuse(*_, **__) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(launcher_module, "write_status", refuse)
        for _ in range(3):
            launch.advance()
        assert owners(store) == ["tried"] and state(run) == "queued"

    def test_an_empty_queue_creates_no_folder(self, tmp_path: Path) -> None:
        launcher = Launcher(RunStore(tmp_path / "none"))
        launcher.advance()
        assert not (tmp_path / "none").exists()
