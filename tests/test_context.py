"""What the tabs share: loaded models, the selection as it comes from a browser, and failures as sentences."""

from __future__ import annotations

import os
from threading import Thread

import gradio as gr
import pytest

from nanollm.checkpoint import save_checkpoint, snapshot_name
from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from playground.context import DEFECT, Context, Models, chosen, polite, sentence
from playground.settings import Settings
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


def test_models_load_once_and_are_given_up_in_turn(run):
    models = Models(RunStore(run.folder.parent), room=1)
    first = models.get(run.id, 0)
    assert models.get(run.id, 0) is first
    assert models.get(run.id, None).info.step == 5
    assert models.get(run.id, 0) is not first


def test_a_file_written_anew_is_loaded_anew(run):
    models = Models(RunStore(run.folder.parent))
    before = models.get(run.id, 0).model.embedding.weight.clone()
    save(run.folder, 0, seed=1)
    path = run.folder / snapshot_name(0)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))  # file systems with coarse clocks
    assert not before.equal(models.get(run.id, 0).model.embedding.weight)


def test_what_is_gone_is_said_in_a_sentence(run):
    models = Models(RunStore(run.folder.parent))
    _, snapshot = models.find(run.id, 5)
    snapshot.path.unlink()
    for ask in (lambda: models.at(snapshot), lambda: models.get(None, None), lambda: models.get("../..", None)):
        with pytest.raises(InputError, match=r"\.$|choose"):
            ask()


@pytest.mark.parametrize("odd", [None, 3, "run", [], {}, {"run": 5, "step": "3"}, {"run": None, "step": True}])
def test_an_odd_selection_counts_as_nothing_chosen(odd):
    assert chosen(odd) == (None, None)


def test_a_selection_names_run_and_step():
    assert chosen({"run": "a", "step": 3}) == ("a", 3)
    assert chosen({"run": "a", "step": None}) == ("a", None)


def test_failures_become_sentences(caplog):
    @polite
    def refuses():
        raise InputError("Choose <b>another</b> one.")

    @polite
    def breaks():
        yield 1
        raise RuntimeError("/secret/path")

    with pytest.raises(gr.Error, match="Choose &lt;b&gt;another"):
        refuses()
    parts = breaks()
    assert next(parts) == 1
    with pytest.raises(gr.Error) as raised:
        next(parts)
    assert raised.value.message == DEFECT
    assert "/secret/path" in caplog.text  # for the server's log only
    assert sentence(InputError("Plain.")) == "Plain."


def test_a_text_stays_while_a_run_is_being_made_of_it(tmp_path):
    ctx = Context.open(Settings(home=tmp_path))
    text = ctx.corpora.add_text("the cat sat on the mat. " * 100, "cats")
    refusals: list[str] = []

    def delete() -> None:
        try:
            ctx.delete_text(text.sha256)
        except InputError as error:
            refusals.append(str(error))

    deleting = Thread(target=delete)
    with ctx.making:
        deleting.start()
        deleting.join(0.1)
        ctx.store.create(settings={}, corpus=ctx.corpora.get(text.sha256), preset="nano", title="of cats")
    deleting.join(10)
    assert refusals and "of cats" in refusals[0] and ctx.corpora.get(text.sha256) == text
