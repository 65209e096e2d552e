"""Shared by the tabs: the selection sent by the browser, error messages, and locks around run creation."""

from __future__ import annotations

from threading import Thread

import gradio as gr
import pytest

from nanollm.errors import InputError
from playground.context import Context
from playground.handlers import INTERNAL_ERROR, error_message, report_errors
from playground.selection import parse_selection
from playground.settings import Settings


@pytest.mark.parametrize("value", [None, 3, "run", [], {}, {"run": 5, "step": "3"}, {"run": None, "step": True}])
def test_an_invalid_selection_selects_nothing(value):
    assert parse_selection(value) == (None, None)


def test_a_selection_contains_run_and_step():
    assert parse_selection({"run": "a", "step": 3}) == ("a", 3)
    assert parse_selection({"run": "a", "step": None}) == ("a", None)


def test_errors_become_safe_messages(caplog):
    @report_errors
    def refuses():
        raise InputError("Choose <b>another</b> one.")

    @report_errors
    def breaks():
        yield 1
        raise RuntimeError("/secret/path")

    with pytest.raises(gr.Error, match="Choose &lt;b&gt;another"):
        refuses()
    parts = breaks()
    assert next(parts) == 1
    with pytest.raises(gr.Error) as raised:
        next(parts)
    assert raised.value.message == INTERNAL_ERROR
    assert "/secret/path" in caplog.text  # only in the server's log
    assert error_message(InputError("Plain.")) == "Plain."


def test_a_text_cannot_be_deleted_while_a_run_is_created_from_it(tmp_path):
    ctx = Context.open(Settings(home=tmp_path))
    text = ctx.corpora.add_text("the cat sat on the mat. " * 100, "cats")
    refusals: list[str] = []

    def delete() -> None:
        try:
            ctx.delete_text(text.sha256)
        except InputError as error:
            refusals.append(str(error))

    deleting = Thread(target=delete)
    with ctx.run_creation_lock:
        deleting.start()
        deleting.join(0.1)
        ctx.runs.create(settings={}, corpus=ctx.corpora.get(text.sha256), preset="nano", title="of cats")
    deleting.join(10)
    assert refusals and "of cats" in refusals[0] and ctx.corpora.get(text.sha256) == text
