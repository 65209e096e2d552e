"""All runs as a table of only what differs between them, the best first, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nanollm.config import to_dict
from nanollm.runs.record import Run

FACTS = ("run", "best validation loss", "state", "steps", "seconds", "parameters")
ALWAYS = ("run", "best validation loss")  # the rest only where two runs differ in it
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet take a cell for a formula


@dataclass(frozen=True)
class Table:
    """Rows of cells (text, numbers or None), sorted by best validation loss; `ids` name the runs of the rows."""

    columns: list[str]
    rows: list[list[Any]]
    ids: list[str]

    def csv(self) -> str:
        """As a spreadsheet reads it; cells that it would take for formulas are quoted away. None is an empty cell."""
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(self.columns)
        writer.writerows([[escape_formula(cell) for cell in row] for row in self.rows])
        return file.getvalue()


def tabulate(runs: Iterable[Run]) -> Table:
    """A row for each run: its name and loss, then the text and every fact and setting in which two of them differ."""
    runs = list(runs)
    told = [{**_facts(run), **_settings(run)} for run in runs]
    names = [name for name in (told[0] if told else ALWAYS) if name in ALWAYS or _differ(one[name] for one in told)]
    told = sorted(zip(told, runs, strict=True), key=lambda one: _merit(one[0]))
    return Table(names, [[one[name] for name in names] for one, _ in told], [run.id for _, run in told])


def _merit(told: dict[str, Any]) -> tuple[bool, float]:
    loss = told["best validation loss"]
    return loss is None, loss or 0.0


def _differ(values: Iterable[Any]) -> bool:
    return len(set(map(repr, values))) > 1


def _facts(run: Run) -> dict[str, Any]:
    status = run.status()
    loss = None if status.val_loss is None else round(status.val_loss, 4)
    seconds = None if status.seconds is None else round(status.seconds, 1)
    told = (run.title, loss, status.state, status.step, seconds, run.model_config.num_parameters)
    return dict(zip(FACTS, told, strict=True))


def _settings(run: Run) -> dict[str, Any]:
    """What was asked for; num_steps among it, which says more than the steps that were taken."""
    text = {"text": run.corpus.get("name")}
    return text | {**to_dict(run.model_config), **to_dict(run.train_config)}


def escape_formula(cell: Any) -> Any:
    """The cell, quoted away if a spreadsheet would take it for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_DANGEROUS) else cell
