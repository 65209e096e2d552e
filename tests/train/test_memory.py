"""Memory estimates: compared with measured training memory and with the free memory of a machine."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from nanollm.config import ModelConfig, TrainConfig, make_configs
from nanollm.errors import InputError
from nanollm.runs.store import RunStore
from nanollm.train.memory import available_bytes, require_memory, training_bytes
from tests.conftest import ROOT
from tests.run_folders import make
from tests.speed import assert_within

GB = 10**9

# Trains a few steps on random ids, writes checkpoints, and prints the growth of its peak memory.
GROWTH = """
import json, sys, tempfile
import torch

def memory(kind):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(kind)) * 1024

before = memory("VmRSS")
from nanollm.config import make_configs, to_dict
from nanollm.train.events import Checkpoint
from nanollm.model import TransformerLanguageModel
from nanollm.train.loop import Dataset, TrainState, write_checkpoint, train

model, config = make_configs({"num_steps": 3, "threads": 1, **json.loads(sys.argv[1])}, int(sys.argv[2]))
data = Dataset.from_ids(torch.randint(model.vocab_size, (max(20_000, 20 * model.context_length),)), 0.1)
state = TrainState.new(TransformerLanguageModel.from_config(model), config)
with tempfile.TemporaryDirectory() as folder:
    for event in train(state, data, config):
        if isinstance(event, Checkpoint):
            write_checkpoint(folder, event, state, config)
