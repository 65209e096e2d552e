"""Run every command and code block in README.md and TRAINING.md in reading order, with shortened trainings."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nanollm.cli import settings_reference as reference
from nanollm.config import ModelConfig, TrainConfig
from nanollm.runs.process.launcher import Launcher
from nanollm.runs.store import Run, RunStore
from tests import module_map
from tests.conftest import ROOT

DOCUMENTS = ("README.md", "TRAINING.md")
# Commands that this test does not run, because they install packages, serve a page or start several processes. Each
# lists a file and a test in it (or a text in it) that covers the command.
COVERED_ELSEWHERE: dict[str, tuple[tuple[str, str], ...]] = {
    'python3 -m venv .venv && .venv/bin/python -m pip install -e ".[test]" && .venv/bin/python -m pytest': (
        (".ci/run", r"command=$(grep -m 1 '\-m pytest$' README.md)"),  # CI reads the command from the README
    ),
    "python3 -m venv .venv && .venv/bin/python -m pip install -e . && .venv/bin/python app.py": (
        ("tests/test_docs.py", "test_runtime_imports_are_runtime_dependencies"),
        ("tests/serving.py", '[sys.executable, "app.py"]'),
    ),
    "python app.py": (("tests/serving.py", '[sys.executable, "app.py"]'),),
    "python app.py --public": (
        ("tests/playground/test_app.py", "test_the_page_is_public_with_the_flag_or_on_a_space"),
    ),
    "python -m nanollm.experiments.pretrained --from checkpoints/shipped --to checkpoints/pretrained": (
        ("tests/experiments/test_pretrained.py", "test_the_command_builds_models_from_run_folders"),
    ),
    "python -m nanollm push ID owner/name": (
        ("tests/runs/transfer/test_hub.py", "test_push_and_pull_are_lossless_and_skip_other_files"),
    ),
    "python -m nanollm pull owner/name": (
        ("tests/runs/transfer/test_hub.py", "test_push_and_pull_are_lossless_and_skip_other_files"),
    ),
    "python -m tests.benchmarks.training": (
        ("tests/test_benchmarks.py", "test_the_training_benchmark_reports_all_parts"),
    ),
    "python -m tests.benchmarks.sampling": (
        ("tests/test_benchmarks.py", "test_the_sampling_benchmark_reports_all_parts"),
    ),
    "python -m tests.benchmarks.distributed": (
        ("tests/test_benchmarks.py", "test_the_distributed_benchmark_reports_all_variants"),
    ),
    "torchrun --nproc-per-node 2 -m nanollm train --preset medium --corpus my.txt --run-dir checkpoints/together": (
        ("tests/train/test_distributed.py", "test_two_processes_reproduce_the_run_of_one"),
    ),
    "torchrun --nproc-per-node 2 -m nanollm train --run-dir checkpoints/together --resume": (
        (
            "tests/train/test_distributed.py",
            "test_a_paused_and_killed_run_equals_an_uninterrupted_one",
        ),
    ),
    **{
        f"torchrun --nnodes 2 --node-rank {rank} --nproc-per-node 1 --master-addr first --master-port 29400 "
        "-m nanollm train --corpus my.txt --run-dir checkpoints/apart": (
            ("tests/train/test_distributed.py", "test_only_the_first_machine_needs_the_text_and_the_run_folder"),
        )
        for rank in (0, 1)
    },
}
QUICK = ["--num-steps", "2", "--batch-size", "2", "--threads", "1", "--precision", "float32", "--eval-interval", "2"]
SHAPE = ["--context-length", "16"]
TINY_SCALE = ["--num-steps-scale", "0.001"]


def text_of(document: str) -> str:
    """Return a document without the generated list of modules, whose docstrings name commands too."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.sub(f"{module_map.BEGIN}.*?{module_map.END}", "", text, flags=re.S)


def shell_commands(text: str) -> list[str]:
    """Return the commands of all bash blocks, and inline code that begins with `python`."""
    found = []
    for kind, block, inline in re.findall(r"```(\w*)\n(.*?)```|`(python [^`\n]+)`", text, flags=re.S):
        if kind == "bash":
            found += [re.sub(r"\s+#.*$", "", line) for line in block.splitlines() if line.strip()]
        elif inline:
            found.append(inline)
    return found


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.S)


