"""Forks: inherited settings, refusals, and training from the parent's weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nanollm.data.corpus import CorpusInfo, CorpusStore
from nanollm.errors import InputError
from nanollm.runs import run_files
from nanollm.runs.process.training import Training, _remap_ids
from nanollm.runs.process.worker import work
from nanollm.runs.record import Run, Status
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from nanollm.train import events
from nanollm.train.checkpoint import load_model, read_tensors
from tests.run_folders import checkpoint
from tests.runs.process.test_worker import STEPS, TINY, interrupt, records

TALE = "the cat sat on the mat, and the rat ran.\n" * 40
SUBSET = "a rat sat on that.\n" * 60  # uses only some of the characters of TALE, so their ids differ


class Home:
    """A folder with the run "cats" and its text."""

    def __init__(self, root: Path) -> None:
        self.store, self.corpora = RunStore(root / "checkpoints"), CorpusStore(root / "corpora")
        self.tale = self.corpora.add_text(TALE, "tale.txt")
        runs = self.store.list()
        self.parent = runs[0] if runs else self.store.create(settings=TINY, corpus=self.tale, title="cats")

    def fork(
        self, *, parent: Run | None = None, step: int | None = None, corpus: CorpusInfo | None = None, **settings: Any
    ) -> Run:
        return self.store.fork(parent or self.parent, corpora=self.corpora, settings=settings, corpus=corpus, step=step)

    def train(self, run: Run) -> Status:
        return work(run, self.corpora.root)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    home = Home(root)
    home.train(home.parent)
    return root


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Home:
    """A disposable copy in which the run is completed."""
    shutil.copytree(finished, tmp_path / "home")
    return Home(tmp_path / "home")


def evaluations(run: Run) -> list[events.Eval]:
    return [event for event in run.events() if isinstance(event, events.Eval)]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


class TestInheritance:
    def test_a_fork_inherits_everything_except_the_given_settings(self, home: Home) -> None:
        run = home.store.get(home.fork(num_steps=10, learning_rate=0.5, dropout=0.3).id)
        assert run.parent is not None
        assert (run.parent.run, run.parent.title, run.parent.step) == (home.parent.id, "cats", STEPS)
        assert (run.train_config.num_steps, run.train_config.learning_rate, run.model_config.dropout) == (10, 0.5, 0.3)
        assert run.train_config.batch_size == TINY["batch_size"] and run.corpus == home.parent.corpus
        assert (run.status().state, run.status().step, run.status().num_steps) == ("queued", 0, 10)
        assert (run.folder / run_files.PARENT).read_bytes() == home.parent.snapshot().path.read_bytes()

    def test_the_description_names_parent_and_step(self, home: Home) -> None:
        parent = home.fork(step=0).parent
        assert parent is not None and home.parent.parent is None
        assert parent.describe() == (
            "Continues “cats” from step 0 with its own learning-rate schedule, so the result differs from one longer "
            "run."
        )

    def test_the_title_names_what_differs_from_the_parent(self, home: Home) -> None:
        other = home.corpora.add_text(SUBSET, "other.txt")
        runs = [home.fork(), home.fork(), home.fork(learning_rate=0.5), home.fork(corpus=other, seed=7)]
        home.train(runs[0])
        runs.append(home.fork(parent=runs[0], num_steps=9))
        assert [run.title for run in runs] == [
            "cats, continued",
            "cats, continued · 2",
            "cats, continued with learning rate 0.5",
            "cats, continued on other.txt with seed 7",
            "cats, continued with num steps 9",
        ]

    def test_a_run_with_an_invalid_parent_entry_is_not_listed(self, home: Home) -> None:
        run = home.fork()
        about = run_files.read_json(run.folder / run_files.RUN)
        for invalid in ("cats", [], {}, {"run": "x", "title": "x", "step": "last"}):
            run_files.write_json(run.folder / run_files.RUN, {**about, "parent": invalid})
            assert [r.id for r in home.store.list()] == [home.parent.id]
            with pytest.raises(InputError, match="no run"):
                Run.open(run.folder)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_layers": 2}, r"num_layers is 2, .* keeps its parent's shape \(num_layers 1\): omit num_layers"),
            ({"context_length": 32}, "omit context_length"),
            ({"num_heads": 2}, "omit num_heads"),
            ({"position": "learned"}, "omit position"),
            ({"vocab_size": 3}, "omit vocab_size"),
            ({"learning_rat": 0.1}, "did you mean 'learning_rate'"),
            ({"learning_rate": float("nan")}, "learning_rate is nan"),
            ({"dropout": 2}, "dropout is 2"),
            ({"step": 7}, "no snapshot at step 7"),
        ],
        ids=str,
    )
    def test_invalid_arguments_give_a_message_and_leave_no_files(
        self, home: Home, arguments: dict, message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            home.fork(**arguments)
        assert {path.name for path in home.store.root.iterdir()} <= {home.parent.id, ".lock"}

    def test_repeating_the_parents_shape_is_allowed(self, home: Home) -> None:
        assert home.fork(num_layers=1, embedding_dim=16).model_config == home.parent.model_config

    def test_a_text_with_unknown_characters_is_refused(self, home: Home) -> None:
        few, many = (home.corpora.add_text(TALE + more, "more.txt") for more in ("Ж" * 3 + "é", "0123456789"))
        with pytest.raises(InputError, match=r"vocabulary \('Ж' 'é'\)"):
            home.fork(corpus=few)
        with pytest.raises(InputError, match=r"vocabulary \(('\d' ){7}'\d' and others\)"):
            home.fork(corpus=many)

    def test_a_too_short_or_missing_text_is_refused(self, home: Home) -> None:
        short = home.corpora.add_text("the cat sat.\n", "short.txt")
        with pytest.raises(InputError, match="too few for a context_length of 16"):
            home.fork(corpus=short)
        home.corpora.delete(home.tale.sha256)
        with pytest.raises(InputError, match="text is no longer here"):
            home.fork()

    def test_a_parent_without_snapshots_or_run_json_is_refused(self, home: Home) -> None:
        with pytest.raises(InputError, match="no snapshot yet"):
            home.fork(parent=home.fork())
        checkpoint(home.store.root / "bare", "final", 10)
        with pytest.raises(InputError, match="only checkpoints"):
            home.fork(parent=home.store.get("bare"))

    def test_a_damaged_snapshot_is_refused(self, home: Home) -> None:
        home.parent.snapshot(0).path.write_bytes(b"")
        with pytest.raises(InputError, match="cannot be read"):
            home.fork(step=0)


class TestTraining:
    def test_a_fork_starts_with_the_losses_of_its_parent(self, home: Home) -> None:
        run = home.fork(num_steps=12)
        assert home.train(run).state == "completed"
        begun, ended = evaluations(run)[0], evaluations(home.parent)[-1]
        assert (begun.step, begun.train_loss, begun.val_loss) == (0, ended.train_loss, ended.val_loss)
        assert run.snapshot().step == 12
        rates = [event.learning_rate for event in run.events() if isinstance(event, events.Step)]
        assert rates[0] < max(rates) == home.parent.train_config.learning_rate > rates[-1]  # warm-up, then decay

    def test_a_fork_can_start_from_an_earlier_snapshot_of_a_paused_run(self, home: Home, monkeypatch) -> None:
        paused = home.store.create(settings={**TINY, "seed": 3}, corpus=home.tale)
        interrupt(paused, home.corpora, "pause", 25, monkeypatch)
        step = paused.snapshots()[1].step
        run = home.fork(parent=paused, step=step)
        home.train(run)
        begun, then = evaluations(run)[0], next(e for e in evaluations(paused) if e.step == step)
        assert (begun.train_loss, begun.val_loss) == (then.train_loss, then.val_loss)

    def test_forks_with_different_learning_rates_share_the_start_and_diverge(self, home: Home) -> None:
        slow, fast = home.fork(num_steps=12), home.fork(num_steps=12, learning_rate=0.1)
        for run in (slow, fast):
            home.train(run)
        (first, *_, last), (other_first, *_, other_last) = evaluations(slow), evaluations(fast)
        assert first.val_loss == other_first.val_loss and last.val_loss != other_last.val_loss

    def test_another_text_is_encoded_with_the_parents_vocabulary(self, home: Home) -> None:
        other = home.corpora.add_text(SUBSET, "other.txt")
        run = home.fork(corpus=other, num_steps=12)
        training = Training(run, home.corpora.root, lambda _: None, lambda _: None)
        characters = load_model(home.parent.snapshot().path).tokenizer.characters
        assert training._tokenizer.characters == characters == tuple(sorted(set(TALE)))
        assert training._ids.dtype == np.uint8 and training._tokenizer.decode(training._ids) == SUBSET
        assert run.corpus["name"] == "other.txt" and run.corpus["vocab_size"] < run.model_config.vocab_size
        assert home.train(run).state == "completed"
        assert load_model(run.snapshot().path).tokenizer.characters == characters
        # A fork of that fork can return to the first text, because the vocabulary was kept.
        back = home.fork(parent=run, corpus=home.tale, num_steps=3)
        assert home.train(back).state == "completed"

    def test_remapping_to_a_large_vocabulary_widens_the_ids(self) -> None:
        wide = CharTokenizer(chr(0x4E00 + n) for n in range(300))
        narrow = CharTokenizer(wide.characters[290:])
        ids = narrow.encode("".join(narrow.characters) * 3)
        assert ids.dtype == np.uint8
        translated = _remap_ids(ids, narrow, wide)
        assert translated.dtype == np.uint16 and translated.tolist() == list(range(290, 300)) * 3
        assert _remap_ids(ids, narrow, narrow) is ids

    def test_a_fork_trains_after_its_parent_was_deleted(self, home: Home) -> None:
        run, ended = home.fork(num_steps=5), evaluations(home.parent)[-1]
        home.store.delete(home.parent.id)
        assert home.train(run).state == "completed"
        assert evaluations(run)[0].val_loss == ended.val_loss

    @pytest.mark.parametrize("step", [0, 1, 25])
    def test_a_paused_and_resumed_fork_is_bit_identical(self, home: Home, monkeypatch, step: int) -> None:
        other = home.corpora.add_text(SUBSET, "other.txt")
        reference, run = (home.fork(corpus=other, dropout=0.2) for _ in range(2))
        home.train(reference)
        assert interrupt(run, home.corpora, "pause", step, monkeypatch).state == "paused"
        assert home.train(run).state == "completed"
        assert records(run.events()) == records(reference.events())
        ours, theirs = (read_tensors(r.folder / "checkpoint_final.safetensors")[0] for r in (run, reference))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    @pytest.mark.parametrize("damage", [Path.unlink, flip], ids=["missing", "flipped"])
    def test_missing_or_damaged_parent_weights_fail_the_run(self, home: Home, damage: Callable) -> None:
        run = home.fork()
        damage(run.folder / run_files.PARENT)
        status = home.train(run)
        assert status.state == "failed" and "parent.safetensors" in status.reason and evaluations(run) == []
