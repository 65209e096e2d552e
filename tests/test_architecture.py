"""The house stands as it was drawn: who may import whom, what loads what, and one vocabulary."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# What each module of the core may import from the core. "experiments" and the command line stand on everything.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "alone": set(),
    "files": set(),
    "config": set(),
    "events": set(),
    "memory": {"config"},
    "limits": {"config", "memory"},
    "tokenizer": set(),
    "mapped": set(),
    "baselines": {"mapped"},
    "plaintext": {"tokenizer"},
    "readings": set(),
    "ids_file": {"mapped", "tokenizer"},
    "corpus": {"tokenizer", "baselines", "files", "limits", "plaintext", "ids_file"},
    "planning": {"config"},
    "durations": set(),
    "workload": {"config"},
    "text_facts": {"baselines", "config", "corpus", "plaintext", "planning", "tokenizer"},
    "builtin": {"corpus"},
    "dataset": {"config", "corpus", "mapped"},
    "model": {"config"},
    "optim": {"config"},
    "step": {"distributed", "model", "optim"},
    "device": set(),
    "evaluation": {"mapped", "memory", "model", "workload"},
    "distributed": set(),
    "calibration": {"config", "files", "model", "optim", "step"},
    "checkpoint": {"config", "files", "tokenizer", "model"},
    "train": {
        "calibration",
        "config",
        "events",
        "dataset",
        "device",
        "distributed",
        "evaluation",
        "memory",
        "model",
        "optim",
        "step",
        "checkpoint",
        "tokenizer",
        "train_state",
        "workload",
    },
    "train_state": {"checkpoint", "config", "distributed", "model", "optim"},
    "train_arguments": {"config", "corpus", "runs"},
    "run_facts": {"runs"},
    "exit_status": set(),
    "inference": {"config", "exit_status", "tokenizer", "model", "checkpoint", "inference"},
    "explain": {"config", "tokenizer", "model", "checkpoint", "inference", "explain"},
    "thinning": set(),
    "scaling_charts": {"charts"},
    "reference": {"config"},
    "terminal": {"events", "experiments", "runs"},
    "inside_charts": {"charts"},
    "attention_page": {"attention_chart", "charts"},
    "attention_chart": {"charts"},
    "charts": {"tokenizer"},
    "loss_chart": {"charts", "thinning"},
    "health_chart": {"charts", "thinning"},
    "pace": {"calibration", "config", "device"},
}
# What only reads run folders needs no torch.
RUNS = {"baselines", "config", "durations", "events", "files", "limits", "memory", "runs", "workload"}
WORKER = set(ALLOWED) | {"runs"}  # what trains in them stands on everything above
TRAINING = {"worker", "training", "ranks"}
SCREENS = {"gradio", "plotly", "playground"}


def core_modules() -> list[Path]:
    return sorted((ROOT / "nanollm").rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def home_of(dotted: str) -> str | None:
    """`nanollm.inference.generate` → `inference`; None for what is not ours."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == "nanollm" and len(parts) > 1 else None


@pytest.mark.parametrize("path", core_modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    parts = path.relative_to(ROOT / "nanollm").with_suffix("").parts
    if parts[0] in ("__init__", "__main__", "cli", "experiments", "capsule", "hub"):
        return
    trains = parts[0] == "runs" and parts[1] in TRAINING
    allowed = WORKER if trains else RUNS if parts[0] == "runs" else ALLOWED[parts[0]]
    names = {path.stem for path in core_modules()} | {path.parent.name for path in core_modules()}
    used = {home for dotted in imports_of(path) if (home := home_of(dotted)) in names}
    assert used - {"errors"} <= allowed | {parts[0]}


@pytest.mark.parametrize("path", core_modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_knows_no_screen(path: Path) -> None:
    used = {dotted.split(".")[0] for dotted in imports_of(path)} & SCREENS
    assert used <= ({"plotly"} if path.name == "charts.py" else set())


def test_no_pickle_anywhere() -> None:
    for path in [*core_modules(), *(ROOT / "playground").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert "pickle" not in imports_of(path) and not calls & {"torch.load", "torch.save"}, path


def test_no_second_vocabulary() -> None:
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
            {"gradio", "plotly", "torch._dynamo"},  # the last is PyTorch's compiler: as slow to load as torch itself
        ),
        ("import nanollm.charts", {"gradio", "plotly", "torch"}),
        ("import nanollm.cli", {"gradio", "plotly", "torch"}),
    ],
)
def test_what_loads_what(statement: str, absent: set[str]) -> None:
    report = f"import sys; {statement}; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_public_name_exists() -> None:
    import nanollm

    for name in nanollm.__all__:
        assert getattr(nanollm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nanollm.nothing
