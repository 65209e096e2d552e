"""The selection that every tab follows: a run and one of its snapshots."""

from __future__ import annotations

from typing import Any


def chosen(selection: Any) -> tuple[str | None, int | None]:
    """Run and step of the time bar's value. It comes from a browser, so anything odd counts as nothing chosen."""
    if not isinstance(selection, dict):
        return None, None
    run, step = selection.get("run"), selection.get("step")
    whole = isinstance(step, int) and not isinstance(step, bool)
    return (run if isinstance(run, str) else None), (step if whole else None)
