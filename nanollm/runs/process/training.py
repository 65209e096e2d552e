"""Trains one run folder: consumes the events of train(), saves its results, and stops between steps on request."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from nanollm.data.corpus import CorpusStore
from nanollm.data.dataset import Dataset
from nanollm.data.ngrams import measure_baselines
from nanollm.errors import InputError
from nanollm.explain.ablation import measure_means, save_means
from nanollm.inference.generate import generate_text
from nanollm.model import TransformerLanguageModel
from nanollm.runs import run_files
from nanollm.runs.metrics_log import Metrics
from nanollm.runs.process.control import Interrupted, Outcome, log_traceback
from nanollm.runs.process.ranks import broadcast_run, shared_settings, synchronized
from nanollm.runs.record import Run
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import load_checkpoint, load_model
from nanollm.train.checkpoint_file import FINAL_NAME, resume_name, snapshot_name
from nanollm.train.compiled_attention import is_available
from nanollm.train.device import available_cpus, best_device, free_memory, random_state
from nanollm.train.distributed import SINGLE_PROCESS, Ranks
from nanollm.train.events import Calibration, Checkpoint, End, Event, Resume, Sample, Start
from nanollm.train.loop import TrainState, final_evaluation, measure_losses, set_seed, train, write_checkpoint
from nanollm.train.memory import require_memory

SAMPLE_LENGTH = 160
_CHUNK = 2**20  # ids remapped at a time: numpy needs 8 bytes per id for the lookup
_UNREADABLE = "unreadable_"
_SNAPSHOTS = ("snapshot", "best")


class Training:
    """Trains a run in this process, from its newest resume file or step 0, until it ends or is interrupted."""

    def __init__(
        self,
        run: Run,
        corpora: Path | str,
        on_event: Callable[[Event], None],
        say: Callable[[str], None],
        ranks: Ranks = SINGLE_PROCESS,
        began: float | None = None,
    ) -> None:
        """`on_event` receives every event after it was written; `say` receives remarks for the run's status.

        The run's elapsed time starts at `began`, a time.monotonic() (default: now).

        Raises InputError if the text is missing or does not match the run, if the parent checkpoint is damaged, or if
        memory does not suffice.
        """
        began = time.monotonic() if began is None else began
        self.run = run
        self._on_event = on_event
        self._add_remark = say
        self._ranks = ranks
        self._corpora = CorpusStore(corpora)
        tokenizer, ids = self._corpora.encoded(str(run.corpus.get("sha256")))
        self._tokenizer = load_model(run.folder / run_files.PARENT).tokenizer if run.parent else tokenizer
        self._ids = _remap_ids(ids, tokenizer, self._tokenizer)
        self._written_alike = tokenizer.characters == self._tokenizer.characters
        if self._tokenizer.vocab_size != run.model_config.vocab_size:
            raise InputError("The text does not match this run's vocabulary: start a new run.")
        self._first = next((e for e in run.events() if isinstance(e, Start)), None)
        self._config = run.train_config
        if self._first:  # keep what "auto" was resolved to at the first start, so that resuming is bit-identical
            chosen = self._config.threads != "auto"
            threads = self._first.threads if chosen else min(self._first.threads, available_cpus())
            kernel = self._first.attention_kernel
            if kernel == "compiled" and not is_available(run.model_config.head_dim):
                kernel = "pytorch"
            self._config = replace(
                self._config, precision=self._first.precision, threads=threads, attention_kernel=kernel
            )
        # Check again: the run may have been created on a machine with more memory.
        require_memory(run.model_config, self._config, free_memory(best_device()))
        if ranks != SINGLE_PROCESS:
            self._config = shared_settings(run.model_config, self._config)
        self._resumed_from: Path | None = None
        self.state = self._load_resume_state() or self._initial_state()
        self.state.stopwatch.restart(at=began)

    def execute(self, between_steps: Callable[[], None]) -> Outcome:
        """Train until the end, or until `between_steps` raises Interrupted. Raises OSError."""
        ids = Dataset.from_ids(self._ids, self._config.validation_fraction)
        data = ids.with_hook(synchronized(self.state, self._config.log_interval, between_steps))
        broadcast_run(self.state, self._config, self._ids, self._resumed_from)
        self._held_out = ids.val if len(ids.val) > 1 else ids.train
        self._save_baselines(data)
        with Metrics(self.run.folder / run_files.METRICS) as self._metrics:
            if self._metrics.begun:
                # -1 discards all events: step 0 will be recorded again.
                self._record(Resume(self.state.step or -1))
            self.state.stopwatch.lap("start")
            try:
                for event in train(self.state, data, self._config):
                    self._handle(event)
                    if isinstance(event, Calibration):
                        between_steps()
                    if isinstance(event, End):
                        return self._outcome(event.reason, _DIVERGED if event.reason == "diverged" else "")
            except Interrupted as interrupted:
                return self._interrupt(interrupted.request, data)
        raise AssertionError("train() ends with an End event")

    def _load_resume_state(self) -> TrainState | None:
        """The state from the newest intact resume file; damaged files are renamed and reported."""
        for path in self.run.resume_files():
            try:
                state = TrainState.load(path, self._config, best_device(), self._ranks)
                if state.model.config != self.run.model_config:
                    raise InputError(f"{path.name} is of another model.")
            except InputError:
                log_traceback()
                # Renamed, so that it does not count as one of the two newest files to keep.
                path.rename(path.with_name(_UNREADABLE + path.name))
                self._add_remark(f"{path.name} was damaged, so training resumed from an older state.")
                continue
            self._resumed_from = path
            return state
        return None

    def _initial_state(self) -> TrainState:
        """The state before the first step, with random weights or those of the parent."""
        set_seed(self._config.seed)
        model = TransformerLanguageModel.from_config(self.run.model_config)
        if self.run.parent:
            load_checkpoint(self.run.folder / run_files.PARENT, model)
        return TrainState.new(model.to(best_device()), self._config, self._ranks)

    def _save_baselines(self, data: Dataset) -> None:
        """Save the n-gram baselines once per run. Errors do not interrupt training."""
        if self.run.baselines is not None:
            return
        if self._written_alike:
            baselines = self._corpora.baselines(str(self.run.corpus.get("sha256")), self._config.validation_fraction)
        else:  # measured with the parent's vocabulary
            baselines = measure_baselines(data.train, data.val, self._tokenizer.vocab_size)
        with suppress(OSError):
            run_files.write_json(self.run.folder / run_files.BASELINES, asdict(baselines))

    def _handle(self, event: Event) -> None:
        """Save the checkpoint that an event announces, then log the event, so that every logged file exists."""
        if isinstance(event, Checkpoint):
            write_checkpoint(self.run.folder, event, self.state, self._config, self._tokenizer)
        if isinstance(event, Start):
            self._compare_with_first(event)
        self._record(event)
        if isinstance(event, Checkpoint):
            self._metrics.sync()
            if event.kind in _SNAPSHOTS:
                self._write_sample()
                self._save_means(event)

    def _record(self, event: Event) -> None:
        self._metrics.append(event)
        self._on_event(event)

    def _write_sample(self) -> None:
        """Log a text sample of the current model. Does not affect training; errors do not interrupt it."""
        model = self.state.model.eval()  # train() restores mode and random state
        self.state.stopwatch.lap("files")
        try:
            text = snapshot_sample(model, self._tokenizer, self._config.seed)
        except Exception:
            log_traceback()
            return
        self.state.stopwatch.lap("samples")
        self._record(Sample(self.state.step, "", text))

    def _save_means(self, event: Checkpoint) -> None:
        """Save mean component outputs beside a snapshot, so that ablation works even if the text is deleted later.

        Does not affect training; errors do not interrupt it.
        """
        try:
            if event.replaces:
                run_files.means_path(self.run.folder / event.replaces).unlink(missing_ok=True)
            path = run_files.means_path(self.run.folder / event.file)
            save_means(path, measure_means(self.state.model, self._held_out))
        except Exception:
            log_traceback()

    def _interrupt(self, request: str, data: Dataset) -> Outcome:
        """Save a resume file; for "stop" also evaluate and save a final snapshot.

        A diverged state is not saved, so that earlier files remain usable.
        """
        device = self.state.model.embedding.weight.device
        self.state.global_random = random_state(device)  # as train() does before it yields
        step = self.state.step
        if not self.state.is_finite():
            self._record(End(step, "diverged", self.state.stopwatch.rounded()))
            return self._outcome("diverged", _DIVERGED)
        if step:  # at step 0, the seed reproduces the state
            self._handle(Checkpoint(step, resume_name(step), "resume"))
        if request == "pause":
            return self._outcome("paused")
        if step:
            self._record(measure_losses(self.state, data, self._config))  # in addition to the evaluation schedule
            for event in final_evaluation(self.state, data, self._config):
                self._record(event)
            self._handle(Checkpoint(step, snapshot_name(step)))
        self._handle(Checkpoint(step, FINAL_NAME, "final"))
        self._record(End(step, "stopped", self.state.stopwatch.rounded()))
        return self._outcome("stopped")

    def _compare_with_first(self, start: Start) -> None:
        """Report differences to the first start that prevent a bit-identical continuation."""
        facts = ("torch", "threads", "device", "machine", "precision", "world_size", "attention_kernel")
        known = [
            f for f in facts if self._first and getattr(self._first, f)
        ]  # older versions did not record the machine
        differing = [f for f in known if getattr(self._first, f) != getattr(start, f)]
        if differing:
            listed = ", ".join(f"{f} {getattr(start, f)} (before: {getattr(self._first, f)})" for f in differing)
            redrawn = "world_size" in differing and self.run.model_config.dropout > 0
            how = (
                "differs from here on: dropout uses different random numbers"
                if redrawn
                else "may differ in the last digits"
            )
            self._add_remark(f"Resumed with {listed}, so the curve {how}.")

    def _outcome(self, state: str, reason: str = "") -> Outcome:
        stopwatch = self.state.stopwatch
        seconds, elapsed = round(stopwatch.seconds["steps"], 4), round(stopwatch.elapsed, 4)
        return Outcome(state, self.state.step, reason, seconds, elapsed, self.state.best_val_loss)


def snapshot_sample(model: TransformerLanguageModel, tokenizer: CharTokenizer, seed: int) -> str:
    """The sample logged for a snapshot: starts at a new line, always with the same random numbers."""
    with np.errstate(all="ignore"):  # a diverging model may overflow
        return generate_text(model, tokenizer, "", SAMPLE_LENGTH, temperature=0.8, top_k=40, seed=seed)


def _remap_ids(ids: np.ndarray, written: CharTokenizer, read: CharTokenizer) -> np.ndarray:
    """Convert ids (N,) from one tokenizer to another. Raises InputError for an unknown character."""
    if written.characters == read.characters:
        return ids  # unchanged, because they may be memory-mapped
    table = read.encode("".join(written.characters))  # (V,): the new id of each old one
    translated = np.empty(len(ids), dtype=table.dtype)
    for start in range(0, len(ids), _CHUNK):
        translated[start : start + _CHUNK] = table[ids[start : start + _CHUNK]]
    return translated


_DIVERGED = "The loss diverged; earlier snapshots are kept. Start a new run with a smaller learning_rate."
