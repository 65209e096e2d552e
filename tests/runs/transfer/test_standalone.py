"""standalone.py: the same logits as the model, with numpy as the only dependency."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nanollm.config import ModelConfig
from nanollm.runs.transfer import standalone
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import save_checkpoint
from tests.conftest import ROOT, random_model


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("position", ["rotary", "learned"])
def test_logits_match_the_model(tmp_path: Path, position: str, qk_norm: bool, half: bool) -> None:
    shape = {"embedding_dim": 16, "num_layers": 2, "ffn_hidden_dim": 12, "context_length": 8}
    model = random_model(ModelConfig(10, **shape, position=position, qk_norm=qk_norm))
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, model, step=1, tokenizer=CharTokenizer("abcdefgh \n"), half=half)
    weights, characters, facts = standalone.load(path)
    assert "".join(characters) == "abcdefgh \n"
    ids = [1, 2, 3, 4, 0, 9, 9, 5]
    expected = model(torch.tensor([ids]))[0].detach().numpy()
    assert np.abs(standalone.logits(weights, facts, ids) - expected).max() < (0.1 if half else 1e-4)
    assert len("".join(standalone.generate(path, "ab", 20))) == 22


def test_numpy_is_the_only_dependency(tmp_path: Path) -> None:
    shutil.copy(standalone.__file__, tmp_path / "sample.py")
    shutil.copy(ROOT / "checkpoints/pretrained/nano/checkpoint_00001000.safetensors", tmp_path / "final.safetensors")
    imported = {alias.name for node in ast.walk(ast.parse((tmp_path / "sample.py").read_text()))
                if isinstance(node, ast.Import) for alias in node.names}  # fmt: skip
    assert imported == {"json", "math", "struct", "sys", "numpy"}
    done = subprocess.run(
        [sys.executable, "sample.py", "final.safetensors", "The "],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("The ") and len(done.stdout) == 305
