"""Distributed training: the same run as with one process, and nothing is lost if a process ends.

Real processes, started by torchrun as its users start them. Every start takes seconds, most of them for importing
torch, so each test checks as much as possible with one start. No test races the end of a training: a run that is
interrupted has far more steps than it can take, and every wait is for a condition.
"""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from nanollm.config import TrainConfig, make_configs, preset
from nanollm.data.corpus import CorpusStore
from nanollm.data.dataset import Dataset
from nanollm.errors import InputError
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.process.worker import work
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore
from nanollm.train.checkpoint import load_model
from nanollm.train.distributed import Ranks
from nanollm.train.events import Event, Resume, Start, Step
from nanollm.train.loop import TrainState, train
from tests.benchmarks.distributed import BATCHES, LINKS, estimated_table, speedup
from tests.conftest import ROOT
from tests.speed import until
from tests.train.test_loop import curve, set_up

SMALL = {
    **{"embedding_dim": 16, "num_layers": 2, "ffn_hidden_dim": 24, "context_length": 16, "batch_size": 8},
    **{"log_interval": 1, "eval_interval": 10_000, "checkpoint_interval": 20, "warmup_steps": 5, "learning_rate": 1e-2},
    **{"precision": "float32", "threads": 1},
}
ENDLESS = 1_000_000  # steps
PATIENCE = 300.0  # seconds for a start on a busy machine
RANK_TIMEOUT = 15.0  # seconds without progress; a start on a busy machine must fit in


class DistributedRuns:
    """Start `nanollm train` on several processes, and end them afterwards."""

    def __init__(self, home: Path, text: str) -> None:
        self.home, self.text = home, home / "text.txt"
        self.text.write_text(text[:20_000], encoding="utf-8")
        self.store, self.corpora = RunStore(home / "checkpoints"), CorpusStore(home / "data" / "corpora")
        self.launcher = Launcher(self.store, self.corpora.root)  # as the page uses it
        self._started: list[subprocess.Popen[str]] = []

    def start(
        self,
        name: str,
        *torchrun: str,
        new: bool = True,
        timeout: float = PATIENCE,
        home: Path | None = None,
        **settings,
    ) -> subprocess.Popen[str]:
        """Start a new run with these settings over SMALL, or resume one; two processes by default."""
        how = (
            torchrun if any("nproc" in flag for flag in torchrun) else ("--standalone", "--nproc-per-node=2", *torchrun)
        )
        flags = [f"--{key.replace('_', '-')}={value}" for key, value in {**SMALL, **settings}.items()]
        about = ["--corpus", str(self.text), *flags] if new else ["--resume"]
        command = ["-m", "nanollm", "train", "--run-dir", str(self.store.root / name), *about]
        home = home or self.home
        process = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *how, *command],
            env={
                **os.environ,
                **{"NANOLLM_HOME": str(home), "NANOLLM_RANK_TIMEOUT": str(timeout), "PYTHONPATH": str(ROOT)},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=home,
        )
        self._started.append(process)
        return process

    def wait_for_end(self, name: str, process: subprocess.Popen[str]) -> Run:
        """Return the run after all of its processes have ended successfully."""
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output
        return self.store.get(name)

    def wait_for_step(self, name: str, step: int) -> Run:
        """Return the run as soon as it has reached this step."""
        until(lambda: (self.store.root / name / "run.json").exists(), seconds=PATIENCE)
        run = self.store.get(name)
        until(lambda: run.status().step >= step, seconds=PATIENCE)
        return run

    def train_in_this_process(self, name: str, steps: int, **settings) -> Run:
        """Train the run in this process up to that step (creating it if necessary), then pause it."""
        if not (self.store.root / name).exists():
            corpus = self.corpora.add_file(self.text)
            made = self.store.create(settings={**SMALL, **settings}, corpus=corpus, queued=False)
            made.folder.rename(self.store.root / name)
        run = self.store.get(name)

        def on_event(event: Event) -> None:
            if event.step >= steps:
                (run.folder / "control" / "pause").touch()

        work(run, self.corpora.root, on_event)
        return run

    def close(self) -> None:
        for process in self._started:
            for child in ranks_of(process):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.communicate()


@pytest.fixture
def distributed(tmp_path: Path, text: str) -> Iterator[DistributedRuns]:
    distributed = DistributedRuns(tmp_path, text)
    yield distributed
    distributed.close()


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the process ids of the ranks started by this torchrun, in order."""
    ranks = {}
    with suppress(OSError):  # the process has just ended
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            ranks |= {int(line[5:]): int(child) for line in variables if line.startswith(b"RANK=")}
    return [ranks[rank] for rank in sorted(ranks)]


def has_ended(pid: int) -> bool:
    """Return whether a process has ended (it may still be a zombie)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def losses(run: Run) -> list[float]:
    return [event.loss for event in run.events() if isinstance(event, Step)]


