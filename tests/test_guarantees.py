"""docs/GUARANTEES.md and the tests in tests/faults cite the same guarantees."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from tests.faults.test_every_guarantee import ROWS

TEXT = (ROOT / "docs" / "GUARANTEES.md").read_text(encoding="utf-8")
TABLE = {row[0]: row[1:] for row in re.findall(r"^\| ([A-F]\d+) \| (.+) \| (.+) \| (.+) \|$", TEXT, flags=re.M)}
FAULTS = ROOT / "tests" / "faults"


def cited(path) -> set[str]:
    """The ids that a test file cites: in its docstring's first lines, its name, or the names of its tests."""
    source = path.read_text(encoding="utf-8")
    docstring = source.split('"""')[1]
    names = " ".join([path.stem, *re.findall(r"def (test_\w+)", source)])
    in_names = re.findall(r"(?<=_)[a-f]\d+(?=_|\b)", names)
    return {*re.findall(r"\b[A-F]\d+\b", docstring), *map(str.upper, in_names)}


CITED = {path.name: cited(path) for path in FAULTS.glob("test_*.py") if path.name != "test_every_guarantee.py"}


def test_the_tables_list_exactly_the_guarantees_that_tests_cite() -> None:
    assert [row.upper() for row in ROWS] == list(TABLE)
    assert set(TABLE) == set().union(*CITED.values())


@pytest.mark.parametrize("row", TABLE)
def test_each_guarantee_names_the_files_that_test_it(row: str) -> None:
    *_, tests = TABLE[row]
    links = re.findall(r"\]\(([^)]+)\)", tests)
    assert sorted(link.rsplit("/")[-1] for link in links) == sorted(name for name, ids in CITED.items() if row in ids)
    files = [ROOT / "docs" / link for link in links] + [ROOT / name for name in re.findall(r"`([^`]+)`", tests)]
    assert files and all(file.exists() for file in files)
