"""Inspections of a model for the Attention tab: computed by nanollm.explain and cached for all visitors."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanollm.data.corpus import CorpusStore, split
from nanollm.errors import InputError
from nanollm.explain.ablation import HeadEffect, Means, load_means, measure_means
from nanollm.explain.attention import AttentionMap, attention_map
from nanollm.explain.context_use import ContextUse, measure_context_use
from nanollm.explain.embeddings import CharacterMap, align, character_map
from nanollm.explain.findings import HEAD_TYPE_CHARACTERS, Findings, load_findings
from nanollm.explain.head_types import HeadScores, head_scores
from nanollm.explain.logit_lens import LogitLens
from nanollm.runs.store import Run, Snapshot
from nanollm.train.checkpoint import LoadedModel, load_model
from playground.selection import parse_selection
from playground.services import sentences
from playground.services.lru_cache import LRUCache
from playground.services.models import Models, Version, version
from playground.services.wire_format import pack_attention

MAX_LENGTH = 256  # characters per view: cells of a longer text would be smaller than pixels
MIN_HELD_OUT = 2  # characters: one as input, one as target


@dataclass(frozen=True)
class Maps:
    """The character maps of all snapshots of a run, aligned with each other so that they can be animated."""

    steps: list[int]
    maps: list[CharacterMap]

    @property
    def reach(self) -> float:
        """The axis limit that fits all maps."""
        return 1.08 * max(float(np.abs(each.points).max(initial=1e-9)) for each in self.maps)


@dataclass(frozen=True)
class View:
    """What is inspected: one snapshot of a run, and the end of a text that fits its context."""

    run: Run
    snapshot: Snapshot
    loaded: LoadedModel
    file: Version  # the version that was read; the file may be gone
    text: str  # what the model sees, at most MAX_LENGTH characters
    typed: str  # the whole text

    @property
    def stamp(self) -> str:
        """Identifies the snapshot in the browser, which ignores results for another one."""
        return f"{self.run.id} {self.snapshot.step}"

    @property
    def name(self) -> str:
        """The snapshot's path, relative to the server's folder."""
        folder = f"pretrained/{self.run.folder.name}" if self.run.read_only else self.run.folder.name
        return f"checkpoints/{folder}/{self.snapshot.path.name}"

    @property
    def means_name(self) -> str:
        """The path of the file with its means."""
        return self.name.replace(self.snapshot.path.name, self.snapshot.means_path.name)

    @property
    def findings_name(self) -> str:
        """The path of the file with its findings."""
        return self.name.replace(self.snapshot.path.name, self.snapshot.findings_path.name)

    @property
    def about(self) -> str:
        """Which part of a long text is shown, and why; empty if all of it is."""
        size, total = len(self.text), len(self.typed)
        if size == total:
            return ""
        template = sentences.SHOWN_BY_PAGE if size == MAX_LENGTH else sentences.SHOWN_BY_MODEL
        return template.format(shown=size, total=total)


class Inspections:
    """Computes and caches inspections, by the version of the snapshot's file."""

    def __init__(self, models: Models, corpora: CorpusStore) -> None:
        self._models = models
        self._corpora = corpora
        self._frames: LRUCache[dict[str, Any]] = LRUCache(64)  # up to 0.8 MB each
        self._held_out: LRUCache[np.ndarray] = LRUCache(4)
        self._measured: LRUCache[Means] = LRUCache(32)
        self._findings: LRUCache[Findings] = LRUCache(64)
        self._scores: LRUCache[HeadScores] = LRUCache(256)
        self._rankings: LRUCache[tuple[list[HeadEffect], str]] = LRUCache(256)  # with the name of the evaluated text
        self._maps: LRUCache[Maps] = LRUCache(8)
        self._meters: LRUCache[ContextUse] = LRUCache(64)
        self.written: LRUCache[str] = LRUCache(64)  # texts sampled from models without ablation
        self.lenses: LRUCache[LogitLens] = LRUCache(16)  # up to 0.5 MB each
        self.ranked_now: dict[str | None, Hashable] = {}  # by session: the key of the running ranking

    def view(self, selection: Any, text: Any) -> View:
        """Return the view of a selection and a text.

        Raises InputError if the snapshot does not exist, or for an unknown character anywhere in the text.
        """
        run, snapshot = self._models.find(*parse_selection(selection))
        file, loaded = version(snapshot), self._models.at(snapshot)
        typed = text if isinstance(text, str) else ""
        if not typed:
            raise InputError(sentences.NO_TEXT)
        loaded.tokenizer.encode(typed)
        return View(run, snapshot, loaded, file, typed[-min(MAX_LENGTH, loaded.model.config.context_length) :], typed)

    def unknown(self, selection: Any, text: Any) -> str:
        """Return the characters of a text that the selected model does not know."""
        return "".join(self._models.get(*parse_selection(selection)).tokenizer.unknown(str(text)))

    def example(self, selection: Any, text: str) -> str:
        """Return a text as long as `text` that the selected model knows: held-out text, else `text` without unknown
        characters."""
        run, snapshot = self._models.find(*parse_selection(selection))
        loaded = self._models.at(snapshot)
        try:
            return loaded.tokenizer.decode(self.held_out(run, loaded)[: len(text)])
        except InputError:
            return "".join(character for character in text if character not in loaded.tokenizer.unknown(text))

    def attention(self, view: View) -> AttentionMap:
        """Return the attention weights of all heads."""
        return attention_map(view.loaded.model, view.loaded.tokenizer, view.text)

    def frame(self, view: View) -> dict[str, Any]:
        """Return the attention weights packed for the browser, with the snapshot's stamp and step."""

        def make() -> dict[str, Any]:
            seen = self.attention(view)
            packed = pack_attention(seen.weights, seen.characters)
            return {**packed, "stamp": view.stamp, "step": view.snapshot.step}

        return self._frames.get((view.file, view.text), make)

    def held_out(self, run: Run, loaded: LoadedModel) -> np.ndarray:
        """Return the validation split of the run's text as ids (N,) of the model's vocabulary.

        Raises InputError if the text was deleted, has characters that the model does not know, or has no
        validation split.
        """
        return self._held_out.get(run.id, lambda: self._read_held_out(run, loaded))

    def _read_held_out(self, run: Run, loaded: LoadedModel) -> np.ndarray:
        written, ids = self._corpora.encoded(str(run.corpus.get("sha256")))
        _, held_out = split(ids, run.train_config.validation_fraction)
        if len(held_out) < MIN_HELD_OUT:
            raise InputError(sentences.NO_HELD_OUT)
        if written.characters != loaded.tokenizer.characters:  # the run continues the model of another run
            held_out = loaded.tokenizer.encode("".join(written.characters))[held_out]
        return held_out

    def means(self, view: View) -> tuple[Means | None, str]:
        """Return the mean output of each head, and an empty string; or None and the reason why there are no means."""
        try:
            return self._measured.get(view.file, lambda: load_means(view.snapshot.means_path)), ""
        except InputError:
            pass  # not stored: measure them, if the text is available
        try:
            held_out = self.held_out(view.run, view.loaded)
            return self._measured.get(view.file, lambda: measure_means(view.loaded.model, held_out)), ""
        except InputError:
            return None, sentences.NO_MEANS

    def judged_by(self, view: View) -> tuple[np.ndarray, str]:
        """Return the ids (N,) to evaluate a model on and their name: held-out text, else the inspected text."""
        try:
            return self.held_out(view.run, view.loaded), sentences.HELD_OUT
        except InputError:
            return view.loaded.tokenizer.encode(view.typed), sentences.THIS_TEXT

    def key(self, view: View) -> tuple[Hashable, str | None]:
        """Return the cache key of an evaluation: the snapshot and, without held-out text, the inspected text."""
        judged_by_typed = self.findings(view) is None and self.judged_by(view)[1] == sentences.THIS_TEXT
        return view.file, view.typed if judged_by_typed else None

    def findings(self, view: View) -> Findings | None:
        """Return the findings stored with the snapshot, measured on held-out text; None if there are none."""
        try:
            found = self._findings.get(view.file, lambda: load_findings(view.snapshot.findings_path))
        except InputError:
            return None
        return found if found.fit(view.loaded.model.config) else None

    def head_scores(self, view: View) -> tuple[HeadScores, str]:
        """Return each head's score for each head type, and the name of the evaluated text."""
        if found := self.findings(view):
            return found.scores, sentences.HELD_OUT
        ids, where = self.judged_by(view)
        text = view.loaded.tokenizer.decode(ids[:HEAD_TYPE_CHARACTERS])
        make = lambda: head_scores(view.loaded.model, view.loaded.tokenizer, text)  # noqa: E731
        return self._scores.get(self.key(view), make), where

    def known_scores(self, view: View) -> HeadScores | None:
        """Return the scores if they are cached or stored, else None."""
        found = self.findings(view)
        return found.scores if found else self._scores.peek(self.key(view))

    def ranking(self, view: View) -> tuple[list[HeadEffect], str] | None:
        """Return the effect of ablating each head and the name of the evaluated text; None if not yet computed."""
        if found := self.findings(view):
            return found.effects, sentences.HELD_OUT
        return self._rankings.peek(self.key(view))

    def keep_ranking(self, view: View, effects: list[HeadEffect], where: str) -> None:
        """Cache a finished ranking for all visitors."""
        self._rankings.put(self.key(view), (effects, where))

    def maps(self, view: View) -> Maps:
        """Return the character maps of all snapshots of the run."""
        snapshots = view.run.snapshots()

        def make() -> Maps:
            models = (load_model(snapshot.path) for snapshot in snapshots)  # loaded one at a time and not cached
            return Maps([s.step for s in snapshots], align([character_map(m.model, m.tokenizer) for m in models]))

        return self._maps.get((view.run.id, *(snapshot.step for snapshot in snapshots)), make)

    def meter(self, view: View) -> tuple[ContextUse, str]:
        """Return how the loss depends on the context length, and the name of the evaluated text."""
        if found := self.findings(view):
            return found.context_use, sentences.HELD_OUT
        ids, where = self.judged_by(view)
        return self._meters.get(self.key(view), lambda: measure_context_use(view.loaded.model, ids)), where
