"""Interfaces between runs and their texts, and which runs still need a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from nanollm.runs.record import Run


class Corpus(Protocol):
    """The facts about a text that a run stores; data.corpus.CorpusInfo satisfies this protocol."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def characters(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...


class Corpora(Protocol):
    """Where RunStore.fork() finds texts; data.corpus.CorpusStore satisfies this protocol."""

    def get(self, sha256: str) -> Corpus: ...
    def frequencies(self, sha256: str) -> Iterable[tuple[str, int]]: ...


@dataclass(frozen=True)
class CorpusRef:
    """A reference to a text as in run.json: identified by its digest, displayed by its name."""

    name: str
    sha256: str
    characters: int
    vocab_size: int


def unfinished_runs(runs: Iterable[Run], sha256: str) -> list[Run]:
    """The unfinished runs that use a text and may need it again."""
    return [run for run in runs if run.corpus.get("sha256") == sha256 and _unfinished(run)]


def _unfinished(run: Run) -> bool:
    return not run.checkpoints_only and run.status().state not in ("completed", "diverged")
