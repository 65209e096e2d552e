"""Every command in README.md and TRAINING.md runs, in the order in which one reads them; the long ones shortened."""

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

from nanollm import reference
from nanollm.config import ModelConfig, TrainConfig
from nanollm.runs.launcher import Launcher
from nanollm.runs.store import Run, RunStore
from tests.conftest import ROOT

DOCUMENTS = ("README.md", "TRAINING.md")
# What a test cannot do to its own machine or within one process, and what does it instead: a file that holds the words,
# or a file and a test of that name in it.
ELSEWHERE: dict[str, tuple[tuple[str, str], ...]] = {
    'python3 -m venv .venv && .venv/bin/python -m pip install -e ".[test]" && .venv/bin/python -m pytest': (
        (".ci/run", r"command=$(grep -m 1 '\-m pytest$' README.md)"),  # it takes the command itself from there
    ),
    "python3 -m venv .venv && .venv/bin/python -m pip install -e . && .venv/bin/python app.py": (
        ("tests/test_docs.py", "test_the_page_needs_nothing_that_only_the_tests_install"),
        ("tests/serving.py", '[sys.executable, "app.py"]'),
    ),
    "python app.py": (("tests/serving.py", '[sys.executable, "app.py"]'),),
    "python app.py --public": (("tests/test_app.py", "test_the_flag_makes_it_public"),),
    "python -m nanollm.experiments.pretrained --from checkpoints/shipped --to checkpoints/pretrained": (
        ("tests/test_pretrained.py", "test_the_command_takes_folders_and_says_what_it_made"),
    ),
    "python -m nanollm push ID owner/name": (("tests/test_hub.py", "test_a_run_goes_to_the_hub_and_comes_back"),),
    "python -m nanollm pull owner/name": (("tests/test_hub.py", "test_a_run_goes_to_the_hub_and_comes_back"),),
    "python -m tests.benchmarks.training": (("tests/test_benchmarks.py", "test_training"),),
    "python -m tests.benchmarks.sampling": (("tests/test_benchmarks.py", "test_sampling"),),
    "python -m tests.benchmarks.distributed": (("tests/test_benchmarks.py", "test_distributed"),),
    "torchrun --nproc-per-node 2 -m nanollm train --preset medium --corpus my.txt --run-dir checkpoints/together": (
        ("tests/test_distributed.py", "test_two_processes_make_the_run_that_one_makes"),
    ),
    "torchrun --nproc-per-node 2 -m nanollm train --run-dir checkpoints/together --resume": (
        ("tests/test_distributed.py", "test_paused_killed_and_killed_again_it_is_the_run_that_was_never_interrupted"),
    ),
    **{
        f"torchrun --nnodes 2 --node-rank {rank} --nproc-per-node 1 --master-addr first --master-port 29400 "
        "-m nanollm train --corpus my.txt --run-dir checkpoints/apart": (
            ("tests/test_distributed.py", "test_machines_meet_and_only_the_first_has_text_and_folder"),
        )
        for rank in (0, 1)
    },
}
QUICK = ["--num-steps", "2", "--batch-size", "2", "--threads", "1", "--precision", "float32", "--eval-interval", "2"]
SHAPE = ["--context-length", "16"]
TINY_SCALE = ["--num-steps-scale", "0.001"]


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def shell_commands(text: str) -> list[str]:
    """The commands of all grey blocks, and those in running text that begin with python."""
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
    """Somebody who types what a document says, in a folder of their own."""

    home: Path
    store: RunStore
    launcher: Launcher

    def type(self, command: str) -> None:
        words = self._words(command)
        assert words[:2] == ["python", "-m"], command
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the module was imported before; here that is no harm
            self._run(words[2], words[3:], command)
        self._wait()

    def run(self, block: str) -> None:
        """A piece of Python, its trainings cut to two steps."""
        short = re.sub(r'"num_steps": [\d_]+', '"num_steps": 2', block)
        exec(compile(short.replace('"ID"', repr(self.newest().id)), "<document>", "exec"), {})

    def newest(self) -> Run:
        """The newest run of one's own that is over and may be continued."""
        runs = (run for run in self.store.list() if not run.read_only and not run.bare)
        return next(run for run in runs if run.status().state == "completed")

    def _words(self, command: str) -> list[str]:
        words = shlex.split(command)
        words = ["my.txt" if word == "tiny-shakespeare" else word for word in words]  # which would be fetched
        if "ID" in words:
            words[words.index("ID")] = self._run_for(words)
        if "train" in words:
            words += QUICK if "--from" not in words else ["--num-steps", "2"]
            words += SHAPE if "--from" not in words else []
        if "scale" in words:
            words += TINY_SCALE + ([] if "shipped" in words else ["--presets", "nano"])
        return words

    def _run_for(self, words: list[str]) -> str:
        """A run to which that can be done."""
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
    """In a folder with the bundled text, a text of one's own, another one in the same characters, and TRAINING.md."""
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
    typed = 0
    for kind, content in in_order(text_of(document)):
        if kind == "python":
            if "gradio_client" not in content:  # which wants a page: tests/api runs it on one
                reader.run(content)
        elif content not in ELSEWHERE and "--launch-command" not in content:  # those are tests/test_elsewhere.py's
            reader.type(content)
            typed += 1
    assert typed >= 6
    assert "Traceback" not in capsys.readouterr().err


