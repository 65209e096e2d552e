"""What the tests share: a text of our own to learn from, and tiny models that train in a blink."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

# The browser and the page must need nothing but this machine; gradio reads these when it is imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Calibration remembers the machine as this test run finds it, not as it was on another day.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="nanollm-tests-")

import pytest
import torch
from hypothesis import settings

from nanollm.config import ModelConfig
from nanollm.data.corpus import CorpusStore
from nanollm.model import TransformerLanguageModel
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from tests.chromium import browser as browser  # one for all: Playwright allows a process no second

ROOT = Path(__file__).resolve().parent.parent
Result = TypeVar("Result")

# The models of most tests are too small to share among threads, and pytest may not be alone on the machine.
torch.set_num_threads(1)

# Times differ between machines; a slow example is no wrong one.
settings.register_profile("nanollm", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("nanollm")


@pytest.fixture(scope="session")
def text() -> str:
    return (ROOT / "data" / "raw" / "sample.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def tokenizer(text: str) -> CharTokenizer:
    return CharTokenizer.from_text(text)


@pytest.fixture
def corpora(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "corpora")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "checkpoints")


@pytest.fixture
def launcher(store: RunStore, corpora: CorpusStore) -> Iterator[Launcher]:
    """A launcher of real workers. What it leaves running is ended by its own handles."""
    launcher = Launcher(store, corpora.root)
    yield launcher
    launcher.close()
    for child in launcher._children:
        child.kill()
        child.wait()


def in_a_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """asyncio.run in a thread of its own: in this one the browser's driver keeps a loop going."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def random_model(config: ModelConfig, seed: int = 0) -> TransformerLanguageModel:
    """A model in eval mode whose weights are large enough for every part of it to matter."""
    torch.manual_seed(seed)
    model = TransformerLanguageModel.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if name.endswith("gain") else 0.0, std=0.3)
    return model.eval()
