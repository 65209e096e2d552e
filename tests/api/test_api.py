"""The API endpoints, called over the network with gradio_client."""

from __future__ import annotations

import ast
import math
import re
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from gradio_client import Client

from nanollm.explain.ablation import Part, measure_ablation
from nanollm.explain.attention import attention_map
from nanollm.explain.head_types import head_scores
from nanollm.explain.surprisal import surprisal
from nanollm.inference.generate import generate_text
from nanollm.train.checkpoint import load_model
from tests.conftest import ROOT
from tests.serving import Page
from tests.serving import page as page  # a fixture
from tests.test_docs import python_blocks

TEXT = "the cat sat on the mat, and the rat ran.\n" * 100
QUICK = {"num_steps": 20, "batch_size": 4, "context_length": 16, "eval_interval": 10}


@pytest.fixture(scope="module")
def client(page: Page) -> Iterator[Client]:
    client = Client(page.address, verbose=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def run(client: Client, page: Page) -> str:
    """The id of a completed run that was started through the API."""
    text = client.predict(TEXT, "cats", api_name="/corpus")
    assert (text["characters"], text["vocab_size"]) == (len(TEXT), len(set(TEXT)))
    assert sum(count for _, count in text["frequencies"]) == len(TEXT)
    assert text["sha256"] in [t["sha256"] for t in client.predict(api_name="/texts")]
    started = client.predict(text["sha256"], "nano", QUICK, api_name="/start_run")
    deadline = time.monotonic() + 3000
    while page.store.get(started["run"]).status().state != "completed":
        assert time.monotonic() < deadline, page.store.get(started["run"]).status()
        time.sleep(0.2)
    return started["run"]


def test_a_run_is_listed_with_its_snapshots(client: Client, run: str) -> None:
    row = next(row for row in client.predict(api_name="/runs") if row["id"] == run)
    assert (row["state"], row["step"], row["num_steps"]) == ("completed", 20, 20)
    assert row["steps"][0] == 0 and row["steps"][-1] == 20 and row["loss"] > 0


@pytest.mark.parametrize("step", [None, 0, 20])
def test_sample_matches_the_core(client: Client, page: Page, run: str, step: int | None) -> None:
    settings = {"max_length": 50, "temperature": 0.9, "top_k": 5, "seed": 7}
    job = client.submit(run, "the ", step, *settings.values(), api_name="/sample")
    loaded = load_model(page.store.get(run).snapshot(step).path)
    assert job.result(timeout=300) == generate_text(loaded.model, loaded.tokenizer, "the ", **settings)
    outputs = job.outputs()
    assert all(later.startswith(earlier) for earlier, later in pairwise(outputs))


def test_two_samples_are_generated_concurrently(client: Client, run: str) -> None:
    jobs = [client.submit(run, "the ", None, 20_000, api_name="/sample") for _ in range(2)]
    deadline = time.monotonic() + 300
    while not all(job.outputs() for job in jobs):
        assert not any(job.done() for job in jobs), "one sample ended before the other one started"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for job in jobs:
        job.cancel()


def test_score_matches_the_core(client: Client, page: Page, run: str) -> None:
    scored = client.predict(run, "the cat", None, 3, api_name="/score")
    loaded = load_model(page.store.get(run).snapshot().path)
    scores = surprisal(loaded.model, loaded.tokenizer, "the cat", candidates=3)
    assert scored["bits"] == pytest.approx(scores.bits.tolist(), abs=1e-3)
    assert scored["loss"] == pytest.approx(scores.bits.mean() * math.log(2), abs=1e-6)
    assert scored["ranks"] == scores.ranks.tolist()
    for rank, probability, candidates in zip(
        scored["ranks"], scored["probabilities"], scored["candidates"], strict=True
    ):
        assert [p for _, p in candidates] == sorted((p for _, p in candidates), reverse=True)
        assert rank > 3 or candidates[rank - 1][1] == pytest.approx(probability)


def test_compare_streams_all_models_concurrently(client: Client, page: Page, run: str) -> None:
    settings = {"max_length": 400, "temperature": 0.9, "top_k": 5, "seed": 7}
    job = client.submit([run, run], "the ", [0, 20], *settings.values(), api_name="/compare")
    found = job.result(timeout=300)
    assert found["caution"] == "" and [model["step"] for model in found["models"]] == [0, 20]
    for step, model in zip((0, 20), found["models"], strict=True):
        loaded = load_model(page.store.get(run).snapshot(step).path)
        assert model["text"] == generate_text(loaded.model, loaded.tokenizer, "the ", **settings)
        assert model["parameters"] == sum(weight.numel() for weight in loaded.model.parameters())
        assert model["characters_per_second"] > 0
    for earlier, later in pairwise(job.outputs()):
        texts = zip(earlier["models"], later["models"], strict=True)
        assert all(new["text"].startswith(old["text"]) for old, new in texts)
    assert all(len(model["text"]) > len("the ") for model in job.outputs()[0]["models"])  # all models start at once


def test_attention_matches_the_core(client: Client, page: Page, run: str) -> None:
    response = client.predict(run, "the cat", 2, 3, api_name="/attention")
    loaded = load_model(page.store.get(run).snapshot().path)
    weights = attention_map(loaded.model, loaded.tokenizer, "the cat").weights[1, 2]
    assert response["characters"] == list("the cat")
    assert response["weights"] == [pytest.approx(row, abs=1e-4) for row in weights.tolist()]


def test_ablation_lens_rank_and_names_match_the_core(client: Client, page: Page, run: str) -> None:
    loaded = load_model(page.store.get(run).snapshot().path)
    model, tokenizer = loaded.model, loaded.tokenizer
    off = [Part("head", 0, 1), Part("feed_forward", 1)]
    measured = client.predict(run, "the cat", [part.label for part in off], "zero", api_name="/ablation")
    found = measure_ablation(model, tokenizer, "the cat", off)
    assert measured["parts"] == [part.label for part in found.parts]
    assert measured["together"]["loss"] == pytest.approx(found.together.loss, abs=1e-4)
    assert [each["loss"] for each in measured["alone"]] == pytest.approx([each.loss for each in found.alone], abs=1e-4)

    lens = client.predict(run, "the cat", 2, api_name="/lens")
    assert sum(lens["contributions"].values()) == pytest.approx(lens["logit"], abs=1e-3)
    assert len(lens["layers"]) == loaded.info.model_config.num_layers + 1
    assert lens["character"] == max(lens["layers"][-1], key=lens["layers"][-1].get)

    ranked = client.predict(run, api_name="/rank")
    config = loaded.info.model_config
    assert len({each["head"] for each in ranked}) == config.num_layers * config.heads
    assert [each["increase"] for each in ranked] == sorted((each["increase"] for each in ranked), reverse=True)

    named = client.predict(run, TEXT, api_name="/names")
    assert named["names"] == head_scores(model, tokenizer, TEXT).names
    assert len(named["scores"][0][0]) == len(named["patterns"])


def test_runs_created_outside_of_the_page_are_listed(client: Client, page: Page) -> None:
    from nanollm.data.corpus import CorpusStore
    from nanollm.runs.process.worker import work

    corpora = CorpusStore(page.home / "data" / "corpora")
    corpus = corpora.add_text(TEXT, "cats")
    run = page.store.create(settings=QUICK, corpus=corpus, preset="nano", title="from outside", queued=False)
    work(run, corpora.root)
    assert "from outside" in [row["title"] for row in client.predict(api_name="/runs")]


@pytest.mark.parametrize(
    ("endpoint", "arguments"),
    [
        ("/corpus", ["", "empty"]),
        ("/corpus", [None, None]),
        ("/corpus", [7, 7]),
        ("/corpus", ["a\0b", "binary"]),
        ("/start_run", ["0" * 64]),
        ("/start_run", ["../../etc/passwd"]),
        ("/start_run", [None, "nano", {"num_heads": 3}]),
        ("/start_run", ["BUNDLED", "nano", {"num_heads": 3}]),
        ("/start_run", ["BUNDLED", "nano", {"batch_sise": 3}]),
        ("/start_run", ["BUNDLED", "nano", [1]]),
        ("/start_run", ["BUNDLED", "huge"]),
        ("/stop_run", ["nothing"]),
        ("/stop_run", [None]),
        ("/sample", ["nothing", "a"]),
        ("/sample", [None, None]),
        ("/sample", ["RUN", "Ж"]),
        ("/sample", ["RUN", "the", 7777]),
        ("/sample", ["RUN", "the", True]),
        ("/sample", ["RUN", "the", None, 10**9]),
        ("/sample", ["RUN", "the", None, 50, -1]),
        ("/sample", ["RUN", "the", None, 50, True]),
        ("/sample", ["RUN", "the", None, 50, 0.8, 0]),
        ("/sample", ["RUN", "the", None, 50, 0.8, 40, -1]),
        ("/score", ["RUN", ""]),
        ("/score", ["RUN", "Ж"]),
        ("/score", ["RUN", ["the"]]),
        ("/score", ["RUN", "the " * 10_000]),
        ("/score", ["RUN", "the", None, -1]),
        ("/score", ["RUN", "the", None, True]),
        ("/score", ["nothing", "the"]),
        ("/compare", ["RUN", "the"]),
        ("/compare", [["nothing"], "the"]),
        ("/compare", [[], "the"]),
        ("/compare", [[7], "the"]),
        ("/compare", [["nothing"], "the", [1, 2]]),
        ("/attention", ["RUN", ""]),
        ("/attention", ["RUN", "the", 99, 1]),
        ("/attention", ["RUN", "the", None, 1]),
        ("/attention", ["RUN", ["the"]]),
        ("/ablation", ["RUN", "the", "L1·H1"]),
        ("/ablation", ["RUN", "the", ["L0"]]),
        ("/ablation", ["RUN", "the", ["L1·H99"]]),
        ("/ablation", ["RUN", "the", ["L1·H1"], "median"]),
        ("/ablation", ["RUN", "", []]),
        ("/rank", ["nothing"]),
        ("/rank", ["RUN", "last"]),
        ("/names", ["RUN", "t"]),
        ("/names", ["RUN", 7]),
        ("/lens", ["RUN", "the", 3]),
        ("/lens", ["RUN", "the", True]),
        ("/lens", ["RUN", "the", 0, "the"]),
        ("/lens", ["RUN", "the", 0, 7]),
    ],
    ids=str,
)
def test_an_invalid_request_gets_a_short_message(
    client: Client, page: Page, run: str, endpoint: str, arguments: list
) -> None:
    with pytest.raises(Exception) as caught:
        placeholders = {"RUN": run, "BUNDLED": client.predict(api_name="/texts")[0]["sha256"]}
        client.predict(*[placeholders.get(a, a) if isinstance(a, str) else a for a in arguments], api_name=endpoint)
    message = str(caught.value)
    assert message.strip() and len(message) < 300
    assert "Traceback" not in message and str(page.home) not in message and "went wrong on the server" not in message


def test_a_too_short_text_creates_no_run(client: Client, page: Page) -> None:
    text, runs = client.predict("hello", "short", api_name="/corpus"), len(page.store.list())
    with pytest.raises(Exception, match="too few for a context_length of 64"):
        client.predict(text["sha256"], api_name="/start_run")
    assert len(page.store.list()) == runs


def test_the_documented_endpoints_match_the_published_ones(client: Client) -> None:
    rows = re.findall(r"^\| `(/\w+)` \|(?: `(.*?)`)? \| .+ \|$", (ROOT / "TRAINING.md").read_text("utf-8"), re.M)
    documented = {}
    for endpoint, parameters in rows:
        signature = ast.parse(f"def endpoint({parameters}): ...").body[0].args
        names = [each.arg for each in signature.args]
        values = [ast.literal_eval(default) for default in signature.defaults]
        documented[endpoint] = [(name, False, None) for name in names[: len(names) - len(values)]]
        documented[endpoint] += [
            (name, True, value) for name, value in zip(names[len(names) - len(values) :], values, strict=True)
        ]
    published = {
        endpoint: [
            (each["parameter_name"], each["parameter_has_default"], each.get("parameter_default"))
            for each in about["parameters"]
        ]
        for endpoint, about in client.view_api(return_format="dict")["named_endpoints"].items()
    }
    assert documented == published


def test_the_documented_example_runs(client: Client, page: Page, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    example = next(
        block for block in python_blocks((ROOT / "TRAINING.md").read_text("utf-8")) if "gradio_client" in block
    )
    for written, replacement in {
        "http://127.0.0.1:7860": page.address,
        '"The "': '"the "',
        "The quick brown fox": "the cat",
    }.items():
        assert written in example
        example = example.replace(written, replacement)
    exec(example, {})
    newest = load_model(page.store.get(client.predict(api_name="/runs")[0]["id"]).snapshot().path)
    dials = {"max_length": 100, "temperature": 0.5, "top_k": 40, "seed": 42}
    assert generate_text(newest.model, newest.tokenizer, "the ", **dials) in capsys.readouterr().out


def test_only_the_documented_endpoints_are_public(client: Client) -> None:
    public = client.view_api(return_format="dict")["named_endpoints"]
    plain = {"/runs", "/texts", "/corpus", "/start_run", "/stop_run", "/sample", "/score", "/compare"}
    assert set(public) == plain | {"/attention", "/ablation", "/rank", "/names", "/lens"}
