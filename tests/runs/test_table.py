"""table.py: only differing columns, best run first, no formulas in the CSV."""

from __future__ import annotations

import csv
import io

from nanollm.runs.record import Run, write_status
from nanollm.runs.store import RunStore
from nanollm.runs.table import ALWAYS, Table, tabulate
from tests.run_folders import evaluated, make, write


def trained(store: RunStore, loss: float | None, **settings) -> Run:
    """Write a stopped run with this validation loss."""
    run = make(store, **settings)
    write(run, evaluated(10, loss))
    write_status(run.folder, "stopped", step=10)
    return run


def test_only_differing_settings_are_columns_and_the_best_run_is_first(store: RunStore) -> None:
    worse = trained(store, 2.0, learning_rate=0.01)
    unknown = trained(store, None, learning_rate=0.02)
    best = trained(store, 1.5, learning_rate=0.01, num_layers=3)
    table = tabulate(store.list())
    assert table.columns == ["run", "best validation loss", "parameters", "num_layers", "learning_rate"]
    assert table.ids == [best.id, worse.id, unknown.id]
    assert [row[1] for row in table.rows] == [1.5, 2.0, None]
    assert [row[-2:] for row in table.rows] == [[3, 0.01], [2, 0.01], [2, 0.02]]


def test_settings_common_to_all_runs_are_omitted(store: RunStore) -> None:
    trained(store, 2.0), trained(store, 1.5)
    table = tabulate(store.list())
    assert table.columns == list(ALWAYS)
    assert all(len(row) == 2 for row in table.rows)


def test_no_runs_give_an_empty_table() -> None:
    assert tabulate([]) == Table(list(ALWAYS), [], [])


def test_cells_that_look_like_formulas_are_escaped(store: RunStore) -> None:
    titles = ["=1+1", "+cmd", "-2", "@sum", 'fine, "quoted"\nand broken']
    table = Table(["run", "loss"], [[title, None] for title in titles], ["x"] * 5)
    cells = [row[0] for row in csv.reader(io.StringIO(table.csv()))][1:]
    assert cells == ["'=1+1", "'+cmd", "'-2", "'@sum", titles[-1]]
    numbers = Table(["loss"], [[-1.5]], ["x"])
    assert numbers.csv().splitlines()[1] == "-1.5"
