"""The services that all tabs share, and the one selection (run and snapshot) that they all follow."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import gradio as gr

from nanollm.data.corpus import CorpusStore
from nanollm.limits import Limits
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.store import Run, RunStore
from playground.components.factory import browser_call
from playground.handlers import MULTIPLE, UNQUEUED
from playground.public import visitor
from playground.public.fair_queue import FairQueue
from playground.public.ownership import VisitorCorpusStore, VisitorLauncher, VisitorRunStore, owns, viewer
from playground.public.visitor import Visitor
from playground.services.background import BaselineJobs, StepTimeJobs
from playground.services.catalogue import Catalogue
from playground.services.frames import Frames
from playground.services.models import Models
from playground.services.streaming import ActiveStreams
from playground.settings import Settings

if TYPE_CHECKING:
    from playground.services.inspections import Inspections

TABS = ("corpus", "train", "sample", "attention", "compare")
NICENESS = 10  # of training processes on a public page, so that they do not slow the page down


@dataclass
class Context:
    """Services and shared components, passed to every tab. The components are set while the page is built.

    `selection` is the time bar; as an input its value is {"run": str | None, "step": int | None}. Its `change` event
    fires when the user moves the bar, chooses a run in the sidebar, or when it follows the newest snapshot of a running
    training. `tab` holds the name of the open tab (one of TABS).

    `runs`, `launcher` and `corpora` only give access to what the current visitor may see and change. `all_runs` and
    `all_corpora` hold those of all visitors, for other work. On a local page they are the same objects.
    """

    settings: Settings
    runs: RunStore
    launcher: Launcher
    corpora: CorpusStore
    all_runs: RunStore = field(default=None)  # pyright: ignore[reportAssignmentType]  # `runs` by default
    all_corpora: CorpusStore = field(default=None)  # pyright: ignore[reportAssignmentType]  # `corpora` by default
    models: Models = field(init=False)
    catalogue: Catalogue = field(init=False)
    baselines: BaselineJobs = field(init=False)
    step_times: StepTimeJobs = field(init=False)
    frames: Frames = field(init=False)
    run_creation_lock: Any = field(init=False, default_factory=Lock)  # its corpus must not be deleted meanwhile
    fair_queue: FairQueue = field(init=False)
    active_streams: ActiveStreams = field(init=False)
    demo: Any = None
    tabs: Any = None
    tab: Any = None
    selection: Any = None

    def __post_init__(self) -> None:
        self.all_runs, self.all_corpora = self.all_runs or self.runs, self.all_corpora or self.corpora
        public = self.settings.public
        self.models = Models(self.runs)
        self.catalogue = Catalogue(
            self.all_runs, self.all_corpora, viewer=(lambda: viewer(self.visitor())) if public else None
        )
        self.baselines = BaselineJobs(self.all_corpora)
        self.step_times = StepTimeJobs(self.all_runs, on_demand=not public)
        self.frames = Frames(self.models, self.limits, self._visitor_key, max_waiting=4 if public else 64)
        self.fair_queue = FairQueue(self._visitor_key, max_waiting=4 if public else 64)
        self.active_streams = ActiveStreams(self._visitor_key, most=3 if public else 64)

    @classmethod
    def open(cls, settings: Settings) -> Context:
        """Create the services for the folders that `settings` names."""
        limits = settings.limits
        runs, corpora = RunStore(settings.checkpoints, limits), CorpusStore(settings.corpora, limits)
        if not settings.public:
            return cls(settings, runs, Launcher(runs, settings.corpora), corpora)
        trainer = Launcher(runs, settings.corpora, nice=NICENESS, run_seconds=limits.run_seconds)
        own_runs: Any = VisitorRunStore(runs, visitor.current)
        launcher: Any = VisitorLauncher(trainer, own_runs)
        own_corpora: Any = VisitorCorpusStore(corpora, own_runs)
        return cls(settings, own_runs, launcher, own_corpora, runs, corpora)

    @property
    def generation_concurrency(self) -> dict[str, Any]:
        """Options of every event that runs a model. Gradio applies the lowest limit given for a concurrency id."""
        return dict(concurrency_id="write", concurrency_limit=self.settings.concurrent_generations)

    @property
    def limits(self) -> Limits:
        return self.settings.limits

    def visitor(self) -> Visitor:
        """Return the visitor whose request the current thread serves."""
        return visitor.current() if self.settings.public else visitor.ANONYMOUS

    def may_change(self, run: Run) -> bool:
        """Return whether the visitor may do more than view a run: control, continue, fork or export it."""
        return not self.settings.public or run.read_only or owns(self.visitor(), run)

    def _visitor_key(self) -> str:
        """The key for sharing resources among visitors: the token, or the address of a visitor without one."""
        return self.visitor().key

    @functools.cached_property
    def inspections(self) -> Inspections:
        """The inspection service. Imported on first use, because it imports torch, which takes a second."""
        from playground.services.inspections import Inspections

        return Inspections(self.models, self.all_corpora)

    def delete_text(self, sha256: str) -> None:
        """Delete a text. Raises InputError if it does not exist, is read-only or is used by a run."""
        with self.run_creation_lock:
            self.corpora.delete(sha256, needed_by=self.runs.unfinished_titles(sha256))

    def cancel_on(self, place: str, *events: Any) -> None:
        """Let events cancel the session's generation at a place."""

        def cancel(request: gr.Request) -> None:
            self.active_streams.cancel(request.session_hash, place)

        for event in events:
            event(cancel, **UNQUEUED, **MULTIPLE)

    def open_tab(self, tab: str) -> gr.Tabs:
        """Return the update for `tabs` that opens one of TABS."""
        return gr.Tabs(selected=tab)

    def link_to_url(self, component: Any, name: str, tab: str) -> None:
        """Keep a component's value in the page's URL as ?name=…, so that Copy link restores it.

        Tabs may share a name: the URL holds the value of the open tab, and omits the initial value.
        """
        facts = {"name": name, "usual": component.value, "tab": tab}
        constants: dict[str, Any] = {key: json.dumps(value) for key, value in facts.items()}
        script = browser_call("shell/url.js", "rememberValue", "value", "open", **constants)
        for event in (component.change, self.tab.change):
            event(None, [component, self.tab], None, js=script, api_visibility="private", **MULTIPLE)