def starts(run: Run) -> list[Start]:
    return [event for event in run.events() if isinstance(event, Start)]


@pytest.mark.parametrize("processes", [2, 3])
def test_ranks_split_the_batch_of_a_single_process(processes: int) -> None:
    data = Dataset.from_ids(torch.arange(200), 0.0)
    whole, _ = data.batch(6, 8, torch.Generator().manual_seed(5))
    shares = []
    for rank in range(processes):
        ids, _ = data.batch(6, 8, torch.Generator().manual_seed(5))
        shares.append(Ranks(rank, processes).shard(ids))
    assert torch.equal(torch.cat(shares), whole)
    assert {len(share) for share in shares} == {6 // processes}


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "micro_batches"), [("adamw", 1), ("muon", 2)])
def test_two_processes_reproduce_the_run_of_one(
    distributed: DistributedRuns, optimizer: str, micro_batches: int
) -> None:
    settings = {"num_steps": 30, "optimizer": optimizer, "warmup_steps": 100}  # as the presets warm up
    two = distributed.wait_for_end("two", distributed.start("two", **settings, accumulation_steps=micro_batches))
    one = distributed.train_in_this_process("one", ENDLESS, **settings)
    assert one.status().state == two.status().state == "completed"
    alone, shared = losses(one), losses(two)
    assert len(alone) == len(shared) == 30
    assert max(abs(a - b) for a, b in zip(alone[:20], shared[:20], strict=True)) < 1e-3
    assert alone != shared  # sums of halves are rounded differently: two processes computed it
    assert [start.world_size for run in (one, two) for start in starts(run)] == [1, 2]
    assert [event.tokens for event in two.events() if isinstance(event, Step)][-1] == 30 * 8 * 16
    assert sorted(p.name for p in one.folder.iterdir()) == sorted(p.name for p in two.folder.iterdir())
    assert load_model(two.snapshot().path).info.step == 30


@pytest.mark.slow
def test_a_paused_and_killed_run_equals_an_uninterrupted_one(distributed: DistributedRuns) -> None:
    draw, settings = random.Random(7), {"num_steps": ENDLESS, "dropout": 0.2}
    process = distributed.start("broken", **settings)
    run = distributed.wait_for_step("broken", 10)
    distributed.launcher.pause(run.id)
    assert distributed.wait_for_end("broken", process).status().state == "paused"
    assert not [step for step in starts(run) if step.world_size != 2]

    process = distributed.start("broken", "--max-restarts=2", new=False)
    for number, victim in enumerate((1, 0)):  # the first one writes the run, and holds its lock
        until(lambda number=number: len(starts(run)) == 2 + number, seconds=PATIENCE)
        distributed.wait_for_step("broken", run.status().step + draw.randrange(15, 60))
        ranks = ranks_of(process)
        os.kill(ranks[victim], signal.SIGKILL)
        until(lambda ranks=ranks: all(map(has_ended, ranks)))
    until(lambda: len(starts(run)) == 4, seconds=PATIENCE)
    distributed.wait_for_step("broken", run.status().step + 20)
    distributed.launcher.stop(run.id)
    assert distributed.wait_for_end("broken", process).status().state == "stopped"

    process = distributed.start("whole", **settings)
    whole = distributed.wait_for_step("whole", run.status().step)
    distributed.launcher.stop(whole.id)
    assert distributed.wait_for_end("whole", process).status().state == "stopped"
    assert len([event for event in run.events() if isinstance(event, Resume)]) == 3
    assert [event.step for event in run.events() if isinstance(event, Step)] == list(range(1, run.status().step + 1))
    assert losses(run) == losses(whole)[: run.status().step]
    assert load_model(run.snapshot().path).info.step == run.status().step
    assert run.curve().eval_steps[-1] == run.status().step  # evaluated again when it was stopped


@pytest.mark.slow
def test_the_number_of_processes_may_change_and_is_recorded(distributed: DistributedRuns) -> None:
    run = distributed.train_in_this_process("run", 12, num_steps=ENDLESS, dropout=0.2)
    assert run.status().state == "paused"
    process = distributed.start("run", new=False)
    distributed.wait_for_step("run", run.status().step + 15)
    assert "world_size 2 (before: 1), so the curve differs from here on: dropout" in run.status().reason
    os.kill(ranks_of(process)[1], signal.SIGTERM)  # any rank may receive the signal
    assert distributed.wait_for_end("run", process).status().state == "paused"
    assert TrainState.load(run.resume_files()[0], run.train_config).step == run.status().step
    distributed.train_in_this_process("run", run.status().step + 5)
    assert [start.world_size for start in starts(run)] == [1, 2, 1]
    assert [event.step for event in run.events() if isinstance(event, Step)] == list(range(1, run.status().step + 1))


