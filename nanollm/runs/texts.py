"""Runs and their texts: what a run needs to know of its own, and which runs still need one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from nanollm.runs.record import Run


class Corpus(Protocol):
    """What a run needs to know of its text; CorpusInfo has it, too."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def characters(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...


class Corpora(Protocol):
    """Where a run that continues another finds its text; CorpusStore is that."""

    def get(self, sha256: str) -> Corpus: ...
    def frequencies(self, sha256: str) -> Iterable[tuple[str, int]]: ...


@dataclass(frozen=True)
class CorpusRef:
    """A text as run.json names it: found again by its digest, shown by its name."""

    name: str
    sha256: str
    characters: int
    vocab_size: int


def unfinished_runs(runs: Iterable[Run], sha256: str) -> list[Run]:
    """Those of the runs that train on a text or may go on to."""
    return [run for run in runs if run.corpus.get("sha256") == sha256 and _unfinished(run)]


def _unfinished(run: Run) -> bool:
    return not run.checkpoints_only and run.status().state not in ("completed", "diverged")
