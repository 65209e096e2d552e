"""The Sample tab without a browser: requests, packed scores, and cached frames."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanollm.data.corpus import CorpusStore
from nanollm.errors import InputError
from nanollm.explain.surprisal import surprisal
from nanollm.inference.generate import generate_text
from nanollm.limits import PUBLIC
from nanollm.runs.process.worker import work
from nanollm.runs.store import Run
from nanollm.train.checkpoint import LoadedModel, load_model
from playground.context import Context
from playground.sample.tab import _generate, _python
from playground.services.frames import FRAME_LENGTH, Frames
from playground.services.generation import Generation, pack_scored, score_text
from playground.services.generation_request import MAX_PROMPT, GenerationRequest
from playground.services.streaming import run_streams
from playground.services.wire_format import (
    BIT_STEPS,
    CANDIDATES,
    MIN_CANDIDATES,
    NARROW,
    OMITTED_PROBABILITY,
    pack_scores,
)
from playground.settings import Settings
from tests.conftest import run_coroutine

TEXT = "the cat sat on the mat, and the rat ran.\n" * 100
REQUEST = {"run": None, "step": None, "prompt": "the ", "temperature": 0.8, "top_k": 40, "max_length": 50, "seed": 42}


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The page's services over one trained run."""
    ctx = Context.open(Settings(home=Path(tmp_path_factory.mktemp("home"))))
    corpus = CorpusStore(ctx.settings.corpora).add_text(TEXT, "cats")
    quick = {"num_steps": 20, "batch_size": 4, "context_length": 16, "eval_interval": 10}
    work(ctx.runs.create(settings=quick, corpus=corpus, preset="nano", queued=False), ctx.settings.corpora)
    return ctx


@pytest.fixture(scope="module")
def run(ctx: Context) -> Run:
    return ctx.runs.list()[0]


@pytest.fixture(scope="module")
def loaded(run: Run) -> LoadedModel:
    return load_model(run.snapshot().path)


def unpacked(packed: dict[str, str], vocab_size: int) -> list[tuple[float, int, list[tuple[int, float]]]]:
    """Unpack a chunk like the browser does: (probability, rank, candidates as (id, probability)) per character."""
    data, N = base64.b64decode(packed["scores"]), len(packed["text"])
    width = 1 if vocab_size <= NARROW else 2
    C = (len(data) - 5 * N) // (2 + width)
    numbers = np.frombuffer(data, "<u2", 2 * N + C)
    ids = np.frombuffer(data, "u1" if width == 1 else "<u2", C, 2 * (2 * N + C))
    counts = np.frombuffer(data, "u1", N, len(data) - N)
    probabilities = 2.0 ** -(numbers.astype(float) / BIT_STEPS)
    ends = counts.cumsum()
    rows = [
        list(zip(ids[e - c : e], probabilities[2 * N + e - c : 2 * N + e], strict=True))
        for e, c in zip(ends, counts, strict=True)
    ]
    return list(zip(probabilities[:N], numbers[N : 2 * N], rows, strict=True))


