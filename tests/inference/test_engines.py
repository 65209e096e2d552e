"""Both inference engines match the model's forward pass for every configuration; weight cache and thread limits."""

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
from nanollm.inference.generate import MIN_BATCH, generate, generate_many, window_start
from nanollm.inference.numpy_engine import CHUNK, NumpyEngine, Weights, cached_weights
from nanollm.inference.sampling import Sampled, SamplingOptions
from nanollm.inference.thread_limits import ComputeSlot
from nanollm.inference.torch_engine import TorchEngine
from nanollm.model import TransformerLanguageModel
from nanollm.train.loop import TrainState
from nanollm.train.step import training_step
from tests.conftest import ROOT, random_model
from tests.strategies import model_configs

SMALL = ModelConfig(20, embedding_dim=16, num_layers=2, ffn_hidden_dim=32, context_length=16)


def recomputed(model: TransformerLanguageModel, ids: list[int]) -> np.ndarray:
    """Logits (V,) after ids, computed by the model's forward pass over the context window."""
    with torch.no_grad():
        window = ids[window_start(len(ids), model.config.context_length) :]
        return model(torch.tensor([window]))[0, -1].numpy()


def texts_of(rows: Iterable[tuple[Sampled, ...]]) -> list[list[int]]:
    """The ids of each sample, from the rows that generate_many() yields."""
    return [[sampled.id for sampled in column] for column in zip(*rows, strict=True)]


def close(logits: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


@given(config=model_configs(), data=st.data(), chunk=st.sampled_from([1, 2, 3, CHUNK]))
def test_the_numpy_engine_matches_the_model(config: ModelConfig, data: st.DataObject, chunk: int) -> None:
    model = random_model(config)
    T = config.context_length
    ids = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=T, max_size=T))
    cut = data.draw(st.integers(1, T))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numpy_engine, "CHUNK", chunk)
        engine = NumpyEngine(Weights.from_model(model))
        engine.read(np.zeros(T, int))  # an earlier window must not affect the result
        logits = engine.read(np.array(ids[:cut]))
        for t in range(cut, T + 1):
            close(logits, recomputed(model, ids[:t]))
            if t < T:
                logits = engine.next(ids[t])


def test_a_model_in_training_mode_generates_without_dropout_and_stays_in_training_mode() -> None:
    model, ids = random_model(replace(SMALL, dropout=0.5)), list(range(10))
    expected = recomputed(model, ids)
    model.train()
    close(TorchEngine(model).read(np.array(ids)[:, None])[0], expected)
    close(NumpyEngine(cached_weights(model)).read(np.array(ids)), expected)
    assert model.training


@given(config=model_configs(), data=st.data())
def test_the_torch_engine_matches_the_model_for_each_text(config: ModelConfig, data: st.DataObject) -> None:
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
def test_both_engines_match_the_model_at_every_preset(name: str, qk_norm: bool) -> None:
    model = random_model(make_configs({**PRESETS[name], "qk_norm": qk_norm}, 65)[0])
    for parameter in model.parameters():
        parameter.data *= 0.5
    ids = torch.randint(65, (model.config.context_length,), generator=torch.Generator().manual_seed(1)).tolist()
    numpy_side, torch_side = NumpyEngine(Weights.from_model(model)), TorchEngine(model)
    numpy_side.read(np.array(ids[:20]))
    torch_side.read(np.array(ids[:20])[:, None])
    for id in ids[20:]:
        logits, (torch_logits,) = numpy_side.next(id), torch_side.next([id])
    close(logits, recomputed(model, ids))
    close(torch_logits, recomputed(model, ids))


def test_a_long_window_is_read_in_chunks() -> None:
    config = ModelConfig(9, embedding_dim=8, num_layers=2, ffn_hidden_dim=8, context_length=3 * CHUNK)
    model, ids = random_model(config), (np.arange(3 * CHUNK) ** 2 % 9).tolist()
    engine = NumpyEngine(Weights.from_model(model))
    for T in (CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 1):
        close(engine.read(np.array(ids[:T])), recomputed(model, ids[:T]))
        close(engine.next(ids[T]), recomputed(model, ids[: T + 1]))


def test_large_attention_scores_do_not_overflow() -> None:
    """Weights as large as in a diverging run: scores of several thousand with either sign."""
    model = random_model(SMALL)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight *= 30
    ids = list(range(16))
    engine = NumpyEngine(Weights.from_model(model))
    engine.read(np.array(ids[:5]))
    for t in range(5, 16):
        logits = engine.next(ids[t])
        # With scores this large, softmax amplifies float32 rounding errors: the tolerance is wider.
        np.testing.assert_allclose(logits, recomputed(model, ids[: t + 1]), atol=1e-2, rtol=1e-2)


