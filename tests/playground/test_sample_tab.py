"""Sample without a browser: what a question may be, what a piece holds, and frames that are computed once."""

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
ASKED = {"run": None, "step": None, "prompt": "the ", "temperature": 0.8, "top_k": 40, "max_length": 50, "seed": 42}


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
    """(probability, rank, candidates as (id, probability)) of each character of a piece, read as the browser does."""
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
def test_what_is_packed_is_what_is_read(vocab_size: int, length: int, spread: float, seed: int) -> None:
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
        told = candidates[row, : len(listed)].sum()
        most = min(CANDIDATES, int((candidates[row] > 0).sum()))
        assert len(listed) == most or (told > 1 - OMITTED_PROBABILITY - 1e-9 and len(listed) >= MIN_CANDIDATES)


def test_a_text_in_pieces_is_the_text_of_the_core(loaded: LoadedModel) -> None:
    generation = Generation(loaded, GenerationRequest.of(ASKED))
    values = [generation.value() for _ in run_streams([generation.stream])]
    head, *pieces = values[-1]
    dials = {name: ASKED[name] for name in ("max_length", "temperature", "top_k", "seed")}
    assert "".join(piece["text"] for piece in pieces) == generate_text(loaded.model, loaded.tokenizer, "the ", **dials)
    assert head["finished"] and head["prompt"] == 4
    for earlier, later in pairwise(values):  # nothing that was sent is sent again
        assert later[1 : len(earlier)] == earlier[1:]


def test_every_update_says_whether_stop_can_be_pressed(ctx: Context, run: Run) -> None:
    """The page merges updates that come at once, and an earlier write's last one may come late: see streaming.py."""
    *under_way, over = (update[4].interactive for update in _generate(ctx, "visitor", {**ASKED, "run": run.id}))
    assert all(under_way) and not over


def test_what_was_written_is_shaded_as_if_it_had_been_read(loaded: LoadedModel) -> None:
    generation = Generation(loaded, GenerationRequest.of(ASKED))
    for _ in run_streams([generation.stream]):
        pass
    size, whole = loaded.tokenizer.vocab_size, "".join(piece["text"] for piece in generation.value()[1:])
    written = [row for piece in generation.value()[1:] for row in unpacked(piece, size)]
    judged = unpacked(pack_scored(loaded.tokenizer, whole, score_text(loaded, whole)), size)
    assert [p for p, *_ in written] == pytest.approx([p for p, *_ in judged], rel=5e-3)
    bits = surprisal(loaded.model, loaded.tokenizer, whole).bits
    assert [-np.log2(p) for p, *_ in written] == pytest.approx(bits.tolist(), abs=1e-2)


def test_what_was_chosen_is_kept_and_counts_towards_the_length(loaded: LoadedModel) -> None:
    generation = Generation(loaded, GenerationRequest.of({**ASKED, "prefix": "rat sat"}))
    for _ in run_streams([generation.stream]):
        pass
    head, *pieces = generation.value()
    text = "".join(piece["text"] for piece in pieces)
    assert text.startswith("the rat sat") and len(text) == 4 + 50 and head["prompt"] == 4


def test_the_same_in_python_is_the_text_that_is_shown(
    ctx: Context, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kept in ("", "rat sat"):
        question = GenerationRequest.of({**ASKED, "run": run.id, "prefix": kept})
        generation = Generation(ctx.models.get(run.id, None), question)
        for _ in run_streams([generation.stream]):
            pass
        shown = "".join(piece["text"] for piece in generation.value()[1:])
        monkeypatch.chdir(ctx.settings.home)
        exec(_python(ctx, question), {})
        assert capsys.readouterr().out == shown + "\n"


def test_what_travels_grows_with_the_text_and_not_with_its_square(loaded: LoadedModel) -> None:
    sent = []
    for length in (200, 400, 800):
        generation = Generation(loaded, GenerationRequest.of({**ASKED, "max_length": length}))
        for _ in run_streams([generation.stream]):
            generation.value()
        sent.append(len(json.dumps(generation.value())))
    assert sent[1] < 100_000
    assert sent[1] < 2.1 * sent[0] and sent[2] < 2.1 * sent[1]


def test_a_frame_is_computed_once(ctx: Context, run: Run) -> None:
    question = GenerationRequest.of({**ASKED, "run": run.id, "step": 0})
    first = run_coroutine(ctx.frames.frame(question))
    assert run_coroutine(ctx.frames.frame(question)) is first
    other = run_coroutine(ctx.frames.frame(GenerationRequest.of({**ASKED, "run": run.id, "step": 20})))
    assert other[0]["request"]["step"] == 20 and other[1:] != first[1:]


def test_a_frame_is_the_beginning_of_a_long_text(ctx: Context, run: Run, loaded: LoadedModel) -> None:
    head, *pieces = run_coroutine(ctx.frames.frame(GenerationRequest.of({**ASKED, "run": run.id, "max_length": 5000})))
    dials = {"max_length": 2 * FRAME_LENGTH, "temperature": 0.8, "top_k": 40, "seed": 42}
    text = "".join(piece["text"] for piece in pieces)
    assert len(text) == 4 + FRAME_LENGTH and head["finished"]
    assert generate_text(loaded.model, loaded.tokenizer, "the ", **dials).startswith(text)


def test_who_asks_for_many_frames_at_once_is_refused_alone(ctx: Context, run: Run) -> None:
    asking = iter(["greedy"] * 4 + ["ann"])
    frames = Frames(ctx.models, PUBLIC, lambda: next(asking), max_waiting=2)
    questions = [GenerationRequest.of({**ASKED, "run": run.id, "seed": seed}) for seed in range(5)]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*map(frames.frame, questions), return_exceptions=True)

    answers = run_coroutine(all_at_once())
    assert [isinstance(answer, InputError) for answer in answers] == [False, False, True, True, False]
    assert not frames._waiting
    with pytest.raises(InputError, match="characters in the prompt"):
        run_coroutine(frames.frame(replace(questions[0], prompt="x" * (PUBLIC.prompt + 1))))


def test_frames_that_are_kept_have_a_bound(ctx: Context, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playground.services.frames.CAPACITY", 30_000)
    frames = Frames(ctx.models, PUBLIC, str, max_waiting=2)
    for seed in range(8):
        run_coroutine(frames.frame(GenerationRequest.of({**ASKED, "run": run.id, "seed": seed})))
        assert len(json.dumps([value for value, _ in frames._cache._entries.values()])) <= 31_000


@pytest.mark.parametrize(
    "odd",
    [
        None, [], "the", {}, {**ASKED, "prompt": None}, {**ASKED, "prompt": ["the"]}, {**ASKED, "prefix": 7},
        {**ASKED, "temperature": float("nan")}, {**ASKED, "temperature": None}, {**ASKED, "top_k": True},
        {**ASKED, "max_length": -1}, {**ASKED, "seed": "42"}, {**ASKED, "prompt": "x" * (MAX_PROMPT + 1)},
    ],
    ids=str,
)  # fmt: skip
def test_an_odd_question_gets_a_sentence(odd: object) -> None:
    with pytest.raises(InputError):
        GenerationRequest.of(odd)


def test_a_question_is_the_same_after_its_way_through_a_browser() -> None:
    question = GenerationRequest.of({**ASKED, "run": "a", "step": 3, "prefix": "x", "more": "is passed over"})
    assert GenerationRequest.of(json.loads(json.dumps(question.as_dict()))) == question
    assert GenerationRequest.of({**ASKED, "run": 7, "step": True}) == GenerationRequest.of(ASKED)
