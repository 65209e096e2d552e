"""Sessions: to handlers as Gradio's own, and light, whatever passes through them."""

from __future__ import annotations

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from playground.public.session_state import Sessions
from tests.conftest import in_a_loop


@pytest.fixture
def demo() -> gr.Blocks:
    with gr.Blocks() as demo:
        seen, typed, button = gr.State([]), gr.Textbox(), gr.Button()
        button.click(lambda seen, typed: ([*seen, len(typed)], gr.Button(value=typed)), [seen, typed], [seen, button])
    return demo


def click(demo: gr.Blocks, session: SessionState, text: str) -> list:
    return in_a_loop(demo.process_api(0, [None, text], state=session))["data"]


def test_each_session_has_a_state_and_components_of_its_own(demo: gr.Blocks) -> None:
    sessions = Sessions(demo)
    state, button = demo.fns[0].outputs
    click(demo, sessions["ann"], "abc")
    _, update = click(demo, sessions["ann"], "abcd")
    assert update["value"] == "abcd"
    click(demo, sessions["bob"], "a")
    assert sessions["ann"][state._id] == [3, 4] and sessions["bob"][state._id] == [1]
    assert sessions["ann"][button._id] is not sessions["bob"][button._id]


def test_nothing_that_passed_through_is_kept(demo: gr.Blocks) -> None:
    session = Sessions(demo)["ann"]
    click(demo, session, "a long text")
    told = [vars(block) for block in session.blocks_config.blocks.values()]
    assert list(session.components) == [] and "a long text" not in str(told)


def test_the_session_used_longest_ago_is_forgotten(demo: gr.Blocks) -> None:
    sessions = Sessions(demo)
    sessions.capacity = 2
    for name in ("ann", "bob", "ann", "eve", "eve"):
        assert sessions[name]
    assert list(sessions.session_data) == ["ann", "eve"]