@pytest.mark.slow
def test_only_one_launch_per_folder_runs_and_a_hanging_rank_is_detected(distributed: DistributedRuns) -> None:
    settings = {"num_steps": ENDLESS, "timeout": RANK_TIMEOUT}
    both = [distributed.start("run", **settings) for _ in range(2)]
    until(lambda: any(process.poll() is not None for process in both), seconds=PATIENCE)
    loser, winner = sorted(both, key=lambda process: process.poll() is None)
    output, _ = loser.communicate(timeout=PATIENCE)
    assert loser.returncode != 0
    assert "is not empty" in output or "is being used by another run" in output
    run = distributed.wait_for_step("run", 5)
    with pytest.raises(InputError, match="already being trained by another process"):
        work(run, distributed.corpora.root)
    assert run.status().state == "running" and winner.poll() is None
    assert [other.name for other in distributed.store.root.iterdir() if other.is_dir()] == ["run"]

    frozen = ranks_of(winner)[1]
    os.kill(frozen, signal.SIGSTOP)
    until(lambda: not run.status().active, seconds=RANK_TIMEOUT + 30)
    assert run.status().state == "failed"
    assert "ended or stopped responding" in run.status().reason
    os.kill(frozen, signal.SIGKILL)  # or torchrun would wait for it
    winner.communicate(timeout=PATIENCE)
    assert winner.returncode != 0 and not run.alive()


@pytest.mark.slow
def test_only_the_first_machine_needs_the_text_and_the_run_folder(distributed: DistributedRuns, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here = ("--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}")
    # The second machine is started first: the rank is determined by its number, not by the order.
    second = distributed.start("run", *here, "--node-rank=1", num_steps=20, home=elsewhere)
    first = distributed.start("run", *here, "--node-rank=0", num_steps=20)
    run = distributed.wait_for_end("run", first)
    output, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0 and "the run is" not in output
    assert (run.status().state, run.status().step, starts(run)[0].world_size) == ("completed", 20, 2)
    assert list(elsewhere.iterdir()) == []


def test_an_indivisible_batch_is_rejected_before_the_first_event(text: str) -> None:
    state, data, config = set_up(text, batch_size=7)
    state.ranks = Ranks(0, 2)
    with pytest.raises(InputError, match="batch_size \\(7\\) must be divisible by"):
        next(train(state, data, config))


def test_the_estimated_speedup_of_a_second_machine_is_plausible() -> None:
    """At most twofold; larger with more computation or a faster network; a slowdown if the network dominates."""
    links = list(LINKS)
    for parameters in (20_000, 800_000):
        gains = [[speedup(step, parameters, link) for link in links] for step in (0.01, 0.1, 1.0)]
        assert all(row == sorted(row) for row in gains) and all(list(c) == sorted(c) for c in zip(*gains, strict=True))
        assert 0 < gains[0][0] < 1 < gains[-1][-1] < 2
    table = estimated_table({"nano": 0.01, "medium": 0.2}).splitlines()
    assert len(table) == 2 + 2 * len(BATCHES) and {row.count("|") for row in table} == {len(LINKS) + 4}


def test_the_documented_table_matches_the_benchmark() -> None:
    """Computed from the step times in the table."""
    rows = re.findall(r"^\| (nano|small|medium) \| 32 \| ([\d,]+) ms \|", (ROOT / "TRAINING.md").read_text(), re.M)
    assert [name for name, _ in rows] == ["nano", "small", "medium"]
    for name, shown in rows:
        model, _ = make_configs(preset(name), 65)
        row = re.search(rf"^\| {name} \| 512 \| [\d,]+ ms \|(.*)\|$", (ROOT / "TRAINING.md").read_text(), re.M)
        assert row is not None
        step = 16 * float(shown.replace(",", "")) / 1e3
        for cell, link in zip(row[1].split("|"), LINKS, strict=True):
            assert float(cell.split()[0]) == pytest.approx(speedup(step, model.num_parameters, link), rel=0.05)


def test_gradient_accumulation_gives_the_same_step(text: str) -> None:
    settings = {"dropout": 0.0, "batch_size": 8, "num_steps": 10, "log_interval": 1}
    curves = []
    for micro_batches in (1, 2, 8):
        state, data, config = set_up(text, **settings, accumulation_steps=micro_batches)
        curves.append([dict(row[1:])["loss"] for row in curve(list(train(state, data, config))) if row[0] == "step"])
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
    assert curves[0] == pytest.approx(curves[2], abs=1e-4)


def test_micro_batches_must_be_equal() -> None:
    with pytest.raises(InputError, match="batch_size \\(8\\) must be divisible by accumulation_steps \\(3\\)"):
        TrainConfig(batch_size=8, accumulation_steps=3)
