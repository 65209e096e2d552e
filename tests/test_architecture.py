"""Architecture: import order of the packages, lazily loaded dependencies, and one set of setting names."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The packages of the core, lowest first: each imports only from itself and from those listed before it.
ORDER = (
    {"errors"},
    {"files"},
    {"config"},
    {"tokenizer", "limits"},
    {"model"},
    {"charts"},  # handles arrays: see CHARTS
    {"data"},
    {"train"},
    {"inference"},
    {"explain"},
    {"runs"},
    {"experiments"},
    {"cli"},
)
CHARTS = {"charts", "errors", "tokenizer"}
SCREENS = {"gradio", "plotly", "playground"}


def core_modules() -> list[Path]:
    return sorted((ROOT / "nanollm").rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, except in its `__main__` block."""
    found: set[str] = set()
    body = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not is_script_guard(node)]
    for node in (inner for outer in body for inner in ast.walk(outer)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: use absolute imports"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_script_guard(node: ast.stmt) -> bool:
    """Return whether this is `if __name__ == "__main__":`, where a module may import its command from cli/."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def package_of(dotted: str) -> str | None:
    """Return the package of a module, e.g. `inference` for `nanollm.inference.generate`; None outside of nanollm."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "nanollm" and len(parts) > 1 else None


# The packages of `playground` that each of its packages may import. Features do not import each other.
FEATURE = {"browser", "components", "services", "context", "handlers", "selection"}
PAGE: dict[str, set[str]] = {
    "handlers": set(),
    "selection": set(),
    "settings": set(),
    "services": {"handlers", "selection"},
    "browser": {"services"},
    "public": {"browser", "handlers", "services", "settings"},
    "components": FEATURE,  # some are wired to the context
    "context": {"components", "handlers", "public", "services", "settings"},
    "shell": FEATURE,
    "corpus": FEATURE,
    "train": FEATURE,
    "sample": FEATURE,
    "attention": FEATURE,
    "compare": FEATURE | {"shell"},  # each column has a time bar
    "api": FEATURE | {"attention", "compare"},  # parses heads and columns like their tabs
}


def page_modules() -> list[Path]:
    return sorted((ROOT / "playground").rglob("*.py"))


@pytest.mark.parametrize("path", page_modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_page_packages_import_only_the_allowed_features(path: Path) -> None:
    package = path.relative_to(ROOT / "playground").with_suffix("").parts[0]
    if package not in ("__init__", "page"):
        modules = (dotted.split(".") for dotted in imports_of(path) if dotted.startswith("playground."))
        assert {parts[1] for parts in modules} <= PAGE[package] | {package}


@pytest.mark.parametrize("path", core_modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_packages_import_one_way(path: Path) -> None:
    package = path.relative_to(ROOT / "nanollm").with_suffix("").parts[0]
    if package in ("__init__", "__main__"):
        return
    level = next(number for number, packages in enumerate(ORDER) if package in packages)
    allowed = CHARTS if package == "charts" else set().union({package}, *ORDER[:level])
    used = {package for dotted in imports_of(path) if (package := package_of(dotted)) in set().union(*ORDER)}
    assert used <= allowed


@pytest.mark.parametrize("path", core_modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_imports_no_screen_packages(path: Path) -> None:
    used = {dotted.split(".")[0] for dotted in imports_of(path)} & SCREENS
    assert used <= ({"plotly"} if path.parent.name == "charts" else set())


def test_pickle_and_torch_load_are_not_used() -> None:
    for path in [*core_modules(), *(ROOT / "playground").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert "pickle" not in imports_of(path) and not calls & {"torch.load", "torch.save"}, path


def test_names_of_other_projects_are_not_used() -> None:
    for path in [*core_modules(), *(ROOT / "playground").rglob("*.py")]:
        names = {
            node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)
        }
        assert not names & {"n_embd", "n_layer", "n_head", "d_model", "block_size", "max_iters", "lr"}, path


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import nanollm", {"gradio", "plotly", "torch", "numpy"}),
        ("from nanollm import RunStore; RunStore('nowhere').list()", {"gradio", "plotly", "torch"}),
        (
            "from nanollm import TransformerLanguageModel, train_with_config, generate_text, attention_map, Launcher; "
            "model = TransformerLanguageModel(3, 8, 1, 8, context_length=4); "
            'train_with_config(model, [0, 1, 2] * 20, {"num_steps": 1, "precision": "float32", "threads": 1})',
            {"gradio", "plotly", "torch._dynamo"},  # torch._dynamo, the compiler, takes as long to load as torch itself
        ),
        ("import nanollm.charts.base", {"gradio", "plotly", "torch"}),
        ("from nanollm.cli.main import build_parser; build_parser()", {"gradio", "plotly", "torch"}),
        (
            "from pathlib import Path; from playground import page; from playground.settings import Settings; "
            "page.build(page.Context.open(Settings(home=Path('nowhere'))))",
            {"torch"},
        ),
    ],
)
def test_slow_dependencies_are_loaded_lazily(statement: str, absent: set[str]) -> None:
    report = f"import sys; {statement}; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        (["runs", "list"], {"numpy", "safetensors", "torch"}),
        (["runs", "show", "pretrained-nano"], {"numpy", "safetensors", "torch"}),
        (["sample", "pretrained-nano", "--max-length", "1"], {"torch"}),
        (["sample", "pretrained-nano", "--max-length", "1", "--num-samples", "2", "--json"], {"torch"}),
    ],
)
def test_a_command_imports_only_what_it_needs(command: list[str], absent: set[str]) -> None:
    code = (
        "import sys; from nanollm.cli.main import main; status = main(sys.argv[1:]); print(*sys.modules); exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert "nanollm.cli.main" in modules and not modules & absent


def test_every_public_name_exists() -> None:
    import nanollm

    for name in nanollm.__all__:
        assert getattr(nanollm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nanollm.nothing
