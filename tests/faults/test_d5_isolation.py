"""Guarantee D5: a visitor cannot read or change the run or text of another visitor.

Every function of the page is called over the network by its index, with the run's id in every argument and again with
an id that never existed: both responses must be equal. The owner's text is Greek, so leaks of it are easy to detect.
"""

from __future__ import annotations

import inspect
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from nanollm.runs.process.worker import work
from nanollm.runs.record import Run
from playground.context import Context
from playground.page import build, launch_options
from playground.public import request_filter
from playground.public.visitor import from_headers
from playground.settings import Settings
from tests.tiny_runs import TINY

ANNA, BERT = "A" * 43, "B" * 43
GREEK = "".join("αβγδεζηθικλμνξο"[i * i % 15] for i in range(3000))
MISSING_ID = "20200101-000000-0000"
SHA = "0" * 64
TITLE = "Geheimnis"
WORDS = dict(step=0, title="stolen", name="stolen", page=0, index=0, prompt="", text="abc", stamp="1", temperature=1)
VALUES = WORDS | dict(max_length=5, top_k=3, seed=1, layer=1, head=1, preset="nano", settings={"num_steps": 1})


@dataclass
class IsolationCheck:
    """A public page on which one visitor has a run."""

    address: str
    demo: Any
    run: Run
    sha256: str

    def call(self, number: int, token: str, run: str, sha256: str) -> str:
        """Call a function in a new session and return all response messages, without times and event ids."""
        function = self.demo.fns[number]
        session = secrets.token_hex(5)
        headers = {"x-nano-visitor": token}
        body = {"data": arguments(function, run, sha256), "fn_index": number, "session_hash": session}
        body |= {"event_data": event(run, sha256), "trigger_id": None}
        if not function.queue:
            answer = httpx.post(f"{self.address}gradio_api/run/predict", json=body, headers=headers, timeout=60)
            return stripped(f"{answer.status_code} {answer.text}", run, sha256, session)
        joined = httpx.post(f"{self.address}gradio_api/queue/join", json=body, headers=headers, timeout=60)
        response = [f"{joined.status_code}"]
        url = f"{self.address}gradio_api/queue/data?session_hash={session}"
        with httpx.stream("GET", url, headers=headers, timeout=60) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") in ("log", "process_generating", "process_completed"):
                    output = message.get("output") or {}
                    content = [message.get("log"), message.get("success"), output.get("data"), output.get("error")]
                    response.append(json.dumps(content))
                if message.get("msg") in ("process_completed", "unexpected_error", "close_stream"):
                    break
        return stripped(" ".join(response), run, sha256, session)

    def serve(self, component: int, name: str, token: str, run: str, sha256: str) -> str:
        """Call a component function and return its response."""
        body = {"data": event(run, sha256), "component_id": component, "fn_name": name, "session_hash": "s"}
        url = f"{self.address}gradio_api/component_server"
        answer = httpx.post(url, json=body, headers={"x-nano-visitor": token}, timeout=60)
        return stripped(f"{answer.status_code} {answer.text}", run, sha256, "s")


def event(run: str, sha256: str) -> dict[str, Any]:
    """Return event data that names the run and the text in every field."""
    models = [{"run": run, "step": 0}] * 2
    return VALUES | {"run": run, "chosen": run, "runs": [run, run], "models": models, "sha256": sha256}


def arguments(function: Any, run: str, sha256: str) -> list[Any]:
    """Return the id of the run or text for each input of a function, in the format of that input."""
    if function.api_name and function.api_visibility == "public":
        names = [name for name in inspect.signature(function.fn).parameters if name != "request"]
        known = event(run, sha256) | {"text": sha256 if "start" in function.api_name else "abc", "steps": None}
        return [known.get(name) for name in names][: len(function.inputs)]
    found: list[Any] = []
    for component in function.inputs:
        kind = component.get_block_name()
        if kind == "html":
            found.append(event(run, sha256))
        elif kind == "dropdown":
            found.append([run] if component.multiselect else sha256)
        elif kind == "textbox":
            found.append("train" if component.elem_id == "open-tab" else sha256 if kind == "state" else "abc")
        else:
            found.append(getattr(component, "value", None))
    return found


def stripped(response: str, *same: str) -> str:
    for one in same:
        response = response.replace(one, "…")
    return re.sub(r"\d+\.\d+(e-?\d+)?|[0-9a-f]{32}", "#", response)  # times and event ids


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolationCheck]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), public=True)
    ctx = Context.open(settings)
    owner = from_headers({"x-nano-visitor": ANNA}).owner
    info = ctx.all_corpora.add_text(GREEK, TITLE)
    run = ctx.all_runs.create(settings={**TINY, "num_steps": 3}, corpus=info, title=TITLE, owner=owner)
    work(run, ctx.all_corpora.root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_filter.TokenBucket, "take", lambda self: True)  # disable the rate limit
        demo = build(ctx)
        options = launch_options(settings, demo)
        _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **options)
        yield IsolationCheck(address, demo, run, info.sha256)
        demo.close(verbose=False)


def state_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def compare(check: IsolationCheck, public: bool) -> list[str]:
    """Call all public or all private functions as another visitor and return their names."""
    before, called = state_of(check.run.folder), []
    for number, function in check.demo.fns.items():
        if function.fn is None or (function.api_visibility == "public") is not public:
            continue
        existing = check.call(number, BERT, check.run.id, check.sha256)
        missing = check.call(number, BERT, MISSING_ID, SHA)
        name = f"{number} {getattr(function.fn, '__qualname__', function.fn)} {function.api_name}"
        assert existing == missing, f"{name}: {existing} is not {missing}"
        assert not re.search(r"[α-ω]|\\u03[bc]", existing) and TITLE not in existing, name
        called.append(name)
    assert state_of(check.run.folder) == before
    return called


def test_d5_public_endpoints_reveal_nothing_to_other_visitors(check: IsolationCheck) -> None:
    assert len(compare(check, public=True)) >= 13


@pytest.mark.long
def test_d5_private_handlers_reveal_nothing_to_other_visitors(check: IsolationCheck) -> None:
    assert len(compare(check, public=False)) > 60


def test_d5_component_functions_reveal_nothing_to_other_visitors(check: IsolationCheck) -> None:
    functions = [(block._id, name) for block in check.demo.blocks.values() for name in server_functions(block)]
    assert functions
    answers = []
    for component, name in functions:
        existing = check.serve(component, name, BERT, check.run.id, check.sha256)
        assert existing == check.serve(component, name, BERT, MISSING_ID, SHA), name
        answers.append(check.serve(component, name, ANNA, check.run.id, check.sha256))
    assert any(re.search(r"[α-ω]", answer) for answer in answers)  # the owner sees the text


def test_d5_the_owner_can_list_and_sample_the_run(check: IsolationCheck) -> None:
    endpoints = {f.api_name: n for n, f in check.demo.fns.items() if f.api_visibility == "public" and f.api_name}
    response = check.call(endpoints["runs"], ANNA, check.run.id, check.sha256)
    assert TITLE in response and "success" not in response
    assert re.search(r"\\u03b", check.call(endpoints["sample"], ANNA, check.run.id, check.sha256))


def server_functions(block: Any) -> list[str]:
    return [name for name in vars(block) if getattr(getattr(block, name), "_is_server_fn", False)]
