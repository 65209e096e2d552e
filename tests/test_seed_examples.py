"""The two original example scripts of the project run unchanged, except for imports and the checkpoint suffix."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import nanollm
from tests.conftest import ROOT

TRAIN = """
from nanollm.tokenizer import CharTokenizer
from nanollm.model import TransformerLanguageModel
from nanollm.train import set_seed, train_with_config

tokenizer = CharTokenizer()
tokenizer.build_vocab('data/raw/sample.txt')
with open('data/raw/sample.txt', 'r', encoding='utf-8') as f:
    text = f.read()
tokens = tokenizer.encode(text)

config = {
    'vocab_size': tokenizer.vocab_size,
    'embedding_dim': 32,
    'num_layers': 2,
    'ffn_hidden_dim': 64,
    'learning_rate': 1e-3,
    'num_steps': 1000,
    'seed': 42,
    'checkpoint_dir': 'checkpoints/nano',
    'checkpoint_interval': 500
}
set_seed(config['seed'])
model = TransformerLanguageModel(
    vocab_size=config['vocab_size'],
    embedding_dim=config['embedding_dim'],
    num_layers=config['num_layers'],
    ffn_hidden_dim=config['ffn_hidden_dim']
)
results = train_with_config(model, tokens, config)
print(f"Final loss: {results['final_loss']:.4f}")
"""

GENERATE = """
from nanollm.tokenizer import CharTokenizer
from nanollm.model import TransformerLanguageModel
from nanollm.train import load_checkpoint
from nanollm.inference.generate import generate_text

tokenizer = CharTokenizer()
tokenizer.build_vocab('data/raw/sample.txt')
model = TransformerLanguageModel(
    vocab_size=tokenizer.vocab_size,
    embedding_dim=32,
    num_layers=2,
    ffn_hidden_dim=64
)
load_checkpoint('checkpoints/nano/checkpoint_final.safetensors', model)
model.eval()
print(generate_text(
    model=model,
    tokenizer=tokenizer,
    prompt="The quick",
    max_length=200,
    temperature=0.8,
    top_k=40,
    seed=42
))
"""


def test_the_documented_module_paths_can_be_imported() -> None:
    for module, names in {
        "nanollm": nanollm.__all__,
        "nanollm.tokenizer": ["CharTokenizer"],
        "nanollm.model": ["TransformerLanguageModel"],
        "nanollm.train": ["load_checkpoint", "save_checkpoint", "set_seed", "train", "train_with_config"],
        "nanollm.inference.generate": ["generate_text"],
    }.items():
        for name in names:
            assert callable(getattr(import_module(module), name)) or name == "PRESETS"


@pytest.mark.slow
def test_the_seed_scripts_run(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    shutil.copy(ROOT / "data" / "raw" / "sample.txt", tmp_path / "data" / "raw")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(script: str) -> str:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    loss = float(run(TRAIN).removeprefix("Final loss: "))
    assert 1.0 < loss < 2.4  # far below the unigram entropy of 3.1 nats
    text = run(GENERATE)
    assert text.startswith("The quick") and len(text) == len("The quick") + 200 + 1
