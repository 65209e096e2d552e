"""The page's scripts: unit tests (node --test), lint and format (Biome), types (tsc).

Without Node.js, or without the packages that `npm ci` installs, they are skipped; NANOLLM_REQUIRE_NODE=1 turns the skip
into a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from playground.browser.constants import browser_constants
from tests.conftest import ROOT

TOOLS = ROOT / "node_modules" / ".bin"
SCRIPTS = sorted((ROOT / "playground").rglob("*.js"))


def missing(message: str) -> None:
    if os.environ.get("NANOLLM_REQUIRE_NODE") == "1":
        pytest.fail(message)
    pytest.skip(message)


def run(*command: str | Path) -> None:
    done = subprocess.run(list(command), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_unit_tests_pass() -> None:
    node = shutil.which("node")
    if node is None:
        missing("Node.js was not found: install it to run the tests of the page's scripts.")
    run(str(node), "--test", *sorted((ROOT / "tests" / "js").glob("*.test.js")))


@pytest.mark.parametrize("tool", [("biome", "ci"), ("tsc",)], ids=lambda tool: tool[0])
def test_lint_format_and_types_are_clean(tool: tuple[str, ...]) -> None:
    if shutil.which("node") is None or not (TOOLS / tool[0]).exists():
        missing(f"{tool[0]} was not found: install Node.js and run `npm ci`.")
    run(TOOLS / tool[0], *tool[1:])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_is_type_checked(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("// @ts-check\n")


def test_the_lock_file_names_no_registry() -> None:
    assert "http" not in (ROOT / "package-lock.json").read_text(encoding="utf-8")


def test_the_browser_gets_the_sentences_of_every_catalogue() -> None:
    sent = browser_constants()["sentences"]
    catalogues = {path.parent.name for path in (ROOT / "playground").glob("*/sentences.py")} & set(sent)
    assert catalogues and all(sent[feature] for feature in catalogues)
