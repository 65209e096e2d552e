"""Training one run folder: drive train(), keep what it yields, and stop between two steps when that is asked for."""

from __future__ import annotations

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
from nanollm.train.checkpoint import FINAL_NAME, load_checkpoint, load_model, resume_name, snapshot_name
from nanollm.train.device import available_cpus, best_device, free_memory, random_state
from nanollm.train.distributed import SINGLE_PROCESS, Ranks
from nanollm.train.events import Checkpoint, End, Event, Resume, Sample, Start
from nanollm.train.loop import TrainState, measure_losses, set_seed, train, write_checkpoint
from nanollm.train.memory import require_memory

SAMPLE_LENGTH = 160
_CHUNK = 2**20  # ids translated at a time: numpy wants 8 bytes for each while it looks them up
_UNREADABLE = "unreadable_"
_SNAPSHOTS = ("snapshot", "best")


class Training:
    """A run's training in this process, from its newest resume file (or the start) to its end or an interruption."""

    def __init__(
        self,
        run: Run,
        corpora: Path | str,
        on_event: Callable[[Event], None],
        say: Callable[[str], None],
        ranks: Ranks = SINGLE_PROCESS,
    ) -> None:
        """`on_event` sees every event after it was written; `say` gets a sentence when something is worth knowing.

        Raises InputError if the text is gone or does not fit the run, if what the run continues is damaged, or if
        memory has no room for it.
        """
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
            raise InputError("The text does not have the characters that this run was made for: start a new run.")
        self._first = next((e for e in run.events() if isinstance(e, Start)), None)
        self._config = run.train_config
        if self._first:  # "auto" was settled when the run began: anything else would round or add up differently
            chosen = self._config.threads != "auto"
            threads = self._first.threads if chosen else min(self._first.threads, available_cpus())
            self._config = replace(self._config, precision=self._first.precision, threads=threads)
        # Asked again: the run may have been made where there was more.
        require_memory(run.model_config, self._config, free_memory(best_device()))
        if ranks != SINGLE_PROCESS:
            self._config = shared_settings(run.model_config, self._config)
        self._resumed_from: Path | None = None
        self.state = self._load_resume_state() or self._initial_state()

    def go(self, between_steps: Callable[[], None]) -> Outcome:
        """Train until the end, or until `between_steps` raises Interrupted. Raises OSError if the disk refuses."""
        ids = Dataset.from_ids(self._ids, self._config.validation_fraction)
        data = ids.with_hook(synchronized(self.state, self._config.log_interval, between_steps))
        broadcast_run(self.state, self._config, self._ids, self._resumed_from)
        self._held_out = ids.val if len(ids.val) > 1 else ids.train
        self._save_baselines(data)
        with Metrics(self.run.folder / run_files.METRICS) as self._metrics:
            if self._metrics.begun:
                # Before every step there is only "from the very beginning": step 0 itself will be recorded again.
                self._record(Resume(self.state.step or -1))
            try:
                for event in train(self.state, data, self._config):
                    self._handle(event)
                    if isinstance(event, End):
                        return self._outcome(event.reason, _DIVERGED if event.reason == "diverged" else "")
            except Interrupted as interrupted:
                return self._interrupt(interrupted.request, data)
        raise AssertionError("train() ends with an End event")

    def _load_resume_state(self) -> TrainState | None:
        """The state in the newest resume file that is whole; what cannot be read is put temporary and mentioned."""
        for path in self.run.resume_files():
            try:
                state = TrainState.load(path, self._config, best_device(), self._ranks)
                if state.model.config != self.run.model_config:
                    raise InputError(f"{path.name} is of another model.")
            except InputError:
                log_traceback()
                # Out of the way, or it would count as one of the two newest that are kept.
                path.rename(path.with_name(_UNREADABLE + path.name))
                self._add_remark(f"{path.name} was damaged, so an older state was taken.")
                continue
            self._resumed_from = path
            return state
        return None

    def _initial_state(self) -> TrainState:
        """The state before the first step: with new weights, or with those that the run continues from."""
        set_seed(self._config.seed)
        model = TransformerLanguageModel.from_config(self.run.model_config)
        if self.run.parent:
            load_checkpoint(self.run.folder / run_files.PARENT, model)
        return TrainState.new(model.to(best_device()), self._config, self._ranks)

    def _save_baselines(self, data: Dataset) -> None:
        """Write down, once for a run, what plain counting achieves on its text. Training goes on without it."""
        if self.run.baselines is not None:
            return
        if self._written_alike:
            baselines = self._corpora.baselines(str(self.run.corpus.get("sha256")), self._config.validation_fraction)
        else:  # judged with the vocabulary of the model that this run continues
            baselines = measure_baselines(data.train, data.val, self._tokenizer.vocab_size)
        with suppress(OSError):
            run_files.write_json(self.run.folder / run_files.BASELINES, asdict(baselines))

    def _handle(self, event: Event) -> None:
        """Write down an event; what it asks for first, so that the record never promises a file that is not there."""
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
        """Let the model write a little, as if at a new line. Changes no bit of the training, and never ends it."""
        model = self.state.model.eval()  # train() puts mode and random state back
        try:
            text = snapshot_sample(model, self._tokenizer, self._config.seed)
        except Exception:
            log_traceback()
            return
        self._record(Sample(self.state.step, "", text))

    def _save_means(self, event: Checkpoint) -> None:
        """Measure, beside a snapshot, what switching off its parts will need once the text may be gone.

        Changes no bit of the training, and never ends it: a snapshot can do without.
        """
        try:
            if event.replaces:
                run_files.means_path(self.run.folder / event.replaces).unlink(missing_ok=True)
            path = run_files.means_path(self.run.folder / event.file)
            save_means(path, measure_means(self.state.model, self._held_out))
        except Exception:
            log_traceback()

    def _interrupt(self, request: str, data: Dataset) -> Outcome:
        """Save all that going on needs; after a "stop" also what sampling needs, judged like any other snapshot.

        What has diverged meanwhile is not saved: the files before it are what one can go on from.
        """
        device = self.state.model.embedding.weight.device
        self.state.global_random = random_state(device)  # as train() does before it yields
        step = self.state.step
        if not self.state.is_finite():
            self._record(End(step, "diverged"))
            return self._outcome("diverged", _DIVERGED)
        if step:  # before the first step there is nothing that the seed does not give again
            self._handle(Checkpoint(step, resume_name(step), "resume"))
        if request == "pause":
            return self._outcome("paused")
        if step:
            self._record(measure_losses(self.state, data))  # outside of the schedule
            self._handle(Checkpoint(step, snapshot_name(step)))
        self._handle(Checkpoint(step, FINAL_NAME, "final"))
        self._record(End(step, "stopped"))
        return self._outcome("stopped")

    def _compare_with_first(self, start: Start) -> None:
        """Say so where this stretch of training cannot continue the first one bit by bit."""
        facts = ("torch", "threads", "device", "machine", "precision", "world_size")
        known = [f for f in facts if self._first and getattr(self._first, f)]  # old records lack the machine
        differing = [f for f in known if getattr(self._first, f) != getattr(start, f)]
        if differing:
            listed = ", ".join(f"{f} {getattr(start, f)} (it began with {getattr(self._first, f)})" for f in differing)
            redrawn = "world_size" in differing and self.run.model_config.dropout > 0
            how = (
                "goes another way from here: dropout draws other numbers"
                if redrawn
                else "may differ in the last digits"
            )
            self._add_remark(f"Resumed with {listed}, so the curve {how}.")

    def _outcome(self, state: str, reason: str = "") -> Outcome:
        return Outcome(state, self.state.step, reason, round(self.state.seconds, 4), self.state.best_val_loss)


def snapshot_sample(model: TransformerLanguageModel, tokenizer: CharTokenizer, seed: int) -> str:
    """What a snapshot writes for the record: as if at a new line, always with the same draws."""
    with np.errstate(all="ignore"):  # a diverging model computes nonsense, and its sample shows that well enough
        return generate_text(model, tokenizer, "", SAMPLE_LENGTH, temperature=0.8, top_k=40, seed=seed)


def _remap_ids(ids: np.ndarray, written: CharTokenizer, read: CharTokenizer) -> np.ndarray:
    """The ids (N,) of a text by one tokenizer as another one has them. Raises InputError for a character it lacks."""
    if written.characters == read.characters:
        return ids  # untouched, for they may be mapped from a file
    table = read.encode("".join(written.characters))  # (V,): the new id of each old one
    translated = np.empty(len(ids), dtype=table.dtype)
    for start in range(0, len(ids), _CHUNK):
        translated[start : start + _CHUNK] = table[ids[start : start + _CHUNK]]
    return translated


_DIVERGED = "The loss left every bound; earlier snapshots are kept. Start again with a smaller learning_rate."
