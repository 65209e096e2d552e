"""Settings of runs that train within seconds, and a fixture that creates them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nanollm.data.corpus import CorpusStore
from nanollm.runs.record import Run
from nanollm.runs.store import RunStore

TINY = {
    "embedding_dim": 16,
    "num_layers": 1,
    "ffn_hidden_dim": 16,
    "context_length": 16,
    "batch_size": 4,
    "num_steps": 40,
    "warmup_steps": 5,
    "log_interval": 3,
    "eval_interval": 10,
    "checkpoint_interval": 7,
    "precision": "float32",
    "threads": 1,
}


@pytest.fixture
def make(store: RunStore, corpora: CorpusStore, text: str) -> Callable[..., Run]:
    """A function that creates a queued run of this size, with other settings if given."""
    corpus = corpora.add_text(text[:3000], "tale.txt")
    return lambda **settings: store.create(settings={**TINY, **settings}, corpus=corpus)
