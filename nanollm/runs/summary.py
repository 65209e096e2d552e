"""All that is said about a run on a terminal: in full, in one row, and how well it did."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nanollm.runs.record import Run


def as_json(run: Run) -> dict[str, Any]:
    """For machines: what the run is, how it stands, and its losses in nats a character."""
    status = asdict(run.status())
    del status["val_loss"]  # told by losses(), each of them by its name
    return {
        **{"id": run.id, "title": run.title, "preset": run.preset, "corpus": run.corpus.get("name")},
        "parent": asdict(run.parent) if run.parent else None,
        **{"parameters": run.model_config.num_parameters, "snapshots": len(run.snapshots()), **status},
        **losses(run),
    }


def losses(run: Run) -> dict[str, Any]:
    """The last validation loss, the lowest, and its step; None where none was measured."""
    curve = run.curve()
    last = curve.val_loss[-1] if curve.val_loss else None
    return {"final_val_loss": last, "best_val_loss": run.status().val_loss, "best_step": curve.best_step}


def as_row(about: dict[str, Any]) -> str:
    """One row of a list, from what as_json() gave."""
    loss = f"{about['best_val_loss']:.3f}" if about["best_val_loss"] is not None else "–"
    steps = f"{about['step']:,}/{about['num_steps']:,}"
    return f"{about['id']:22} {about['state']:10} {steps:>15} {loss:>6}  {about['title']}"


def as_lines(run: Run) -> list[str]:
    """What as_json() gives, a line for each thing that is known."""
    about = {**as_json(run), "parent": run.parent.describe() if run.parent else None}
    known = {name: value for name, value in about.items() if value not in (None, "")}
    width = max(map(len, known))
    return [f"{name:{width}}  {value}" for name, value in known.items()]


def loss_summary(run: Run) -> str:
    """The losses as the end of a sentence; empty where none was measured."""
    found = losses(run)
    if found["final_val_loss"] is None or found["best_step"] is None:
        return ""
    said = f": validation loss {found['final_val_loss']:.4f}"
    if found["best_val_loss"] == found["final_val_loss"]:
        return f"{said}, its best"
    return f"{said}, at best {found['best_val_loss']:.4f} at step {found['best_step']:,} (kept, too)"
