"""app.py: public mode and the home folder."""

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
def test_the_page_is_public_with_the_flag_or_on_a_space(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], space: bool
) -> None:
    served: list[Settings] = []
    monkeypatch.setattr(page, "serve", served.append)
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    monkeypatch.delenv("NANOLLM_PUBLIC", raising=False)
    monkeypatch.setenv("SPACE_ID", "ann/nano-llm") if space else monkeypatch.delenv("SPACE_ID", raising=False)
    runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
    assert [settings.public for settings in served] == [bool(arguments) or space]


def test_a_relative_home_folder_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The Sample tab shows run paths relative to the home folder, while the store returns absolute ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NANOLLM_HOME", "here")
    settings = Settings()
    assert Context.open(settings).runs.root.relative_to(settings.home) == Path("checkpoints")
