"""Guarantee C11: CSV cells are never read as formulas."""

from __future__ import annotations

import csv
import io

import pytest

from nanollm.experiments.results import result, to_csv
from nanollm.runs.store import RunStore
from nanollm.runs.table import tabulate
from tests.run_folders import evaluated, make, write

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("x")']


@pytest.mark.parametrize("title", FORMULAS)
def test_c11_titles_are_not_written_as_formulas(store: RunStore, title: str) -> None:
    run = make(store)
    write(run, evaluated(0, 2.0))
    store.rename(run.id, title)
    run = store.get(run.id)
    for table in (to_csv([result(run)]), tabulate([run]).csv()):
        cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row]
        assert f"'{title}" in cells
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