def in_order(text: str) -> Iterator[tuple[str, str]]:
    """Shell commands and pieces of Python as they follow each other."""
    for part in re.split(r"(```python\n.*?```)", text, flags=re.S):
        if part.startswith("```python"):
            yield "python", python_blocks(part)[0]
        else:
            yield from (("bash", command) for command in shell_commands(part))


def test_what_is_run_elsewhere_is_run_there() -> None:
    said = {command for document in DOCUMENTS for command in shell_commands(text_of(document))}
    assert set(ELSEWHERE) <= said
    for places in ELSEWHERE.values():
        for file, words in places:
            content = (ROOT / file).read_text(encoding="utf-8")
            assert f"def {words}(" in content if words.startswith("test_") else words in content, (file, words)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_command_hides_where_no_test_looks(document: str) -> None:
    """Indented blocks show files; whatever is to be typed stands in a grey block of its kind."""
    text = re.sub(r"```.*?```", "", text_of(document), flags=re.S)
    assert not re.findall(r"^ +(?:\S+/)?(?:torchrun|python3?|pip) .*$", text, flags=re.M)
    assert set(re.findall(r"^```(\w*)$", text_of(document), flags=re.M)) == {"bash", "python", ""}


def test_the_page_needs_nothing_that_only_the_tests_install() -> None:
    """What app.py and the command line import is among the dependencies, or is what those depend on."""
    report = "import sys, playground.page, nanollm.cli; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=True)
    homes = metadata.packages_distributions()
    installed = {canonicalize_name(home) for name in done.stdout.split() for home in homes.get(name, [])}
    needed: set[str] = set()
    asked = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().split("\n") if line]
    while asked:
        requirement = asked.pop()
        name = canonicalize_name(requirement.name)
        if name in needed or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        needed.add(name)
        asked += [Requirement(line) for line in metadata.requires(name) or []]
    assert installed - needed <= {"nanollm", "nano-llm"}


class TestReference:
    def test_the_tables_are_those_of_the_code(self) -> None:
        """If not: python -m nanollm.reference TRAINING.md"""
        training = text_of("TRAINING.md")
        assert reference.put_into(training) == training

    def test_every_setting_is_in_it_with_its_own_words(self) -> None:
        tables = reference.tables()
        for field in (*fields(ModelConfig), *fields(TrainConfig)):
            row = f"| `{field.name}` | {field.metadata['help']} |"
            assert (row in tables) == (field.name != "vocab_size")

    def test_a_file_without_its_marks_is_left_alone(self) -> None:
        with pytest.raises(ValueError):
            reference.put_into("no marks here")


def test_the_troubleshooting_quotes_what_people_really_see() -> None:
    """Each quoted sentence (its numbers left out) stands in the code that says it."""
    code = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "nanollm").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # sentences that are written over several lines
    section = text_of("TRAINING.md").split("## Troubleshooting")[1]
    quoted = re.findall(r"^\*\*.*$", section, flags=re.M)
    sentences = [sentence for line in quoted for sentence in re.findall(r"[“\"]([^”\"]{12,})[”\"]", line)]
    assert len(sentences) >= 5
    for sentence in sentences:
        for piece in filter(None, (part.strip(" .,") for part in sentence.split("…"))):
            assert piece in code, sentence
