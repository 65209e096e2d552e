"""Guarantee B5: a run that runs out of memory fails alone with a message; the page keeps responding and the next queued
run trains.

And C7: models that would exceed the memory are refused before anything is allocated.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from nanollm.config import ModelConfig, TrainConfig, make_configs
from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from nanollm.runs import run_files
from nanollm.runs.process import liveness
from nanollm.runs.process.worker import work
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore
from nanollm.train import memory
from tests.serving import serve
from tests.speed import assert_within, until
from tests.tiny_runs import TINY

ADDRESS_SPACE = 2 * 2**30  # bytes of address space; torch alone needs two thirds


def test_b5_a_run_fails_if_the_memory_has_become_too_small(
    make: Callable[..., Run], corpora: CorpusStore, monkeypatch
) -> None:
    run = make()
    with monkeypatch.context() as patch:
        patch.setattr(memory, "available_bytes", lambda: 10_000_000)
        status = work(run, corpora.root)
    assert (status.state, status.step) == ("failed", 0) and run.events() == []
    needed = memory.training_bytes(run.model_config, run.train_config) / 1e6
    assert status.reason.startswith(f"Training this model needs about {needed:.0f} MB, but only 10 MB are free: choose")
    assert work(run, corpora.root).state == "completed"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of another process can be limited on Linux only")
def test_b5_a_run_out_of_memory_does_not_affect_the_page_or_the_queue(tmp_path: Path, text: str) -> None:
    import resource

    response_times: list[float] = []
    with serve(tmp_path) as page:
        client = Client(page.address, verbose=False)
        corpus = CorpusStore(tmp_path / "data" / "corpora").add_text(text[:3000], "tale.txt")

        def start(**settings: int) -> Run:
            return page.store.get(
                client.predict(corpus.sha256, "nano", {**TINY, **settings}, api_name="/start_run")["run"]
            )

        def state_of(run: Run) -> str:
            for request in (lambda: httpx.get(page.address), lambda: client.predict(api_name="/runs")):
                began = time.perf_counter()
                request()
                response_times.append(time.perf_counter() - began)
            return run.status().state

        large = start(context_length=1024, batch_size=1536)
        small = start()
        until(lambda: liveness.owner_pid(large.folder) is not None)
        resource.prlimit(liveness.owner_pid(large.folder), resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        until(lambda: state_of(large) == "failed")
        until(lambda: state_of(small) == "completed")
    assert large.status().reason == "Out of memory: use a smaller batch_size or a smaller model."
    log = (large.folder / run_files.LOG).read_text()
    assert "Traceback" in log and "allocate" in log  # worker.log has the traceback
    assert large.status().step == 0
    assert len(response_times) > 40
    assert_within(sorted(response_times)[int(0.95 * len(response_times))], 1.0)


def test_c7_random_settings_are_refused_with_a_message_or_estimated() -> None:
    draw, refused = random.Random(5), 0
    numbers = [f for f in (*fields(ModelConfig), *fields(TrainConfig)) if f.type in ("int", "int | None")]
    for _ in range(10_000):
        settings = {f.name: draw.randint(0, 300) for f in draw.sample(numbers, 4) if f.name != "vocab_size"}
        try:
            model, train = make_configs(settings, 65)
        except InputError as error:
            assert len(str(error)) < 250 and "\n" not in str(error)
            refused += 1
            continue
        assert model.embedding_dim % model.heads == 0 and train.batch_size % train.accumulation_steps == 0
        needed = memory.training_bytes(model, train)
        memory.require_memory(model, train, free=needed)
        with pytest.raises(InputError, match=r"^Training this model needs about [0-9.]+ [MG]B, but only .* are free: "):
            memory.require_memory(model, train, free=needed - 1)
    assert 2_000 < refused < 9_000  # both outcomes occurred


def test_c7_a_model_that_exhausts_memory_is_refused_before_allocation(
    make: Callable[..., Run], store: RunStore, monkeypatch
) -> None:
    monkeypatch.setattr(TransformerLanguageModel, "from_config", lambda config: pytest.fail("a model was created"))
    with pytest.raises(InputError, match=r"^Training this model needs about [0-9]+\.[0-9] GB, but only .* are free: "):
        make(embedding_dim=4096, num_layers=64, ffn_hidden_dim=16_384, batch_size=4096)
    with pytest.raises(InputError, match="embedding_dim \\(48\\) must be divisible by num_heads \\(7\\)"):
        make(embedding_dim=48, num_heads=7)
    assert store.list() == [] and not list(store.root.glob("*"))
