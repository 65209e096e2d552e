"""The worker process: its files, final states, and bit-identical resuming."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import torch

from nanollm.config import make_configs
from nanollm.data.corpus import CorpusInfo, CorpusStore
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from nanollm.runs import run_files
from nanollm.runs.process import control, liveness, training
from nanollm.runs.process.control import ControlRequests
from nanollm.runs.process.launcher import Launcher, worker_command, worker_environment
from nanollm.runs.process.worker import work
from nanollm.runs.record import Run, Status, write_status
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from nanollm.train import calibration, events
from nanollm.train import loop as train_module
from nanollm.train.checkpoint import load_model, read_tensors
from nanollm.train.compiled_attention import is_available
from nanollm.train.loop import Dataset, TrainState, set_seed, train
from tests.conftest import ROOT
from tests.speed import until

STEPS = 40
# With dropout, so that torch's global random state matters, and intervals that share few multiples.
TINY = {
    "embedding_dim": 16,
    "num_layers": 1,
    "ffn_hidden_dim": 16,
    "context_length": 16,
    "dropout": 0.1,
    "batch_size": 4,
    "num_steps": STEPS,
    "warmup_steps": 5,
    "log_interval": 3,
    "eval_interval": 10,
    "checkpoint_interval": 7,
    "threads": 1,
}


@pytest.fixture(scope="module")
def short_text(text: str) -> str:
    return text[:3000]


@pytest.fixture
def corpus(corpora: CorpusStore, short_text: str) -> CorpusInfo:
    return corpora.add_text(short_text, "tale.txt")


@pytest.fixture
def make(store: RunStore, corpus: CorpusInfo) -> Callable[..., Run]:
    return lambda **settings: store.create(settings={**TINY, **settings}, corpus=corpus)


@pytest.fixture(scope="module")
def reference(short_text: str) -> tuple[list, dict[str, torch.Tensor]]:
    """Events and final weights of plain train(), without files, samples or interruptions."""
    tokenizer = CharTokenizer.from_text(short_text)
    model_config, config = make_configs(TINY, tokenizer.vocab_size)
    set_seed(config.seed)
    model = TransformerLanguageModel.from_config(model_config)
    data = Dataset.from_ids(tokenizer.encode(short_text), config.validation_fraction)
    history = list(train(TrainState.new(model, config), data, config))
    return records(history), model.state_dict()


def records(history: list[events.Event]) -> list[dict]:
    """The events without times, checkpoints and resumes, which must be bit-identical."""
    kept = [e for e in history if isinstance(e, (events.Step, events.Eval, events.End))]
    timing = ("seconds", "tokens_per_second", "elapsed", "times")
    return [{"type": e.type, **{k: v for k, v in asdict(e).items() if k not in timing}} for e in kept]


def assert_equals_reference(run: Run, reference: tuple[list, dict[str, torch.Tensor]]) -> None:
    history, weights = reference
    assert run.status().state == "completed"
    assert records(run.events()) == history
    learned, _ = read_tensors(run.folder / "checkpoint_final.safetensors")
    assert learned.keys() == weights.keys()
    assert all(torch.equal(learned[name], weights[name]) for name in weights)


def check_that_requests(run: Run, request: str, step: int) -> Callable[[], None]:
    """A replacement for ControlRequests.check that raises a request at exactly one step."""
    count = {"step": -1}

    def check(self: ControlRequests) -> None:
        count["step"] += 1
        if count["step"] == step:
            (run.folder / run_files.CONTROL / request).touch()
            self._checked = 0.0
        original_check(self)

    return check  # type: ignore[return-value]


original_check = ControlRequests.check


def calibration_key(run: Run) -> str:
    return calibration.cache_key(run.model_config, run.train_config, torch.device("cpu"))


def interrupt(run: Run, corpora: CorpusStore, request: str, step: int, monkeypatch) -> Status:
    with monkeypatch.context() as patch:
        patch.setattr(ControlRequests, "check", check_that_requests(run, request, step))
        return work(run, corpora.root)


class TestTraining:
    def test_queued_runs_complete_without_further_launcher_calls(
        self, make, launcher: Launcher, reference, short_text: str
    ) -> None:
        first, second = make(), make(seed=7)
        launcher.start(first.id)  # the launcher is not called again
        until(lambda: second.status().state == "completed" and not second.alive())
        # Sampling at every snapshot, writing files and reading the status do not change the training.
        assert_equals_reference(first, reference)
        assert records(second.events()) != records(first.events())
        status = first.status()
        assert replace(status, seconds=None, elapsed=None, peak_bytes=None) == Status(
            "completed", STEPS, STEPS, val_loss=first.curve().best_val_loss
        )
        assert 0 < status.seconds < status.elapsed
        assert {s.step for s in first.snapshots()} <= {
            s.step for s in first.samples()
        }  # replaced best snapshots are deleted
        for sample in first.samples():
            assert len(sample.text) == training.SAMPLE_LENGTH and sample.prompt == ""
        assert sum(s.best for s in first.snapshots()) == 1 and first.snapshot().step == STEPS
        assert load_model(first.snapshot(0).path).info.step == 0
        assert len(first.resume_files()) == 2
        assert (first.folder / run_files.LOG).read_text() == ""

    def test_work_passes_every_event_to_the_callback(self, make, corpora: CorpusStore, reference) -> None:
        run, seen = make(), []
        status = work(run, corpora.root, seen.append)
        assert status.state == "completed" and seen == run.events()
        assert_equals_reference(run, reference)
        with pytest.raises(InputError, match="completed"):
            work(run, corpora.root)

    def test_only_one_process_can_train_a_run(self, make, corpora: CorpusStore) -> None:
        run = make()
        with liveness.Heartbeat(run.folder):
            with pytest.raises(InputError, match="another process"):
                work(run, corpora.root)
            late = subprocess.run(
                worker_command(run.folder, corpora.root), env=worker_environment(), capture_output=True, text=True
            )
            assert (late.returncode, late.stderr.count("\n")) == (2, 1) and "another process" in late.stderr
        assert run.status().state == "queued" and run.events() == []


class TestResuming:
    @pytest.mark.parametrize("step", [0, 1, 20, STEPS - 1])
    def test_a_paused_and_resumed_run_is_bit_identical(
        self, make, corpora: CorpusStore, reference, monkeypatch, step: int
    ) -> None:
        run = make()
        status = interrupt(run, corpora, "pause", step, monkeypatch)
        assert (status.state, status.step, status.requested, status.reason) == ("paused", step, "", "")
        assert list((run.folder / run_files.CONTROL).iterdir()) == []
        if step:
            assert run.resume_files()[0].name == f"resume_{step:08d}.safetensors"
        work(run, corpora.root)
        assert_equals_reference(run, reference)

    def test_a_run_paused_many_times_is_bit_identical(self, make, corpora: CorpusStore, reference, monkeypatch) -> None:
        run, draw = make(), random.Random(2)
        while run.status().state != "completed":
            interrupt(run, corpora, "pause", draw.randrange(12), monkeypatch)
        assert_equals_reference(run, reference)

    @pytest.mark.parametrize("precision", ["float32", "bf16"])
    def test_a_resumed_run_keeps_its_calibrated_settings(
        self, make, corpora: CorpusStore, monkeypatch, precision: str
    ) -> None:
        other = "float32" if precision == "bf16" else "bf16"
        runs = [make(threads="auto", precision="auto") for _ in range(2)]
        found = {"precision": precision, "threads": 1, "seconds": 0.001}
        monkeypatch.setattr(calibration, "cached_results", lambda: {calibration_key(runs[0]): found})
        work(runs[0], corpora.root)
        interrupt(runs[1], corpora, "pause", 20, monkeypatch)
        found |= {"precision": other, "threads": 2}  # as if a new calibration had given another result
        assert work(runs[1], corpora.root).reason == ""
        starts = [e for e in runs[1].events() if isinstance(e, events.Start)]
        assert [(e.precision, e.threads) for e in starts] == [(precision, 1)] * 2
        assert records(runs[1].events()) == records(runs[0].events())

    def test_resuming_on_another_machine_is_reported(self, make, corpora: CorpusStore, monkeypatch) -> None:
        run = make(threads="auto", precision="float32")
        found = {"precision": "float32", "threads": 2, "seconds": 0.001}
        monkeypatch.setattr(calibration, "cached_results", lambda: {calibration_key(run): found})
        interrupt(run, corpora, "pause", 3, monkeypatch)
        monkeypatch.setattr(training, "available_cpus", lambda: 1)
        monkeypatch.setattr(train_module, "device_name", lambda device: "another processor")
        here = calibration.device_name(torch.device("cpu"))
        status = work(run, corpora.root)
        assert (status.state, status.reason) == (
            "completed",
            f"Resumed with threads 1 (before: 2), machine another processor (before: {here}), "
            "so the curve may differ in the last digits.",
        )

    def test_a_run_resumed_without_its_attention_kernel_is_reported(
        self, make, corpora: CorpusStore, monkeypatch
    ) -> None:
        if not is_available(4):
            pytest.skip("needs a C compiler")
        run = make(precision="float32", threads=1)
        interrupt(run, corpora, "pause", 3, monkeypatch)
        monkeypatch.setattr(training, "is_available", lambda head_dim: False)
        status = work(run, corpora.root)
        assert (status.state, status.reason) == (
            "completed",
            "Resumed with attention_kernel pytorch (before: compiled), so the curve may differ in the last digits.",
        )

    def test_a_run_resumed_after_a_crash_and_a_torn_line_is_bit_identical(
        self, make, corpora: CorpusStore, reference
    ) -> None:
        run = make()

        def crash(event: events.Event) -> None:
            if event.step >= 25:
                raise SystemExit("as if killed")

        work(run, corpora.root, crash)
        write_status(run.folder, "running", step=0)
        assert run.status().state == "lost"
        (run.folder / ".checkpoint_00000030.safetensors.1.part").touch()
        with open(run.folder / run_files.METRICS, "a") as file:
            file.write('{"type": "step", "step": 27, "lo')
        work(run, corpora.root)
        assert_equals_reference(run, reference)
        assert not list(run.folder.glob(".*.part"))

    def test_a_damaged_resume_file_is_skipped_and_reported(
        self, make, corpora: CorpusStore, reference, monkeypatch
    ) -> None:
        run = make()
        interrupt(run, corpora, "pause", 25, monkeypatch)
        newest = run.resume_files()[0]
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
        status = work(run, corpora.root)
        assert status.reason == "resume_00000025.safetensors was damaged, so training resumed from an older state."
        assert events.Resume(21) in run.events()
        assert_equals_reference(run, reference)

    def test_a_run_without_resume_files_starts_from_the_beginning(
        self, make, corpora: CorpusStore, reference, monkeypatch
    ) -> None:
        run = make()
        interrupt(run, corpora, "pause", 25, monkeypatch)
        for path in run.resume_files():
            path.unlink()
        work(run, corpora.root)
        assert_equals_reference(run, reference)


class TestFinalStates:
    def test_a_stopped_run_keeps_its_results_and_can_be_resumed(
        self, make, corpora: CorpusStore, reference, monkeypatch
    ) -> None:
        run = make()
        status = interrupt(run, corpora, "stop", 25, monkeypatch)
        assert (status.state, status.step) == ("stopped", 25)
        assert run.events()[-1] == events.End(25, "stopped")
        kept = run.snapshot()
        assert kept.step == 25 and kept.val_loss is not None
        final = load_model(run.folder / "checkpoint_final.safetensors").info
        assert (final.step, final.val_loss) == (25, kept.val_loss)
        work(run, corpora.root)
        assert run.status().state == "completed"
        planned = [r for r in records(run.events()) if r["step"] != 25]
        assert planned == reference[0]

    def test_a_killed_run_resumes_from_its_checkpoint_and_sigterm_pauses_it(self, make, launcher: Launcher) -> None:
        run = make(num_steps=100_000, checkpoint_interval=20)
        launcher.start(run.id)
        until(lambda: run.status().step >= 60)
        os.kill(liveness.owner_pid(run.folder) or 0, signal.SIGKILL)
        until(lambda: run.status().state == "lost", seconds=5)
        reached = run.status().step
        launcher.resume(run.id)
        until(lambda: run.status().state == "running" and any(isinstance(e, events.Resume) for e in run.events()))
        (resumed,) = (e.step for e in run.events() if isinstance(e, events.Resume))
        assert reached - 20 <= resumed <= reached + 3
        until(lambda: run.status().step > reached)
        os.kill(liveness.owner_pid(run.folder) or 0, signal.SIGTERM)
        until(lambda: not run.alive(), seconds=10)
        status = run.status()
        assert status.state == "paused"
        assert status.reason == "The worker process was terminated and saved its state first."
        assert run.resume_files()[0].name == f"resume_{status.step:08d}.safetensors"

    def test_a_hanging_step_is_aborted_after_the_grace_period(self, make, store) -> None:
        run = make()
        slow = """
