"""The selection that every tab follows: a run and one of its snapshots."""

from __future__ import annotations

from typing import Any


def parse_selection(selection: Any) -> tuple[str | None, int | None]:
    """Return run id and step of the time bar's value, {"run": str | None, "step": int | None}.

    The value comes from a browser, so anything malformed counts as None.
    """
    if not isinstance(selection, dict):
        return None, None
    run, step = selection.get("run"), selection.get("step")
    is_step = isinstance(step, int) and not isinstance(step, bool)
    return (run if isinstance(run, str) else None), (step if is_step else None)
