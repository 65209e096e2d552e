"""Every guarantee has a test that cites its id and runs by default."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

COUNTS = {"a": 5, "b": 9, "c": 12, "d": 6, "e": 3, "f": 1}
ROWS = [f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)]
HERE = Path(__file__).parent


def marked(node: ast.AST) -> bool:
    """Whether a decorator or `pytestmark` excludes tests from the default run."""
    return any(isinstance(part, ast.Attribute) and part.attr in ("slow", "long") for part in ast.walk(node))


def words_of(path: Path) -> set[str]:
    """The words in the names of a file and its tests that run by default."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if any(isinstance(node, ast.Assign) and "pytestmark" in ast.dump(node) and marked(node) for node in tree.body):
        return set()
    words: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            whole = [decorator for decorator in node.decorator_list if "parametrize" not in ast.dump(decorator)]
            if not any(map(marked, whole)):
                words |= {*path.stem.split("_"), *node.name.split("_")}
    return words


@pytest.mark.parametrize("row", ROWS)
def test_every_guarantee_is_cited_by_a_test_of_the_default_run(row: str) -> None:
    assert any(row in words_of(path) for path in HERE.glob("test_*.py"))
