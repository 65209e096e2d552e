"""What the tabs share: the services behind the page, and the one selection (run and snapshot) that they all follow."""

from __future__ import annotations

import functools
import json
import logging
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import gradio as gr

from nanollm.data.corpus import CorpusStore
from nanollm.limits import Limits
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.store import Run, RunStore
from playground.components.factory import browser_call
from playground.handlers import EACH
from playground.public import visitor
from playground.public.fair_queue import Shares
from playground.public.ownership import Shelf, VisitorLauncher, VisitorStore, owns
from playground.public.visitor import Visitor
from playground.services.background import Counts, Pace
from playground.services.catalogue import Catalogue
from playground.services.frames import Frames
from playground.services.models import Models
from playground.services.streaming import Desks
from playground.settings import Settings

if TYPE_CHECKING:
    from playground.services.inspections import Inside

log = logging.getLogger("nanollm.page")

TABS = ("corpus", "train", "sample", "attention", "compare")
NICE = 10  # how far training steps back on a page that many look at


@dataclass
class Context:
    """Handed to every tab. The components among its fields are set while the page is assembled.

    `selection` is the time bar; as an input its value is {"run": str | None, "step": int | None}. Its `change` fires
    when a person moved it, when the sidebar chose a run, and when it followed the newest snapshot of a live run.
    `tab` holds the name of the open tab (one of TABS) and changes with it.

    `store`, `launcher` and `corpora` show and touch only what belongs to whoever asks; behind them stand `house` and
    `texts` with everybody's runs and texts, for what happens on nobody's behalf. On a local page they are the same.
    """

    settings: Settings
    store: RunStore
    launcher: Launcher
    corpora: CorpusStore
    house: Any = None  # RunStore
    texts: Any = None  # CorpusStore
    models: Models = field(init=False)
    catalogue: Catalogue = field(init=False)
    counts: Counts = field(init=False)
    pace: Pace = field(init=False)
    frames: Frames = field(init=False)
    making: Any = field(init=False, default_factory=Lock)  # held while a run is made of a text: it may not go meanwhile
    shares: Shares = field(init=False)
    desks: Desks = field(init=False)
    demo: Any = None
    tabs: Any = None
    tab: Any = None
    selection: Any = None

    def __post_init__(self) -> None:
        self.house, self.texts = self.house or self.store, self.texts or self.corpora
        self.models = Models(self.store)
        self.catalogue = Catalogue(self.house, self.texts, who=self.visitor if self.settings.public else None)
        self.counts = Counts(self.texts)
        self.pace = Pace(self.house, on_demand=not self.settings.public)
        crowd = self.settings.public
        self.frames = Frames(self.models, self.limits, self._who, most=4 if crowd else 64)
        self.shares = Shares(self._who, waiting=4 if crowd else 64)
        self.desks = Desks(self._who, most=3 if crowd else 64)

    @classmethod
    def open(cls, settings: Settings) -> Context:
        """The services over the folders that `settings` names."""
        limits = settings.limits
        house, texts = RunStore(settings.checkpoints, limits), CorpusStore(settings.corpora, limits)
        if not settings.public:
            return cls(settings, house, Launcher(house, settings.corpora), texts)
        trainer = Launcher(house, settings.corpora, nice=NICE, run_seconds=limits.run_seconds)
        store: Any = VisitorStore(house, visitor.current)
        launcher: Any = VisitorLauncher(trainer, store)
        shelf: Any = Shelf(texts, store)
        return cls(settings, store, launcher, shelf, house, texts)

    @property
    def writing(self) -> dict[str, Any]:
        """For every event in which a model writes or reads: of one id the lowest limit that any event names holds."""
        return dict(concurrency_id="write", concurrency_limit=self.settings.writers)

    @property
    def limits(self) -> Limits:
        """What one person may ask for."""
        return self.settings.limits

    def visitor(self) -> Visitor:
        """Who asked for what this thread is doing."""
        return visitor.current() if self.settings.public else visitor.EVERYBODY

    def may_change(self, run: Run) -> bool:
        """Whether a run that is shown is more than looked at: it can be steered, gone on from, deleted."""
        return not self.settings.public or run.read_only or owns(self.visitor(), run)

    def _who(self) -> str:
        """The visitor by one word, to share by; who has no token is as good as everybody at that address."""
        asking = self.visitor()
        return asking.owner or asking.address

    @functools.cached_property
    def inside(self) -> Inside:
        """The models looked into, and what was found kept for everybody."""
        from playground.services.inspections import Inside  # which builds on what is here

        return Inside(self.models, self.texts)

    def delete_text(self, sha256: str) -> None:
        """Delete a text. Raises InputError if it is not here, stays as it is, or a run needs it."""
        with self.making:
            self.corpora.delete(sha256, needed_by=self.store.needing(sha256))

    def show(self, tab: str) -> gr.Tabs:
        """What to output to `tabs` to open one of TABS."""
        return gr.Tabs(selected=tab)

    def linked(self, component: Any, name: str, tab: str) -> None:
        """Keep a component's value in the page's address as ?name=…, so that Copy link gives this very view.

        Tabs may share a name: the address has what stands in the open one, and nothing for what it began with.
        """
        constants = {"name": name, "usual": component.value, "tab": tab}
        told = {key: json.dumps(value) for key, value in constants.items()}
        for moment in (component.change, self.tab.change):
            moment(
                None, [component, self.tab], None, js=browser_call("shell/url.js", "linked", "value", "open", **told),
                api_visibility="private", **EACH,
            )  # fmt: skip
