"""Starting the page: from the command line, or as a Space does."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from playground import page
from playground.context import Context
from playground.settings import Settings
from tests.conftest import ROOT


@pytest.mark.parametrize("arguments, space", [([], False), (["--public"], False), ([], True)])
def test_the_flag_makes_it_public(monkeypatch: pytest.MonkeyPatch, arguments: list[str], space: bool) -> None:
    """And so does a Space, by itself."""
    served: list[Settings] = []
    monkeypatch.setattr(page, "serve", served.append)
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    monkeypatch.delenv("NANOLLM_PUBLIC", raising=False)
    monkeypatch.setenv("SPACE_ID", "somebody/nano-llm") if space else monkeypatch.delenv("SPACE_ID", raising=False)
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
    assert [settings.public for settings in served] == [bool(arguments) or space]


def test_the_home_may_be_named_from_where_one_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sample shows the paths of runs below it, and the store names them from the root of the disk on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NANOLLM_HOME", "here")
    settings = Settings()
    assert Context.open(settings).runs.root.relative_to(settings.home) == Path("checkpoints")
