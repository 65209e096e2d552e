"""Every engine computes what the model computes, for every model there can be."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanollm.config import PRESETS, ModelConfig, make_configs
from nanollm.inference import numpy_engine
from nanollm.inference.generate import BATCH_FROM, generate, generate_many, window_start
from nanollm.inference.numpy_engine import ROWS, NumpyEngine, Weights
from nanollm.inference.sampling import Sampled
from nanollm.inference.thread_limits import Turn
from nanollm.inference.torch_engine import TorchEngine
from nanollm.inference.weight_cache import weights_of
from nanollm.model import TransformerLanguageModel
from nanollm.train.loop import TrainState
from nanollm.train.step import training_step
from tests.conftest import ROOT, random_model
from tests.strategies import model_configs

SMALL = ModelConfig(20, embedding_dim=16, num_layers=2, ffn_hidden_dim=32, context_length=16)


def recomputed(model: TransformerLanguageModel, ids: list[int]) -> np.ndarray:
    """Logits (V,) after ids, by the model's plain forward pass over the window that DESIGN settles."""
    with torch.no_grad():
        window = ids[window_start(len(ids), model.config.context_length) :]
        return model(torch.tensor([window]))[0, -1].numpy()


def texts_of(rows: Iterable[tuple[Sampled, ...]]) -> list[list[int]]:
    """The ids of each sample, from what generate_many() yields."""
    return [[sampled.id for sampled in column] for column in zip(*rows, strict=True)]


def close(logits: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


@given(config=model_configs(), data=st.data(), rows=st.sampled_from([1, 2, 3, ROWS]))
def test_the_numpy_engine_is_the_model(config: ModelConfig, data: st.DataObject, rows: int) -> None:
    model = random_model(config)
    T = config.context_length
    ids = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=T, max_size=T))
    cut = data.draw(st.integers(1, T))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numpy_engine, "ROWS", rows)  # how many it reads in one pass
        engine = NumpyEngine(Weights.of(model))
        engine.read(np.zeros(T, int))  # what was read before must leave no trace
        logits = engine.read(np.array(ids[:cut]))
        for t in range(cut, T + 1):
            close(logits, recomputed(model, ids[:t]))
            if t < T:
                logits = engine.next(ids[t])


def test_a_model_in_training_writes_without_dropout_and_trains_on() -> None:
    model, ids = random_model(replace(SMALL, dropout=0.5)), list(range(10))
    expected = recomputed(model, ids)
    model.train()
    close(TorchEngine(model).read(np.array(ids)[:, None])[0], expected)
    close(NumpyEngine(weights_of(model)).read(np.array(ids)), expected)
    assert model.training


@given(config=model_configs(), data=st.data())
def test_the_torch_engine_is_the_model_for_each_stream(config: ModelConfig, data: st.DataObject) -> None:
    model = random_model(config)
    T, B = config.context_length, data.draw(st.integers(1, 3))
    one = st.lists(st.integers(0, config.vocab_size - 1), min_size=T, max_size=T)
    texts = data.draw(st.lists(one, min_size=B, max_size=B))
    cut = data.draw(st.integers(1, T))
    engine, ids = TorchEngine(model, B), np.array(texts).T  # (T, B)
    engine.read(np.zeros((T, B), int))
    logits = engine.read(ids[:cut])
    for t in range(cut, T + 1):
        for row, text in zip(logits, texts, strict=True):
            close(row, recomputed(model, text[:t]))
        if t < T:
            logits = engine.next(ids[t].tolist())


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("name", PRESETS)
def test_they_are_at_the_presets(name: str, qk_norm: bool) -> None:
    model = random_model(make_configs({**PRESETS[name], "qk_norm": qk_norm}, 65)[0])
    for parameter in model.parameters():
        parameter.data *= 0.5
    ids = torch.randint(65, (model.config.context_length,), generator=torch.Generator().manual_seed(1)).tolist()
    ours, theirs = NumpyEngine(Weights.of(model)), TorchEngine(model)
    ours.read(np.array(ids[:20]))
    theirs.read(np.array(ids[:20])[:, None])
    for id in ids[20:]:
        logits, (torch_logits,) = ours.next(id), theirs.next([id])
    close(logits, recomputed(model, ids))
    close(torch_logits, recomputed(model, ids))


def test_a_long_window_is_read_in_pieces() -> None:
    config = ModelConfig(9, embedding_dim=8, num_layers=2, ffn_hidden_dim=8, context_length=3 * ROWS)
    model, ids = random_model(config), (np.arange(3 * ROWS) ** 2 % 9).tolist()
    engine = NumpyEngine(Weights.of(model))
    for T in (ROWS - 1, ROWS, ROWS + 1, 2 * ROWS, 3 * ROWS - 1):
        close(engine.read(np.array(ids[:T])), recomputed(model, ids[:T]))
        close(engine.next(ids[T]), recomputed(model, ids[: T + 1]))


