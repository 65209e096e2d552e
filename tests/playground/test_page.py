"""The page as Gradio will serve it, without a browser: what may be called, and what may call what."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import gradio as gr
import pytest

from playground.context import Context
from playground.page import build
from playground.settings import Settings


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    return build(Context.open(Settings(home=Path(tmp_path_factory.mktemp("home")))))


def test_no_trigger_has_two_listeners_that_defer(page: gr.Blocks) -> None:
    """Gradio repeats a deferred event for all its listeners: two that defer keep each other going for ever."""
    deferring = Counter(
        target
        for function in page.fns.values()
        if function.trigger_mode == "always_last"
        for target in function.targets
        if target[0] is not None
    )
    assert deferring and [target for target, count in deferring.items() if count > 1] == []


def test_as_many_models_write_at_the_same_time_as_the_settings_say(page: gr.Blocks) -> None:
    """Of one id the lowest limit holds, from its first event on; and where none is named, Gradio takes one."""
    limits = {f.concurrency_limit for f in page.fns.values() if f.concurrency_id == "write"}
    assert limits == {Settings().concurrent_generations}


def test_no_statistics_are_kept(page: gr.Blocks) -> None:
    """Gradio would go through its last 10,000 events after each one."""
    queue = page._queue
    assert queue.ANALYTICS_MAX_EVENTS == 1 and queue.ANAYLTICS_CACHE_FREQUENCY > 10**9


def test_only_the_published_endpoints_are_public(page: gr.Blocks) -> None:
    public = {f.api_name for f in page.fns.values() if f.api_visibility == "public"}
    plain = {"runs", "texts", "corpus", "start_run", "stop_run", "sample", "score", "compare"}
    assert public == plain | {"attention", "ablation", "rank", "names", "lens"}


def test_every_handler_is_named_or_quiet(page: gr.Blocks) -> None:
    """What a person waits for is queued, so that its failure is shown (Gradio shows no toast for the rest)."""
    clicks = [f for f in page.fns.values() if f.fn and any(event == "click" for _, event in f.targets)]
    assert clicks
    for function in clicks:
        unseen = function.name in ("cancel", "<lambda>", "handler")  # cannot fail: no input of the person's own
        assert function.queue or unseen, function.name