print(memory("VmHWM") - before)
"""


def random_configs(draw: random.Random) -> tuple[ModelConfig, TrainConfig]:
    heads = draw.choice([1, 2, 4, 8])
    model = ModelConfig(
        vocab_size=draw.randint(1, 20_000),
        embedding_dim=heads * 2 * draw.randint(1, 4096 // heads // 2),
        num_layers=draw.randint(1, 64),
        ffn_hidden_dim=draw.randint(1, 16_384),
        num_heads=heads,
        context_length=draw.randint(1, 4096),
        dropout=draw.choice([0.0, 0.2]),
        qk_norm=draw.choice([False, True]),
        position=draw.choice(["rotary", "learned"]),
    )
    return model, TrainConfig(
        batch_size=draw.randint(1, 4096),
        precision=draw.choice(["auto", "float32", "bf16"]),
        optimizer=draw.choice(["adamw", "muon"]),
    )


class TestEstimate:
    def test_estimates_exceed_the_weights_and_grow_with_every_size(self) -> None:
        draw = random.Random(7)
        began = time.thread_time()
        for _ in range(10_000):
            model, train = random_configs(draw)
            estimate = training_bytes(model, train)
            assert estimate > 16 * model.num_parameters
            size = draw.choice(["vocab_size", "num_layers", "ffn_hidden_dim", "context_length", "embedding_dim"])
            most = next(f.metadata["high"] for f in fields(ModelConfig) if f.name == size)
            more = getattr(model, size) + (2 * model.heads if size == "embedding_dim" else 1)
            if more <= most:
                assert training_bytes(replace(model, **{size: more}), train) >= estimate, (size, model, train)
            if train.batch_size < 4096:
                assert training_bytes(model, replace(train, batch_size=train.batch_size + 1)) >= estimate
        assert_within(time.thread_time() - began, 20, time.thread_time)  # 30,000 estimates; about 1 s if idle

    def test_auto_uses_the_more_expensive_precision(self) -> None:
        # float32 needs more memory with the first, bf16 (which stores the scores) with the second
        for context_length in (32, 2048):
            model = ModelConfig(embedding_dim=64, context_length=context_length)
            auto, *each = (
                training_bytes(model, TrainConfig(batch_size=256, precision=p)) for p in ("auto", "float32", "bf16")
            )
            assert auto >= max(each) > min(each)

    @pytest.mark.slow
    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
    @pytest.mark.parametrize(
        ("settings", "vocab_size"),
        [
            ({"context_length": 64, "batch_size": 4, "precision": "float32"}, 65),
            (
                {"embedding_dim": 128, "num_layers": 6, "ffn_hidden_dim": 256, "batch_size": 48, "dropout": 0.1}
                | {"precision": "float32"},
                65,
            ),
            ({"embedding_dim": 32, "batch_size": 32, "precision": "float32"}, 5000),
            (
                {"embedding_dim": 96, "num_layers": 3, "context_length": 512, "batch_size": 8}
                | {"qk_norm": True, "precision": "float32"},
                65,
            ),
            (
                {"embedding_dim": 512, "num_layers": 4, "ffn_hidden_dim": 2048, "context_length": 32, "batch_size": 2}
                | {"precision": "float32"},
                65,
            ),
            (
                {"embedding_dim": 512, "num_layers": 4, "ffn_hidden_dim": 2048, "context_length": 32, "batch_size": 2}
                | {"precision": "float32", "optimizer": "muon"},
                65,
            ),
            (
                {"embedding_dim": 64, "num_layers": 3, "context_length": 512, "batch_size": 12, "precision": "bf16"},
                65,
            ),
        ],
        ids=["tiny", "medium", "vocabulary", "window", "weights", "muon", "bf16"],
    )
    def test_the_estimate_is_close_to_measured_memory(self, settings: dict, vocab_size: int) -> None:
        command = [sys.executable, "-c", GROWTH, json.dumps(settings), str(vocab_size)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        peak = int(done.stdout)
        estimate = training_bytes(*make_configs({"threads": 1, **settings}, vocab_size))
        assert peak / 1.5 <= estimate <= 1.5 * peak, f"{peak / 1e6:.0f} MB at the peak, {estimate / 1e6:.0f} estimated"


class TestAvailable:
    def test_of_this_machine(self) -> None:
        assert 10**7 < available_bytes() < 10**14

    @pytest.mark.parametrize(
        ("line", "group", "limit", "usage", "cached"),
        [
            ("0::/app/one", "app", "memory.max", "memory.current", "inactive_file"),
            ("0::/", "", "memory.max", "memory.current", "inactive_file"),
            ("0::/of/the/host", "", "memory.max", "memory.current", "inactive_file"),
            (
                *("4:cpu,cpuset:/x\n3:memory:/docker/1", "memory/docker/1"),
                *("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            ),
        ],
    )
    def test_container_limits_are_respected(
        self, tmp_path: Path, line: str, group: str, limit: str, usage: str, cached: str
    ) -> None:
        proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text("MemTotal:       32000000 kB\nMemAvailable:   16000000 kB\n")
        (proc / "self" / "cgroup").write_text(line + "\n")
        assert available_bytes(proc, cgroups) == 16_000_000 * 1024
        folder = cgroups / group
        folder.mkdir(parents=True)
        (folder / usage).write_text(f"{3 * GB}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{cached} {GB}\n")
        (folder / limit).write_text(f"{4 * GB}\n")
        assert available_bytes(proc, cgroups) == 2 * GB
        (folder / limit).write_text("max\n" if limit == "memory.max" else "9223372036854771712\n")
        assert available_bytes(proc, cgroups) == 16_000_000 * 1024
        (folder / limit).write_text(f"{GB}\n")  # below the current usage
        assert available_bytes(proc, cgroups) == 0

    def test_without_proc_the_total_memory_is_used(self, tmp_path: Path) -> None:
        assert available_bytes(tmp_path, tmp_path) >= available_bytes()


class TestRefusal:
    def test_a_run_that_does_not_fit_is_not_created(self, tmp_path: Path) -> None:
        store = RunStore(tmp_path / "checkpoints")
        with pytest.raises(InputError, match=r"needs about [\d.]+ GB, but only [\d.]+ [GM]B are free: choose a"):
            make(store, embedding_dim=4096, num_layers=64, ffn_hidden_dim=16_384, batch_size=4096)
        assert store.list() == []

    def test_large_configs_are_valid_and_small_ones_fit(self) -> None:
        model, train = ModelConfig(65, 4096, 64, 16_384), TrainConfig(batch_size=4096)
        with pytest.raises(InputError):
            require_memory(model, train)
        require_memory(ModelConfig(), TrainConfig())