@given(st.integers(2, 400), st.integers(1, 12), st.floats(0.01, 3), st.integers(0, 2**31))
def test_packed_scores_round_trip(vocab_size: int, length: int, spread: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    full = random.dirichlet(np.full(vocab_size, spread), length)
    ids = (-full).argsort(axis=1)[:, :CANDIDATES]
    candidates = np.take_along_axis(full, ids, axis=1)
    ranks = random.integers(1, vocab_size + 1, length)
    probabilities = np.sort(full, axis=1)[:, ::-1][np.arange(length), ranks - 1]
    read_back = unpacked(pack_scores("x" * length, probabilities, ranks, ids, candidates, vocab_size), vocab_size)
    assert len(read_back) == length
    for row, (probability, rank, listed) in enumerate(read_back):
        assert rank == ranks[row]
        assert probability == pytest.approx(probabilities[row], rel=1e-3, abs=1e-15)
        assert [id for id, _ in listed] == ids[row, : len(listed)].tolist()
        assert [p for _, p in listed] == pytest.approx(candidates[row, : len(listed)], rel=1e-3, abs=1e-15)
        covered = candidates[row, : len(listed)].sum()
        most = min(CANDIDATES, int((candidates[row] > 0).sum()))
        assert len(listed) == most or (covered > 1 - OMITTED_PROBABILITY - 1e-9 and len(listed) >= MIN_CANDIDATES)


def test_a_streamed_text_equals_the_text_of_the_core(loaded: LoadedModel) -> None:
    generation = Generation(loaded, GenerationRequest.of(REQUEST))
    values = [generation.value() for _ in run_streams([generation.stream])]
    head, *pieces = values[-1]
    dials = {name: REQUEST[name] for name in ("max_length", "temperature", "top_k", "seed")}
    assert "".join(piece["text"] for piece in pieces) == generate_text(loaded.model, loaded.tokenizer, "the ", **dials)
    assert head["finished"] and head["prompt"] == 4
    for earlier, later in pairwise(values):  # sent chunks are not sent again
        assert later[1 : len(earlier)] == earlier[1:]


def test_every_update_contains_the_state_of_the_stop_button(ctx: Context, run: Run) -> None:
    """The page merges simultaneous updates, and the last one of an earlier stream may be late: see streaming.py."""
    *running, last = (update[4].interactive for update in _generate(ctx, "visitor", {**REQUEST, "run": run.id}))
    assert all(running) and not last


def test_generated_text_has_the_scores_of_the_same_text_read(loaded: LoadedModel) -> None:
    generation = Generation(loaded, GenerationRequest.of(REQUEST))
    for _ in run_streams([generation.stream]):
        pass
    size, whole = loaded.tokenizer.vocab_size, "".join(piece["text"] for piece in generation.value()[1:])
    generated = [row for piece in generation.value()[1:] for row in unpacked(piece, size)]
    scored = unpacked(pack_scored(loaded.tokenizer, whole, score_text(loaded, whole)), size)
    assert [p for p, *_ in generated] == pytest.approx([p for p, *_ in scored], rel=5e-3)
    bits = surprisal(loaded.model, loaded.tokenizer, whole).bits
    assert [-np.log2(p) for p, *_ in generated] == pytest.approx(bits.tolist(), abs=1e-2)


def test_kept_characters_start_the_text_and_count_towards_its_length(loaded: LoadedModel) -> None:
    generation = Generation(loaded, GenerationRequest.of({**REQUEST, "prefix": "rat sat"}))
    for _ in run_streams([generation.stream]):
        pass
    head, *pieces = generation.value()
    text = "".join(piece["text"] for piece in pieces)
    assert text.startswith("the rat sat") and len(text) == 4 + 50 and head["prompt"] == 4


def test_the_python_snippet_prints_the_displayed_text(
    ctx: Context, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kept in ("", "rat sat"):
        request = GenerationRequest.of({**REQUEST, "run": run.id, "prefix": kept})
        generation = Generation(ctx.models.get(run.id, None), request)
        for _ in run_streams([generation.stream]):
            pass
        shown = "".join(piece["text"] for piece in generation.value()[1:])
        monkeypatch.chdir(ctx.settings.home)
        exec(_python(ctx, request), {})
        assert capsys.readouterr().out == shown + "\n"


def test_sent_bytes_grow_linearly_with_the_text(loaded: LoadedModel) -> None:
    sent = []
    for length in (200, 400, 800):
        generation = Generation(loaded, GenerationRequest.of({**REQUEST, "max_length": length}))
        for _ in run_streams([generation.stream]):
            generation.value()
        sent.append(len(json.dumps(generation.value())))
    assert sent[1] < 100_000
    assert sent[1] < 2.1 * sent[0] and sent[2] < 2.1 * sent[1]


def test_a_frame_is_computed_once(ctx: Context, run: Run) -> None:
    request = GenerationRequest.of({**REQUEST, "run": run.id, "step": 0})
    first = run_coroutine(ctx.frames.frame(request))
    assert run_coroutine(ctx.frames.frame(request)) is first
    other = run_coroutine(ctx.frames.frame(GenerationRequest.of({**REQUEST, "run": run.id, "step": 20})))
    assert other[0]["request"]["step"] == 20 and other[1:] != first[1:]


def test_a_frame_is_the_start_of_a_long_text(ctx: Context, run: Run, loaded: LoadedModel) -> None:
    head, *pieces = run_coroutine(
        ctx.frames.frame(GenerationRequest.of({**REQUEST, "run": run.id, "max_length": 5000}))
    )
    dials = {"max_length": 2 * FRAME_LENGTH, "temperature": 0.8, "top_k": 40, "seed": 42}
    text = "".join(piece["text"] for piece in pieces)
    assert len(text) == 4 + FRAME_LENGTH and head["finished"]
    assert generate_text(loaded.model, loaded.tokenizer, "the ", **dials).startswith(text)


def test_only_the_visitor_with_too_many_frame_requests_is_refused(ctx: Context, run: Run) -> None:
    visitors = iter(["greedy"] * 4 + ["ann"])
    frames = Frames(ctx.models, PUBLIC, lambda: next(visitors), max_waiting=2)
    requests = [GenerationRequest.of({**REQUEST, "run": run.id, "seed": seed}) for seed in range(5)]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*map(frames.frame, requests), return_exceptions=True)

    answers = run_coroutine(all_at_once())
    assert [isinstance(answer, InputError) for answer in answers] == [False, False, True, True, False]
    assert not frames._waiting
    with pytest.raises(InputError, match="characters in the prompt"):
        run_coroutine(frames.frame(replace(requests[0], prompt="x" * (PUBLIC.prompt + 1))))


def test_the_frame_cache_is_bounded(ctx: Context, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.services.frames.CAPACITY", 30_000)
    frames = Frames(ctx.models, PUBLIC, str, max_waiting=2)
    for seed in range(8):
        run_coroutine(frames.frame(GenerationRequest.of({**REQUEST, "run": run.id, "seed": seed})))
        assert len(json.dumps([value for value, _ in frames._cache._entries.values()])) <= 31_000


@pytest.mark.parametrize(
    "value",
    [
        None, [], "the", {}, {**REQUEST, "prompt": None}, {**REQUEST, "prompt": ["the"]}, {**REQUEST, "prefix": 7},
        {**REQUEST, "temperature": float("nan")}, {**REQUEST, "temperature": None}, {**REQUEST, "top_k": True},
        {**REQUEST, "max_length": -1}, {**REQUEST, "seed": "42"}, {**REQUEST, "prompt": "x" * (MAX_PROMPT + 1)},
    ],
    ids=str,
)  # fmt: skip
def test_invalid_requests_are_rejected(value: object) -> None:
    with pytest.raises(InputError):
        GenerationRequest.of(value)


def test_a_request_round_trips_through_json() -> None:
    request = GenerationRequest.of({**REQUEST, "run": "a", "step": 3, "prefix": "x", "other": "ignored"})
    assert GenerationRequest.of(json.loads(json.dumps(request.as_dict()))) == request
    assert GenerationRequest.of({**REQUEST, "run": 7, "step": True}) == GenerationRequest.of(REQUEST)
