"""The built Gradio page without a browser: event listeners, limits and public endpoints."""

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


def test_no_trigger_has_two_always_last_listeners(page: gr.Blocks) -> None:
    """Gradio repeats a deferred event for all its listeners, so two of them would trigger each other endlessly."""
    deferring = Counter(
        target
        for function in page.fns.values()
        if function.trigger_mode == "always_last"
        for target in function.targets
        if target[0] is not None
    )
    assert deferring and [target for target, count in deferring.items() if count > 1] == []


def test_generations_share_the_concurrency_limit_of_the_settings(page: gr.Blocks) -> None:
    """Gradio applies the lowest limit of all events with the same concurrency_id; the default is 1."""
    limits = {f.concurrency_limit for f in page.fns.values() if f.concurrency_id == "write"}
    assert limits == {Settings().concurrent_generations}


def test_queue_analytics_are_disabled(page: gr.Blocks) -> None:
    """Otherwise Gradio iterates over the last 10,000 events after each event."""
    queue = page._queue
    assert queue.ANALYTICS_MAX_EVENTS == 1 and queue.ANAYLTICS_CACHE_FREQUENCY > 10**9


def test_only_the_published_endpoints_are_public(page: gr.Blocks) -> None:
    public = {f.api_name for f in page.fns.values() if f.api_visibility == "public"}
    plain = {"runs", "texts", "corpus", "start_run", "stop_run", "sample", "score", "compare"}
    assert public == plain | {"attention", "ablation", "rank", "names", "lens"}


def test_click_handlers_that_can_fail_are_queued(page: gr.Blocks) -> None:
    """Gradio shows errors of queued events only."""
    clicks = [f for f in page.fns.values() if f.fn and any(event == "click" for _, event in f.targets)]
    assert clicks
    for function in clicks:
        cannot_fail = function.name in ("cancel", "<lambda>", "handler")  # they read no user input
        assert function.queue or cannot_fail, function.name