@dataclass
class Reader:
    """Runs the commands and code blocks of a document in a temporary project folder."""

    home: Path
    store: RunStore
    launcher: Launcher

    def run_command(self, command: str) -> None:
        words = self._words(command)
        assert words[:2] == ["python", "-m"], command
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # runpy warns that the module is already imported
            self._run(words[2], words[3:], command)
        self._wait()

    def run_python(self, block: str) -> None:
        """Run a Python block with trainings shortened to two steps."""
        short = re.sub(r'"num_steps": [\d_]+', '"num_steps": 2', block)
        exec(compile(short.replace('"ID"', repr(self.newest().id)), "<document>", "exec"), {})

    def newest(self) -> Run:
        """Return the newest completed run that is not read-only."""
        runs = (run for run in self.store.list() if not run.read_only and not run.checkpoints_only)
        return next(run for run in runs if run.status().state == "completed")

    def _words(self, command: str) -> list[str]:
        words = shlex.split(command)
        words = ["my.txt" if word == "tiny-shakespeare" else word for word in words]  # instead of downloading it
        if "ID" in words:
            words[words.index("ID")] = self._run_for(words)
        if "train" in words:
            words += QUICK if "--from" not in words else ["--num-steps", "2"]
            words += SHAPE if "--from" not in words else []
        if "scale" in words:
            words += TINY_SCALE + ([] if "shipped" in words else ["--presets", "nano"])
        return words

    def _run_for(self, words: list[str]) -> str:
        """Return the id of a run that the command can be applied to."""
        if {"pause", "stop", "resume", "delete"} & set(words):
            sample = self.newest()
            waiting = self.store.create(
                settings={**sample.settings, "num_steps": 2},
                corpus=_Text(**sample.corpus),
                preset=sample.preset,
                queued="pause" in words or "stop" in words,
            )
            return waiting.id
        return self.newest().id

    def _run(self, module: str, arguments: list[str], command: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", [module, *arguments])
            try:
                runpy.run_module(module, run_name="__main__", alter_sys=False)
            except SystemExit as ended:
                assert not ended.code, f"{command}: {ended.code}"

    def _wait(self) -> None:
        deadline = time.monotonic() + 300
        while any(run.status().active for run in self.store.list()) and time.monotonic() < deadline:
            self.launcher.advance()
            time.sleep(0.05)


@dataclass(frozen=True)
class _Text:
    name: str
    sha256: str
    characters: int
    vocab_size: int


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader in a temporary folder with TRAINING.md, the sample text, my.txt, and other.txt (same characters)."""
    (tmp_path / "data").mkdir()
    shutil.copytree(ROOT / "data" / "raw", tmp_path / "data" / "raw")
    shutil.copy(ROOT / "TRAINING.md", tmp_path)
    mine = (ROOT / "data" / "raw" / "sample.txt").read_text(encoding="utf-8")[:20_000]
    for name in ("my.txt", "other.txt"):
        (tmp_path / name).write_text(mine if name == "my.txt" else mine[::-1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    store = RunStore(tmp_path / "checkpoints")
    launcher = Launcher(store, tmp_path / "data" / "corpora")
    yield Reader(tmp_path, store, launcher)
    launcher.close()


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_runs(document: str, reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    commands = 0
    for kind, content in in_order(text_of(document)):
        if kind == "python":
            if "gradio_client" not in content:  # needs a running page: tests/api runs this block
                reader.run_python(content)
        # tests/runs/process/test_remote.py covers --launch-command.
        elif content not in COVERED_ELSEWHERE and "--launch-command" not in content:
            reader.run_command(content)
            commands += 1
    assert commands >= 6
    assert "Traceback" not in capsys.readouterr().err


def in_order(text: str) -> Iterator[tuple[str, str]]:
    """Yield shell commands and Python blocks in document order."""
    for part in re.split(r"(```python\n.*?```)", text, flags=re.S):
        if part.startswith("```python"):
            yield "python", python_blocks(part)[0]
        else:
            yield from (("bash", command) for command in shell_commands(part))


def test_commands_covered_elsewhere_are_covered() -> None:
    commands = {command for document in DOCUMENTS for command in shell_commands(text_of(document))}
    assert set(COVERED_ELSEWHERE) <= commands
    for places in COVERED_ELSEWHERE.values():
        for file, words in places:
            content = (ROOT / file).read_text(encoding="utf-8")
            assert f"def {words}(" in content if words.startswith("test_") else words in content, (file, words)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_are_in_bash_blocks(document: str) -> None:
    """Indented blocks list files only; commands outside of bash blocks would not be tested."""
    text = re.sub(r"```.*?```", "", text_of(document), flags=re.S)
    assert not re.findall(r"^ +(?:\S+/)?(?:torchrun|python3?|pip) .*$", text, flags=re.M)
    assert set(re.findall(r"^```(\w*)$", text_of(document), flags=re.M)) == {"bash", "python", ""}


def test_runtime_imports_are_runtime_dependencies() -> None:
    """Every package that app.py and the command line import is a dependency, directly or indirectly."""
    report = "import sys, playground.page, nanollm.cli.main; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=True)
    homes = metadata.packages_distributions()
    installed = {canonicalize_name(home) for name in done.stdout.split() for home in homes.get(name, [])}
    needed: set[str] = set()
    pending = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().split("\n") if line]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in needed or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        needed.add(name)
        pending += [Requirement(line) for line in metadata.requires(name) or []]
    assert installed - needed <= {"nanollm", "nano-llm"}


class TestSettingsTables:
    def test_the_tables_are_up_to_date(self) -> None:
        """If not: python -m nanollm.cli.settings_reference TRAINING.md"""
        training = text_of("TRAINING.md")
        assert reference.insert_tables(training) == training

    def test_every_setting_is_listed_with_its_help_text(self) -> None:
        tables = reference.tables()
        for field in (*fields(ModelConfig), *fields(TrainConfig)):
            row = f"| `{field.name}` | {field.metadata['help']} |"
            assert (row in tables) == (field.name != "vocab_size")

    def test_a_file_without_the_marks_is_refused(self) -> None:
        with pytest.raises(ValueError):
            reference.insert_tables("no marks here")


def test_troubleshooting_quotes_existing_messages() -> None:
    """Each quoted message, without its numbers, occurs in the source code."""
    code = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "nanollm").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # join string literals that span several lines
    section = text_of("TRAINING.md").split("## Troubleshooting")[1]
    quoted = re.findall(r"^\*\*.*$", section, flags=re.M)
    sentences = [sentence for line in quoted for sentence in re.findall(r"[“\"]([^”\"]{12,})[”\"]", line)]
    assert len(sentences) >= 5
    for sentence in sentences:
        for piece in filter(None, (part.strip(" .,") for part in sentence.split("…"))):
            assert piece in code, sentence