def test_great_scores_do_not_overflow() -> None:
    """Weights as large as those of a run that is about to diverge: scores in the thousands, up and down."""
    model = random_model(SMALL)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight *= 30
    ids = list(range(16))
    engine = NumpyEngine(Weights.of(model))
    engine.read(np.array(ids[:5]))
    for t in range(5, 16):
        logits = engine.next(ids[t])
        # Attention so sharp turns a difference in the last digit of a score of thousands into one that can be seen.
        np.testing.assert_allclose(logits, recomputed(model, ids[: t + 1]), atol=1e-2, rtol=1e-2)


@given(st.integers(0, 3000), st.integers(1, 300))
def test_the_window_slides_by_halves(length: int, context_length: int) -> None:
    start = window_start(length, context_length)
    half = max(1, context_length // 2)
    assert 0 <= start <= length and start % half == 0
    assert length - start <= context_length
    assert start == 0 or length - start > context_length - half  # never shorter than it must be
    assert window_start(length + 1, context_length) - start in (0, half)


@given(config=model_configs(), data=st.data())
def test_greedy_text_equals_recomputing(config: ModelConfig, data: st.DataObject) -> None:
    """Far past the window, from prompts shorter and longer than it, and the same from both engines."""
    model = random_model(config)
    ids = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=1, max_size=2 * config.context_length + 3))
    settings = dict(max_new_tokens=3 * config.context_length + 2, temperature=0)
    written = [s.id for s in generate(model, ids, **settings)]
    assert texts_of(generate_many(model, ids, num_samples=BATCH_FROM, **settings)) == [written] * BATCH_FROM
    for id in written:
        logits = recomputed(model, ids)
        assert logits[id] >= logits.max() - 1e-4
        ids = [*ids, id]


def test_a_seed_means_the_same_text_in_both_engines() -> None:
    model = random_model(SMALL)
    alone = [[s.id for s in generate(model, [1, 2, 3], max_new_tokens=100, seed=5 + i)] for i in range(BATCH_FROM)]
    assert texts_of(generate_many(model, [1, 2, 3], num_samples=3, max_new_tokens=100, seed=5)) == alone[:3]
    assert texts_of(generate_many(model, [1, 2, 3], num_samples=BATCH_FROM, max_new_tokens=100, seed=5)) == alone
    assert len({*map(tuple, alone)}) == BATCH_FROM


def trained(model: TransformerLanguageModel) -> None:
    state = TrainState.new(model, make_configs({"warmup_steps": 1, "precision": "float32"}, 20)[1])
    training_step(model, state.optimizer, torch.tensor([[1, 2]]), torch.tensor([[2, 3]]), 1, "float32")
    model.eval()


def changed_by_hand(model: TransformerLanguageModel) -> None:
    model.norm.gain.data *= 1.5  # which torch's version counter does not see


def changed_by_numpy(model: TransformerLanguageModel) -> None:
    model.blocks[0].feed_forward.down.bias.detach().numpy()[3] += 1


def test_weights_are_laid_out_once_and_never_stale() -> None:
    model, ids = random_model(SMALL), np.array([1, 2, 3])
    laid_out = weights_of(model)
    assert weights_of(model) is laid_out
    for change in (trained, changed_by_hand, changed_by_numpy):
        logits = NumpyEngine(laid_out).read(ids)
        change(model)
        np.testing.assert_array_equal(NumpyEngine(laid_out).read(ids), logits)  # a stream that is under way
        laid_out = weights_of(model)
        assert np.abs(NumpyEngine(laid_out).read(ids) - logits).max() > 1e-3
        close(NumpyEngine(laid_out).read(ids), recomputed(model, [1, 2, 3]))
    gone = weakref.ref(laid_out)
    del model, laid_out
    gc.collect()
    assert gone() is None  # with the model go its weights


def test_threads_that_begin_together_share_one_layout() -> None:
    model, found = random_model(SMALL), []
    threads = [threading.Thread(target=lambda: found.append(weights_of(model))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len({*map(id, found)}) == 1


def test_numpy_multiplies_on_one_thread_and_torch_as_it_did() -> None:
    """In a process of its own, whose streams run beside the main thread."""
    script = """
import threading, torch
before = torch.get_num_threads()
from nanollm.inference.generate import generate
from nanollm.inference.thread_limits import Turn, numpy_blas
found = []
thread = threading.Thread(target=Turn().take, args=(lambda: found.extend(b.num_threads for b in numpy_blas()),))
thread.start(); thread.join()
assert set(found) <= {1} and torch.get_num_threads() == before, (found, torch.get_num_threads(), before)
"""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_turn_that_fails_is_over() -> None:
    turn = Turn()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            turn.take(lambda: 1 // 0)
    assert Turn().take(lambda: 5) == 5


def test_nobody_starves() -> None:
    """Eight threads that want to compute all the time. Without a line, some computed twenty times less than others."""
    counts = [0] * 8
    over = threading.Event()

    def work(own: int) -> None:
        turn = Turn()
        while not over.is_set():
            turn.take(lambda: sum(range(2000)))
            counts[own] += 1

    threads = [threading.Thread(target=work, args=(own,)) for own in range(8)]
    for thread in threads:
        thread.start()
    over.wait(1.0)
    over.set()
    for thread in threads:
        thread.join()
    assert min(counts) >= max(counts) / 10
