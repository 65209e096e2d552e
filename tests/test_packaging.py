"""What is promised outside the code is so: the dependencies, the README's commands and table."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nanollm.config import PRESETS, make_configs
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_spaces_installs_what_pip_installs() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib came with Python 3.11")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n")
    assert sorted(filter(None, required)) == sorted(project["dependencies"])


def test_without_a_clone_the_package_has_its_text_and_says_what_it_lacks(tmp_path: Path) -> None:
    """As `pip install .` copies it: the modules, and what pyproject.toml names beside them."""
    site, home = tmp_path / "site", tmp_path / "home"
    shutil.copytree(ROOT / "nanollm", site / "nanollm", ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    assert 'nanollm = ["data/sample.txt"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "NANOLLM_HOME"}

    def nanollm(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nanollm", *arguments]
        return subprocess.run(
            command, cwd=home, env={**environment, "PYTHONPATH": str(site)}, capture_output=True, text=True
        )

    text = (ROOT / "data" / "raw" / "sample.txt").read_text(encoding="utf-8")
    assert json.loads(nanollm("corpus", "--json").stdout)["characters"] == len(text)
    nothing = nanollm("sample")
    assert nothing.returncode == 2 and nothing.stderr.startswith("There is no model yet: train one first")


def test_the_spaces_header_names_what_is_there() -> None:
    header = dict(re.findall(r"^(\w+): (.+)$", README.split("---")[1], flags=re.M))
    assert header["sdk"] == "gradio" and header["app_file"] == "app.py" and (ROOT / header["app_file"]).exists()
    major, minor = map(int, header["sdk_version"].split(".")[:2])
    assert (major, minor) >= (6, 31) and major < 7
    assert len(header["short_description"]) <= 60


def test_the_readme_table_is_computed() -> None:
    for name in PRESETS:
        model, train = make_configs(PRESETS[name], vocab_size=65)
        sizes = (model.embedding_dim, model.num_layers, model.ffn_hidden_dim, train.num_steps, model.num_parameters)
        row = " | ".join(f"{size:,}" for size in sizes)
        assert f"| {name} | {row} |" in README


def test_every_path_in_the_readme_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
