"""Packaging: dependencies, console script, the Space's header, the checks of CI and pre-commit, the README's table."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nanollm.config import PRESETS, make_configs
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADER = dict(re.findall(r"^(\w+): (.+)$", README.split("---")[1], flags=re.M))


def lines_of(name: str) -> list[str]:
    """The lines of a file without comments and empty lines."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


PINS = lines_of("constraints.txt")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The `[project]` table of pyproject.toml."""
    if sys.version_info < (3, 11):
        pytest.skip("tomllib needs Python 3.11")
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_requirements_txt_lists_the_dependencies_of_pyproject(project: dict[str, Any]) -> None:
    assert sorted(lines_of("requirements.txt")) == sorted(project["dependencies"])


def test_constraints_pin_every_dependency_within_its_range(project: dict[str, Any]) -> None:
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in PINS)}
    for line in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), line


def test_constraints_are_plain_version_pins() -> None:
    """No paths, URLs, editable installs or local versions such as `+cpu`."""
    assert [line for line in PINS if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line)] == []


def test_the_space_runs_the_tested_gradio() -> None:
    assert HEADER["sdk"] == "gradio" and (ROOT / HEADER["app_file"]).exists()
    assert len(HEADER["short_description"]) <= 60
    gradio = next(Requirement(line) for line in lines_of("requirements.txt") if line.startswith("gradio"))
    assert gradio.specifier.contains(HEADER["sdk_version"])
    assert f"gradio=={HEADER['sdk_version']}" in PINS
    major, minor = map(int, HEADER["sdk_version"].split(".")[:2])
    assert not gradio.specifier.contains(f"{major}.{minor + 1}.0")  # the page relies on details of one minor version


def test_pre_commit_runs_the_checks_of_ci() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert all(repo["repo"] == "local" for repo in config["repos"])
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in hooks)
    checks = (ROOT / ".ci" / "run").read_text(encoding="utf-8").split("# Static checks:")[1].splitlines()[1:]
    assert [hook["entry"] for hook in hooks] == [line for line in checks if line and not line.startswith(("#", "echo"))]


def test_the_console_script_returns_the_exit_status(project: dict[str, Any]) -> None:
    """An installed console script calls `sys.exit(main())`."""
    module, function = project["scripts"]["nanollm"].split(":")
    script = f"import sys; from {module} import {function}; sys.exit({function}())"
    command = [sys.executable, "-c", script, "runs", "show", "missing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_an_installed_package_has_its_command_and_its_files(tmp_path: Path) -> None:
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed, and building without network needs it")
    source = tmp_path / "source"
    for name in ("nanollm", "playground"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    prefix = tmp_path / "prefix"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*install, "--ignore-installed", "--prefix", prefix, source], check=True)
    site = next(prefix.rglob("nanollm/__init__.py")).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [next(prefix.rglob("bin/nanollm")), "corpus", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    text = (ROOT / "data" / "raw" / "sample.txt").read_text(encoding="utf-8")
    assert json.loads(done.stdout)["characters"] == len(text)
    for folder in ("nanollm", "playground"):
        files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.*") if "__pycache__" not in path.parts}
        assert {path for path in files if not (site / path).exists()} == set()


def test_package_without_a_clone_has_the_sample_text_and_reports_missing_models(tmp_path: Path) -> None:
    """As after `pip install .`: only the modules and the package data that pyproject.toml names."""
    site, home = tmp_path / "site", tmp_path / "home"
    shutil.copytree(ROOT / "nanollm", site / "nanollm", ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    assert 'nanollm = ["train/attention.c", "data/sample.txt"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
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


def test_preset_table_in_the_readme_is_computed() -> None:
    for name in PRESETS:
        model, train = make_configs(PRESETS[name], vocab_size=65)
        sizes = (model.embedding_dim, model.num_layers, model.ffn_hidden_dim, train.num_steps, model.num_parameters)
        row = " | ".join(f"{size:,}" for size in sizes)
        assert f"| {name} | {row} |" in README
