"""Shared fixtures and helpers: the sample text, stores, a launcher and random models."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

# No network access in tests; gradio reads these variables when it is imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A new calibration cache for each test run.
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
from tests.chromium import browser as browser  # shared: Playwright allows one per process

ROOT = Path(__file__).resolve().parent.parent
Result = TypeVar("Result")

# Most test models are too small to benefit from threads.
torch.set_num_threads(1)

# No deadline: times depend on the machine.
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
    """A launcher of real worker processes, which are ended afterwards."""
    launcher = Launcher(store, corpora.root)
    yield launcher
    launcher.close()
    for child in launcher._children:
        child.kill()
        child.wait()


def run_coroutine(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a new thread, because Playwright runs an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def random_model(config: ModelConfig, seed: int = 0) -> TransformerLanguageModel:
    """Return a model in eval mode with weights large enough that every part affects the output."""
    torch.manual_seed(seed)
    model = TransformerLanguageModel.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if name.endswith("gain") else 0.0, std=0.3)
    return model.eval()
