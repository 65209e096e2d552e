"""Runs as a table and as CSV: only columns that differ between runs, best run first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nanollm.config import to_dict
from nanollm.runs.record import Run

FACTS = ("run", "best validation loss", "state", "steps", "seconds", "parameters")
ALWAYS = ("run", "best validation loss")  # other columns only if two runs differ in them
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")  # first characters that make a spreadsheet read a cell as a formula


@dataclass(frozen=True)
class Table:
    """Rows of cells (text, numbers or None), sorted by best validation loss; `ids` name the runs of the rows."""

    columns: list[str]
    rows: list[list[Any]]
    ids: list[str]

    def csv(self) -> str:
        """The table as CSV. Cells that a spreadsheet would read as formulas are quoted; None is an empty cell."""
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(self.columns)
        writer.writerows([[escape_formula(cell) for cell in row] for row in self.rows])
        return file.getvalue()


def tabulate(runs: Iterable[Run]) -> Table:
    """One row per run: title and best loss, then all facts and settings that differ between runs."""
    runs = list(runs)
    records = [{**_facts(run), **_settings(run)} for run in runs]
    names = [
        name for name in (records[0] if records else ALWAYS) if name in ALWAYS or _differ(one[name] for one in records)
    ]
    ranked = sorted(zip(records, runs, strict=True), key=lambda one: _rank(one[0]))
    return Table(names, [[one[name] for name in names] for one, _ in ranked], [run.id for _, run in ranked])


def _rank(record: dict[str, Any]) -> tuple[bool, float]:
    loss = record["best validation loss"]
    return loss is None, loss or 0.0


def _differ(values: Iterable[Any]) -> bool:
    return len(set(map(repr, values))) > 1


def _facts(run: Run) -> dict[str, Any]:
    status = run.status()
    loss = None if status.val_loss is None else round(status.val_loss, 4)
    elapsed = None if status.elapsed is None else round(status.elapsed, 1)
    values = (run.title, loss, status.state, status.step, elapsed, run.model_config.num_parameters)
    return dict(zip(FACTS, values, strict=True))


def _settings(run: Run) -> dict[str, Any]:
    """The text and all settings; num_steps is more informative than the steps taken."""
    text = {"text": run.corpus.get("name")}
    return text | {**to_dict(run.model_config), **to_dict(run.train_config)}


def escape_formula(cell: Any) -> Any:
    """The cell, prefixed with an apostrophe if a spreadsheet would read it as a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_DANGEROUS) else cell