@given(st.integers(0, 3000), st.integers(1, 300))
def test_the_window_slides_by_half_its_length(length: int, context_length: int) -> None:
    start = window_start(length, context_length)
    half = max(1, context_length // 2)
    assert 0 <= start <= length and start % half == 0
    assert length - start <= context_length
    assert start == 0 or length - start > context_length - half  # as long as the rule allows
    assert window_start(length + 1, context_length) - start in (0, half)


@given(config=model_configs(), data=st.data())
def test_cached_greedy_generation_equals_recomputing(config: ModelConfig, data: st.DataObject) -> None:
    """Far past the window, from prompts shorter and longer than the window, with both engines."""
    model = random_model(config)
    ids = data.draw(st.lists(st.integers(0, config.vocab_size - 1), min_size=1, max_size=2 * config.context_length + 3))
    options = SamplingOptions(max_length=3 * config.context_length + 2, temperature=0)
    written = [s.id for s in generate(model, ids, max_new_tokens=options.max_length, temperature=0)]
    assert texts_of(generate_many(model, ids, MIN_BATCH, options)) == [written] * MIN_BATCH
    for id in written:
        logits = recomputed(model, ids)
        assert logits[id] >= logits.max() - 1e-4
        ids = [*ids, id]


def test_a_seed_gives_the_same_text_with_both_engines() -> None:
    model = random_model(SMALL)
    options = SamplingOptions(max_length=100, seed=5)
    alone = [[s.id for s in generate(model, [1, 2, 3], max_new_tokens=100, seed=5 + i)] for i in range(MIN_BATCH)]
    assert texts_of(generate_many(model, [1, 2, 3], 3, options)) == alone[:3]
    assert texts_of(generate_many(model, [1, 2, 3], MIN_BATCH, options)) == alone
    assert len({*map(tuple, alone)}) == MIN_BATCH


def change_by_training(model: TransformerLanguageModel) -> None:
    state = TrainState.new(model, make_configs({"warmup_steps": 1, "precision": "float32"}, 20)[1])
    training_step(model, state.optimizer, torch.tensor([[1, 2]]), torch.tensor([[2, 3]]), 1, "float32")
    model.eval()


def change_data(model: TransformerLanguageModel) -> None:
    model.norm.gain.data *= 1.5  # not seen by PyTorch's version counter


def change_by_numpy(model: TransformerLanguageModel) -> None:
    model.blocks[0].feed_forward.down.bias.detach().numpy()[3] += 1


def test_weights_are_prepared_once_and_never_stale() -> None:
    model, ids = random_model(SMALL), np.array([1, 2, 3])
    weights = cached_weights(model)
    assert cached_weights(model) is weights
    for change in (change_by_training, change_data, change_by_numpy):
        logits = NumpyEngine(weights).read(ids)
        change(model)
        np.testing.assert_array_equal(NumpyEngine(weights).read(ids), logits)  # a running stream keeps its weights
        weights = cached_weights(model)
        assert np.abs(NumpyEngine(weights).read(ids) - logits).max() > 1e-3
        close(NumpyEngine(weights).read(ids), recomputed(model, [1, 2, 3]))
    reference = weakref.ref(weights)
    del model, weights
    gc.collect()
    assert reference() is None  # cached weights are released together with the model


def test_threads_that_start_together_share_the_cached_weights() -> None:
    model, found = random_model(SMALL), []
    threads = [threading.Thread(target=lambda: found.append(cached_weights(model))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len({*map(id, found)}) == 1


def test_numpy_uses_one_blas_thread_and_pytorch_keeps_its_own() -> None:
    """Checked in a fresh process and outside its main thread, where the playground generates."""
    script = """
import threading, torch
before = torch.get_num_threads()
from nanollm.inference.generate import generate
from nanollm.inference.thread_limits import ComputeSlot, numpy_blas
found = []
thread = threading.Thread(target=ComputeSlot().run, args=(lambda: found.extend(b.num_threads for b in numpy_blas()),))
thread.start(); thread.join()
assert set(found) <= {1} and torch.get_num_threads() == before, (found, torch.get_num_threads(), before)
"""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_failure_releases_the_compute_slot() -> None:
    slot = ComputeSlot()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            slot.run(lambda: 1 // 0)
    assert ComputeSlot().run(lambda: 5) == 5


def test_no_stream_starves() -> None:
    """Eight threads that always have work. Without the queue, some computed twenty times less than others."""
    counts = [0] * 8
    stop = threading.Event()

    def work(index: int) -> None:
        slot = ComputeSlot()
        while not stop.is_set():
            slot.run(lambda: sum(range(2000)))
            counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    stop.wait(1.0)
    stop.set()
    for thread in threads:
        thread.join()
    assert min(counts) >= max(counts) / 10
