"""What Attention finds out about a model: computed by nanollm.explain, and kept while it may be asked for again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

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
from playground.services.models import Models, Version, version
from playground.services.wire_format import pack_attention

Value = TypeVar("Value")

MOST = 256  # characters looked at at once: more would be finer than a screen
HELD_OUT = "text that it never trained on"
THE_TEXT = "the text above alone"
NEEDED = 2  # characters of held-out text: one to read, one to guess


class LRUCache(Generic[Value]):
    """Results by what they follow from, the least recently asked for given up first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not known. Two that ask at the same time may both make it."""
        known = self.peek(key)
        return known if known is not None else self.put(key, make())

    def peek(self, key: Hashable) -> Value | None:
        """The value of a key if it is known."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> Value:
        """Keep a value, and hand it back."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
        return value


@dataclass(frozen=True)
class Maps:
    """The characters at each snapshot of a run, turned so that they can be played."""

    steps: list[int]
    maps: list[CharacterMap]

    @property
    def reach(self) -> float:
        """How far from the middle axes must go to hold them all."""
        return 1.08 * max(float(np.abs(each.points).max(initial=1e-9)) for each in self.maps)


@dataclass(frozen=True)
class View:
    """What is looked at: one snapshot of a run, and the part of the text that it reads at once."""

    run: Run
    snapshot: Snapshot
    loaded: LoadedModel
    file: Version  # which one was read; it may be gone by now
    text: str  # the window, at most MOST characters
    typed: str  # all of the text

    @property
    def stamp(self) -> str:
        """Which snapshot this is, for the browser: what it is told of another one is not for what it shows."""
        return f"{self.run.id} {self.snapshot.step}"

    @property
    def name(self) -> str:
        """The snapshot's path as a person at the server's terminal would write it."""
        folder = f"pretrained/{self.run.folder.name}" if self.run.read_only else self.run.folder.name
        return f"checkpoints/{folder}/{self.snapshot.path.name}"

    @property
    def means_name(self) -> str:
        """The same of the file with its means."""
        return self.name.replace(self.snapshot.path.name, self.snapshot.means_path.name)

    @property
    def findings_name(self) -> str:
        """The same of the file with what was found out about it."""
        return self.name.replace(self.snapshot.path.name, self.snapshot.findings_path.name)

    @property
    def about(self) -> str:
        """Which part of a long text is shown, and why; empty where all of it is."""
        size, total = len(self.text), len(self.typed)
        if size == total:
            return ""
        why = "The page draws" if size == MOST else "This model sees"
        return f"Shown: the last {size} of {total:,} characters. {why} no more at once."


class Inspections:
    """The models behind the page, looked into."""

    def __init__(self, models: Models, corpora: CorpusStore) -> None:
        self._models = models
        self._corpora = corpora
        self._frames: LRUCache[dict[str, Any]] = LRUCache(64)  # up to 0.8 MB each
        self._held_out: LRUCache[np.ndarray] = LRUCache(4)
        self._measured: LRUCache[Means] = LRUCache(32)
        self._findings: LRUCache[Findings] = LRUCache(64)
        self._scores: LRUCache[HeadScores] = LRUCache(256)
        self._rankings: LRUCache[tuple[list[HeadEffect], str]] = LRUCache(256)  # and what they were judged by
        self._maps: LRUCache[Maps] = LRUCache(8)
        self._meters: LRUCache[ContextUse] = LRUCache(64)
        self.written: LRUCache[str] = LRUCache(64)  # by untouched models
        self.lenses: LRUCache[LogitLens] = LRUCache(16)  # up to 0.5 MB each
        self.ranked_now: dict[str | None, Hashable] = {}  # the key of the ranking that a visitor has under way

    def view(self, selection: Any, text: Any) -> View:
        """What a selection and a text come to. Raises InputError where there is no snapshot, or for an unknown
        character, even if it lies before the window."""
        run, snapshot = self._models.find(*parse_selection(selection))
        file, loaded = version(snapshot), self._models.at(snapshot)
        typed = text if isinstance(text, str) else ""
        if not typed:
            raise InputError("There is no text to look at: write some characters.")
        loaded.tokenizer.encode(typed)
        return View(run, snapshot, loaded, file, typed[-min(MOST, loaded.model.config.context_length) :], typed)

    def unknown(self, selection: Any, text: Any) -> str:
        """The characters of a text that the chosen model does not know."""
        return "".join(self._models.get(*parse_selection(selection)).tokenizer.unknown(str(text)))

    def example(self, selection: Any, text: str) -> str:
        """A text as long as `text` that the chosen model can read: what its run held out, else `text` as far as it
        goes."""
        run, snapshot = self._models.find(*parse_selection(selection))
        loaded = self._models.at(snapshot)
        try:
            return loaded.tokenizer.decode(self.held_out(run, loaded)[: len(text)])
        except InputError:
            return "".join(character for character in text if character not in loaded.tokenizer.unknown(text))

    def attention(self, view: View) -> AttentionMap:
        """Where all heads look."""
        return attention_map(view.loaded.model, view.loaded.tokenizer, view.text)

    def frame(self, view: View) -> dict[str, Any]:
        """The same as the browser takes it, with what it is of."""

        def make() -> dict[str, Any]:
            seen = self.attention(view)
            told = {"stamp": view.stamp, "step": view.snapshot.step}
            return {**pack_attention(seen.weights, seen.characters), **told}

        return self._frames.get((view.file, view.text), make)

    def held_out(self, run: Run, loaded: LoadedModel) -> np.ndarray:
        """The part of the run's text (N,) that it was never trained on, as the model reads it.

        Raises InputError if the text is no longer here, has characters that the model does not know, or is all
        trained on.
        """
        return self._held_out.get(run.id, lambda: self._read_held_out(run, loaded))

    def _read_held_out(self, run: Run, loaded: LoadedModel) -> np.ndarray:
        written, ids = self._corpora.encoded(str(run.corpus.get("sha256")))
        _, kept_back = split(ids, run.train_config.validation_fraction)
        if len(kept_back) < NEEDED:
            raise InputError("Nothing of this run's text was held out.")
        if written.characters != loaded.tokenizer.characters:  # a run that goes on from another one's model
            kept_back = loaded.tokenizer.encode("".join(written.characters))[kept_back]
        return kept_back

    def means(self, view: View) -> tuple[Means | None, str]:
        """What each part does on average, and a sentence on where that was measured; None where it cannot be."""
        try:
            return self._measured.get(view.file, lambda: load_means(view.snapshot.means_path)), ""
        except InputError:
            pass  # measured now, if there is a text
        try:
            held_out = self.held_out(view.run, view.loaded)
            return self._measured.get(view.file, lambda: measure_means(view.loaded.model, held_out)), ""
        except InputError:
            return None, "No means were kept with this snapshot, and its text is not here: so to zero."

    def judged_by(self, view: View) -> tuple[np.ndarray, str]:
        """The ids (N,) that a model is judged by, and in words where they come from: text held out, else the one
        that is looked at."""
        try:
            return self.held_out(view.run, view.loaded), HELD_OUT
        except InputError:
            return view.loaded.tokenizer.encode(view.typed), THE_TEXT

    def key(self, view: View) -> tuple[Hashable, str | None]:
        """What a finding follows from: the snapshot, and where no text was held out for it, the one looked at too."""
        judged_by_typed = self.findings(view) is None and self.judged_by(view)[1] == THE_TEXT
        return view.file, view.typed if judged_by_typed else None

    def findings(self, view: View) -> Findings | None:
        """What was kept beside the snapshot, measured on text that it never trained on; None where nothing was."""
        try:
            found = self._findings.get(view.file, lambda: load_findings(view.snapshot.findings_path))
        except InputError:
            return None
        return found if found.fit(view.loaded.model.config) else None

    def head_scores(self, view: View) -> tuple[HeadScores, str]:
        """How well each head fits each pattern, on the beginning of the held-out text, and in words on what text."""
        if found := self.findings(view):
            return found.scores, HELD_OUT
        ids, where = self.judged_by(view)
        text = view.loaded.tokenizer.decode(ids[:HEAD_TYPE_CHARACTERS])
        make = lambda: head_scores(view.loaded.model, view.loaded.tokenizer, text)  # noqa: E731
        return self._scores.get(self.key(view), make), where

    def known_scores(self, view: View) -> HeadScores | None:
        """The same as far as nothing needs to be computed for it."""
        found = self.findings(view)
        return found.scores if found else self._scores.peek(self.key(view))

    def ranking(self, view: View) -> tuple[list[HeadEffect], str] | None:
        """How much each head matters, and in words what that was measured on; None where they are not ranked yet."""
        if found := self.findings(view):
            return found.effects, HELD_OUT
        return self._rankings.peek(self.key(view))

    def keep_ranking(self, view: View, effects: list[HeadEffect], where: str) -> None:
        """Remember a finished ranking for everybody who looks at this snapshot."""
        self._rankings.put(self.key(view), (effects, where))

    def maps(self, view: View) -> Maps:
        """The character maps of all snapshots of the run that is looked at."""
        snapshots = view.run.snapshots()

        def make() -> Maps:
            models = (load_model(snapshot.path) for snapshot in snapshots)  # one at a time: nobody looks at the others
            return Maps([s.step for s in snapshots], align([character_map(m.model, m.tokenizer) for m in models]))

        return self._maps.get((view.run.id, *(snapshot.step for snapshot in snapshots)), make)

    def meter(self, view: View) -> tuple[ContextUse, str]:
        """How far back the model really looks, and in words what that was measured on."""
        if found := self.findings(view):
            return found.context_use, HELD_OUT
        ids, where = self.judged_by(view)
        return self._meters.get(self.key(view), lambda: measure_context_use(view.loaded.model, ids)), where
