"""A run as JSON, as lines or as one table row, for the command line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nanollm.runs.record import Run


def as_json(run: Run) -> dict[str, Any]:
    """Facts, status and losses (nats per character) of a run as a JSON-compatible dict."""
    status = asdict(run.status())
    del status["val_loss"]  # losses() names each validation loss
    return {
        **{"id": run.id, "title": run.title, "preset": run.preset, "corpus": run.corpus.get("name")},
        "parent": asdict(run.parent) if run.parent else None,
        **{"parameters": run.model_config.num_parameters, "snapshots": len(run.snapshots()), **status},
        **losses(run),
    }


def losses(run: Run) -> dict[str, Any]:
    """The last and the lowest validation loss with its step; None if not measured."""
    curve = run.curve()
    return {
        "final_val_loss": curve.final_losses[1],
        "best_val_loss": run.status().val_loss,
        "best_step": curve.best_step,
    }


def as_row(about: dict[str, Any]) -> str:
    """Format the result of as_json() as one row of `runs list`."""
    loss = f"{about['best_val_loss']:.3f}" if about["best_val_loss"] is not None else "–"
    steps = f"{about['step']:,}/{about['num_steps']:,}"
    return f"{about['id']:22} {about['state']:10} {steps:>15} {loss:>6}  {about['title']}"


def as_lines(run: Run) -> list[str]:
    """The known values of as_json() as aligned lines, one per value."""
    about = {**as_json(run), "parent": run.parent.describe() if run.parent else None}
    known = {name: value for name, value in about.items() if value not in (None, "")}
    width = max(map(len, known))
    return [f"{name:{width}}  {value}" for name, value in known.items()]


def loss_summary(run: Run) -> str:
    """The losses to append to a sentence; empty if none was measured."""
    found = losses(run)
    if found["final_val_loss"] is None or found["best_step"] is None:
        return ""
    text = f": validation loss {found['final_val_loss']:.4f}"
    if found["best_val_loss"] == found["final_val_loss"]:
        return f"{text} (best)"
    return f"{text} (best {found['best_val_loss']:.4f} at step {found['best_step']:,}, also saved)"
