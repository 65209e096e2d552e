"""Models: a cache of loaded models, bounded in memory and invalidated when a file changes."""

from __future__ import annotations

import os

import pytest

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import save_checkpoint
from nanollm.train.checkpoint_file import snapshot_name
from playground.services.models import OVERHEAD, Models
from tests import run_folders
from tests.conftest import random_model

TOKENIZER = CharTokenizer("abcd")
CONFIG = ModelConfig(vocab_size=4, embedding_dim=8, num_layers=1, ffn_hidden_dim=8, context_length=8)


def save(folder, step: int, seed: int = 0) -> None:
    save_checkpoint(folder / snapshot_name(step), random_model(CONFIG, seed), step=step, tokenizer=TOKENIZER)


@pytest.fixture
def run(tmp_path):
    run = run_folders.make(RunStore(tmp_path))
    save(run.folder, 0)
    save(run.folder, 5)
    run_folders.write(run, run_folders.step(5))
    return run


def test_models_are_loaded_once_and_evicted_beyond_the_capacity(run):
    store = RunStore(run.folder.parent)
    for room, kept in ((1, False), (3 * OVERHEAD, True)):
        models = Models(store, room)
        first = models.get(run.id, 0)
        assert models.get(run.id, 0) is first
        assert models.get(run.id, None).info.step == 5
        assert (models.get(run.id, 0) is first) is kept


def test_a_replaced_file_is_loaded_again(run):
    models = Models(RunStore(run.folder.parent))
    before = models.get(run.id, 0).model.embedding.weight.clone()
    save(run.folder, 0, seed=1)
    path = run.folder / snapshot_name(0)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))  # file systems with coarse clocks
    assert not before.equal(models.get(run.id, 0).model.embedding.weight)


def test_missing_snapshots_and_runs_give_a_message(run):
    models = Models(RunStore(run.folder.parent))
    _, snapshot = models.find(run.id, 5)
    snapshot.path.unlink()
    for load in (lambda: models.at(snapshot), lambda: models.get(None, None), lambda: models.get("../..", None)):
        with pytest.raises(InputError, match=r"\.$"):
            load()
