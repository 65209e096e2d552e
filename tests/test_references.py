"""The documents match the code: named symbols and modules exist, links resolve, the list of modules is up to date."""

from __future__ import annotations

import ast
import re

import pytest

from tests import module_map
from tests.conftest import ROOT

DOCUMENTS = (
    "README.md",
    "TRAINING.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/ARCHITECTURE.md",
    "docs/GUARANTEES.md",
)


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


SYMBOLS = re.findall(r"`([\w/]+\.(?:py|js)):([\w.]+)`", text_of("docs/ARCHITECTURE.md"))


@pytest.mark.parametrize(("file", "symbol"), sorted(set(SYMBOLS)))
def test_named_symbols_exist(file: str, symbol: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    if file.endswith(".py"):
        assert defines(ast.parse(source), symbol.split("."))
    else:
        assert re.search(rf"\b(function|const|let|class) {symbol}\b|^export const {{[^}}]*\b{symbol}\b", source, re.M)


def defines(node: ast.AST, path: list[str]) -> bool:
    """Return whether a module or class defines the dotted name `path`."""
    if not path:
        return True
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and child.name == path[0]:
            return defines(child, path[1:])
        targets = child.targets if isinstance(child, ast.Assign) else [getattr(child, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == path[0] for target in targets):
            return len(path) == 1
    return False


def test_list_of_modules_is_up_to_date() -> None:
    """If not: python -m tests.module_map README.md"""
    assert module_map.write_into(text_of("README.md")) == text_of("README.md")


def test_links_and_anchors_resolve() -> None:
    for document in DOCUMENTS:
        for link, anchor in re.findall(r"\]\((?!http)([^)#]*)(#[^)]*)?\)", text_of(document)):
            target = (ROOT / document).parent / link if link else ROOT / document
            assert target.exists(), (document, link)
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.M)
                anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
                anchors |= set(re.findall(r'<a id="([^"]+)">', target.read_text(encoding="utf-8")))
                assert anchor[1:] in anchors, (document, anchor)


def test_new_module_paths_in_the_changelog_exist() -> None:
    moved = re.findall(r"^\| `[\w.]+` \| `((?:nanollm|playground)[\w.]*)` \|$", text_of("CHANGELOG.md"), flags=re.M)
    assert len(moved) > 100
    for name in moved:
        assert (ROOT / (name.replace(".", "/") + ".py")).exists(), name
