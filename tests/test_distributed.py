"""Several processes train one model: the same run as one process makes, and nothing is lost when one of them is.

Real processes, started by torchrun as its users start them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from nanollm.config import TrainConfig
from nanollm.dataset import Dataset
from nanollm.distributed import Ranks
from nanollm.errors import InputError
from nanollm.events import Event, Resume, Start, Step
from nanollm.runs.record import Run
from nanollm.train import TrainState, train
from tests.conftest import ROOT
from tests.faults.conftest import until
from tests.test_train import curve, set_up

SMALL = {
    **{"embedding-dim": 16, "num-layers": 2, "ffn-hidden-dim": 24, "context-length": 16, "batch-size": 8},
    **{"log-interval": 1, "eval-interval": 20, "checkpoint-interval": 20, "warmup-steps": 5, "learning-rate": 1e-2},
    **{"precision": "float32", "threads": 1},
}


class Together:
    """Starts `nanollm train` on several processes, and ends what it started."""

    def __init__(self, home: Path, text: str) -> None:
        self.home, self.corpus = home, home / "text.txt"
        self.corpus.write_text(text[:20_000], encoding="utf-8")
        self._started: list[subprocess.Popen[str]] = []

    def start(
        self, folder: str, *flags: str, processes: int = 2, restarts: int = 0, timeout: float = 60, new: bool = True
    ) -> subprocess.Popen[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *torchrun, f"--max-restarts={restarts}", "-m", "nanollm", "train"]
        about = (
            ["--corpus", str(self.corpus), *(f"--{name}={value}" for name, value in SMALL.items())]
            if new
            else ["--resume"]
        )
        environment = {
            **os.environ,
            **{"NANOLLM_HOME": str(self.home), "NANOLLM_RANK_TIMEOUT": str(timeout), "PYTHONPATH": str(ROOT)},
        }
        self._started.append(
            subprocess.Popen(
                [*command, "--run-dir", str(self.home / folder), *about, *flags],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.home,
            )
        )
        return self._started[-1]

    def run(self, folder: str, *flags: str, **how: int) -> Run:
        """The run after all its processes have ended well."""
        process = self.start(folder, *flags, **how)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return Run.open(self.home / folder)

    def opened(self, folder: str, step: int) -> Run:
        """The run, as soon as it has come so far."""
        until(lambda: (self.home / folder / "run.json").exists(), seconds=60)
        run = Run.open(self.home / folder)
        until(lambda: run.status().step >= step, seconds=60)
        return run

    def close(self) -> None:
        for process in self._started:
            for child in ranks_of(process):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.communicate()


@pytest.fixture
def together(tmp_path: Path, text: str) -> Iterator[Together]:
    together = Together(tmp_path, text)
    yield together
    together.close()


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """The process ids of the ranks that this torchrun has started, in order."""
    ranks = {}
    with suppress(OSError):  # one that has just ended
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            ranks |= {int(line[5:]): int(child) for line in variables if line.startswith(b"RANK=")}
    return [ranks[rank] for rank in sorted(ranks)]


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Step)]


@pytest.mark.parametrize("processes", [2, 3])
def test_the_ranks_share_out_the_batch_that_one_process_would_draw(processes: int) -> None:
    data = Dataset.from_ids(torch.arange(200), 0.0)
    whole, _ = data.batch(6, 8, torch.Generator().manual_seed(5))
    shares = []
    for rank in range(processes):
        ids, _ = data.batch(6, 8, torch.Generator().manual_seed(5))
        shares.append(Ranks(rank, processes).share(ids))
    assert torch.equal(torch.cat(shares), whole)
    assert {len(share) for share in shares} == {6 // processes}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_processes_make_the_run_that_one_makes(together: Together, optimizer: str) -> None:
    flags = ("--num-steps", "30", "--optimizer", optimizer)
    one = together.run("one", *flags, processes=1)
    two = together.run("two", *flags)
    alone, shared = losses(one.events()), losses(two.events())
    assert len(alone) == len(shared) == 30
    assert max(abs(a - b) for a, b in zip(alone[:20], shared[:20], strict=True)) < 1e-3
    assert alone != shared  # sums of halves are rounded otherwise: it was computed by two
    starts = [next(event for event in run.events() if isinstance(event, Start)) for run in (one, two)]
    assert [start.world_size for start in starts] == [1, 2]
    assert [event.tokens for event in two.events() if isinstance(event, Step)][-1] == 30 * 8 * 16
    assert sorted(p.name for p in one.folder.iterdir()) == sorted(p.name for p in two.folder.iterdir())


@pytest.mark.long
def test_paused_by_a_note_and_resumed_it_is_the_run_that_was_never_interrupted(together: Together) -> None:
    flags = ("--num-steps", "120", "--dropout", "0.2")
    whole = together.run("whole", *flags)
    process = together.start("broken", *flags)
    run = together.opened("broken", 10)
    (run.folder / "control").mkdir(exist_ok=True)
    (run.folder / "control" / "pause").touch()
    process.communicate(timeout=60)
    assert (process.returncode, run.status().state) == (0, "paused")
    assert 10 <= run.status().step < 120
    run = together.run("broken", new=False)
    assert run.status().state == "completed"
    assert losses(run.events()) == losses(whole.events())


@pytest.mark.long
def test_the_number_of_processes_may_change_and_the_run_says_so(together: Together) -> None:
    process = together.start("run", "--num-steps", "200", "--dropout", "0.2")
    run = together.opened("run", 10)
    os.kill(ranks_of(process)[0], signal.SIGTERM)  # any rank may be asked
    process.communicate(timeout=60)
    assert run.status().state == "paused"
    assert TrainState.load(run.resume_files()[0], run.train_config).step == run.status().step
    run = together.run("run", new=False, processes=1)
    assert run.status().state == "completed"
    assert "world_size 1 (it began with 2)" in run.status().reason


@pytest.mark.long
def test_a_killed_rank_costs_no_more_than_the_steps_since_the_last_save(together: Together) -> None:
    flags = ("--num-steps", "150", "--dropout", "0.2")
    whole = together.run("whole", *flags)
    process = together.start("broken", *flags, restarts=2)
    run = together.opened("broken", 45)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert run.status().state == "completed"
    assert any(isinstance(event, Resume) for event in run.events())
    assert [event.step for event in run.events() if isinstance(event, Step)] == list(range(1, 151))
    assert losses(run.events()) == losses(whole.events())


@pytest.mark.long
def test_the_others_end_when_one_is_killed(together: Together) -> None:
    process = together.start("run", "--num-steps", "100000")
    run = together.opened("run", 5)
    pids = ranks_of(process)
    os.kill(pids[1], signal.SIGKILL)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - began < 30
    assert not run.alive()
    assert run.status().state in ("failed", "paused")  # torchrun's SIGTERM and the broken line race each other


@pytest.mark.long
def test_a_rank_that_hangs_is_noticed(together: Together) -> None:
    process = together.start("run", "--num-steps", "100000", timeout=5)
    run = together.opened("run", 5)
    pids = ranks_of(process)
    os.kill(pids[1], signal.SIGSTOP)
    try:
        until(lambda: not run.status().active, seconds=30)
        assert run.status().state == "failed"
        assert "ended or fell silent" in run.status().reason
    finally:
        os.kill(pids[1], signal.SIGKILL)


@pytest.mark.long
def test_of_two_launches_into_one_folder_one_wins(together: Together) -> None:
    first = together.start("run", "--num-steps", "100000")
    run = together.opened("run", 5)
    second = together.start("run", "--num-steps", "100000")
    output, _ = second.communicate(timeout=60)
    assert second.returncode != 0
    assert "is not empty" in output
    third = together.start("run", new=False)
    output, _ = third.communicate(timeout=60)
    assert third.returncode != 0
    assert "another process has it in hand" in output
    assert run.status().state == "running"
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert run.status().state == "paused"


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--num-steps", "5", "--batch-size", "7"], "cannot be shared out"), (["--num-steps", "0"], "num_steps")],
)
def test_what_cannot_be_shared_is_refused_with_a_sentence(together: Together, flags: list[str], words: str) -> None:
    process = together.start("run", *flags)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert words in output


def test_a_batch_in_pieces_is_the_same_step(text: str) -> None:
    settings = {"dropout": 0.0, "batch_size": 8, "num_steps": 10, "log_interval": 1}
    curves = []
    for pieces in (1, 2, 8):
        state, data, config = set_up(text, **settings, accumulation_steps=pieces)
        curves.append([dict(row[1:])["loss"] for row in curve(list(train(state, data, config))) if row[0] == "step"])
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
    assert curves[0] == pytest.approx(curves[2], abs=1e-4)


def test_pieces_must_be_equal() -> None:
    with pytest.raises(InputError, match="cannot be cut into 3 equal pieces"):
        TrainConfig(batch_size=8, accumulation_steps=3)