import sys, time, types
from nanollm.runs.process import worker
class Training:
    def __init__(self, *_, **__): pass
    def execute(self, between_steps): time.sleep(600)
sys.modules["nanollm.runs.process.training"] = types.SimpleNamespace(Training=Training)
worker.GRACE_SECONDS = 0.2
worker.main()
"""
        child = subprocess.Popen([sys.executable, "-c", slow, str(run.folder)], env=worker_environment())
        until(lambda: run.status().state == "running")
        time.sleep(0.2)
        child.terminate()
        assert child.wait(timeout=120) == 0
        assert run.status().state == "paused" and "ended before it could save" in run.status().reason

    def test_a_far_too_high_learning_rate_ends_as_diverged(self, make, corpora: CorpusStore) -> None:
        run = make(learning_rate=1e6, warmup_steps=0, grad_clip=0.0)
        status = work(run, corpora.root)
        assert status.state == "diverged" and "learning_rate" in status.reason and status.step < STEPS
        for snapshot in run.snapshots():
            load_model(snapshot.path)

    def test_a_full_disk_pauses_the_run_and_no_result_is_lost(
        self, make, corpora: CorpusStore, reference, monkeypatch
    ) -> None:
        run = make()
        keep = training.write_checkpoint

        def refuse(folder, event, *rest) -> None:
            if event.step >= 14:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/path")
            keep(folder, event, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(training, "write_checkpoint", refuse)
            patch.setattr(
                control.traceback, "print_exc", lambda: refuse(None, events.Event(14))
            )  # the log cannot be written either
            status = work(run, corpora.root)
        assert status.state == "paused"
        assert status.reason == (
            "The run folder could not be written (No space left on device): free disk space, then resume to continue "
            "from step 7."
        )
        work(run, corpora.root)
        assert_equals_reference(run, reference)

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            (MemoryError(), "Out of memory: use a smaller batch_size or a smaller model."),
            (RuntimeError("can't allocate memory: you tried to allocate 9 bytes"), "Out of memory: "),
            (ZeroDivisionError("secret"), "An internal error occurred (details in worker.log): resume "),
        ],
    )
    def test_an_error_during_training_gives_a_message_without_details(
        self, make, corpora: CorpusStore, error: Exception, sentence: str, capfd
    ) -> None:
        run = make()

        def fail(event: events.Event) -> None:
            raise error

        status = work(run, corpora.root, fail)
        assert status.state == "failed" and status.reason.startswith(sentence) and "secret" not in status.reason
        assert "Traceback" in capfd.readouterr().err  # for worker.log
        assert not run.alive()

    def test_a_missing_or_too_short_text_is_reported(self, make, store, corpora: CorpusStore, corpus) -> None:
        with pytest.raises(InputError, match="2,700 characters"):
            store.create(settings={**TINY, "context_length": 4000}, corpus=corpus)
        assert store.list() == []
        run = make()
        corpora.delete(corpus.sha256)
        status = work(run, corpora.root)
        assert (status.state, status.reason[:28]) == ("failed", "This text is no longer here:")

    def test_a_failing_sample_does_not_end_the_run(self, make, corpora: CorpusStore, reference, monkeypatch) -> None:
        def fail(*_, **__) -> str:
            raise ValueError("sampling failed")

        monkeypatch.setattr(training, "generate_text", fail)
        run = make()
        work(run, corpora.root)
        assert run.samples() == []
        assert_equals_reference(run, reference)


def test_the_worker_module_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, nanollm.runs.process.worker; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_baselines_are_known_from_the_first_step(make, store, corpora: CorpusStore, corpus) -> None:
    run, known = make(validation_fraction=0.2, num_steps=3), []
    assert run.baselines is None
    work(run, corpora.root, lambda event: known.append(run.baselines))
    assert set(known) == {corpora.baselines(corpus.sha256, 0.2)}
    # A fork keeps the parent's vocabulary, so its uniform baseline counts the parent's characters.
    part = corpora.add_text("the end of the sea " * 20, "few characters")
    continued = store.fork(run, corpora=corpora, settings={}, corpus=part, queued=False)
    work(continued, corpora.root)
    assert continued.baselines.uniform == run.baselines.uniform > corpora.baselines(part.sha256, 0.2).uniform
    (run.folder / run_files.BASELINES).write_text("{}")
    assert run.baselines is None
