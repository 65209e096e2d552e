"""Training speed, compared with a plain PyTorch implementation.

    python -m tests.benchmarks.training [--json] [--rounds 5] [--only steps|loss|events|profile] [--corpus FILE]

`loss` needs the Tiny Shakespeare text in a file: tinyshakespeare.txt in the current folder, or the path in --corpus.

The reference is a straightforward implementation of the same size: learned positions, GELU, PyTorch's modules, the
fused attention kernel, float32 and AdamW. Ratios are its time divided by ours: higher is better. Each figure is the
median over rounds that alternate between the two, because the speed of a machine varies over minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanollm.config import ModelConfig, TrainConfig, make_configs, preset
from nanollm.data.corpus import CorpusStore
from nanollm.data.dataset import Dataset
from nanollm.model import TransformerLanguageModel
from nanollm.runs.metrics_log import Metrics
from nanollm.runs.process.training import Training
from nanollm.runs.process.worker import work
from nanollm.runs.store import RunStore
from nanollm.tokenizer import CharTokenizer
from nanollm.train.calibration import resolve
from nanollm.train.compiled_attention import use_kernel
from nanollm.train.device import available_cpus
from nanollm.train.events import Checkpoint, Eval, Event, Step
from nanollm.train.loop import TrainState, evaluate, set_seed, train
from nanollm.train.optim import Optimizer
from nanollm.train.step import training_step
from nanollm.train.workload import snapshot_steps

# A common shape for comparison with other implementations, and the shapes of the presets.
SHAPES: dict[str, dict[str, Any]] = {
    "6 x 128, ffn 512": dict(
        embedding_dim=128, num_layers=6, ffn_hidden_dim=512, context_length=128, batch_size=32, num_heads=4
    ),
    **{name: preset(name) for name in ("nano", "small", "medium")},
}  # fmt: skip
TARGET = 1.88  # validation loss in nats per character
REFERENCE_RECIPE = dict(
    embedding_dim=128, num_layers=4, ffn_hidden_dim=512, num_heads=4, context_length=64, batch_size=12, num_steps=2000,
    learning_rate=1e-3, warmup_steps=100, final_lr_fraction=0.1, weight_decay=0.1,
)  # fmt: skip
# Our recipes by optimizer; each was chosen so that its schedule ends just below TARGET.
RECIPES: dict[str, dict[str, Any]] = {
    "adamw": dict(
        embedding_dim=128, num_layers=2, ffn_hidden_dim=512, context_length=128, batch_size=16, num_steps=500,
        learning_rate=8e-3, warmup_steps=40, final_lr_fraction=0.02, weight_decay=0.0,
    ),
    "muon": preset("sprint"),
}  # fmt: skip

EVENT_STEPS = {"nano": 300, "medium": 60}  # number of steps that are run to measure the cost of events
# Kinds of operations, by substrings of their PyTorch names.
KINDS = {
    "matrix products": ("mm", "matmul", "linear", "scaled_dot_product"),
    "softmax and loss": ("softmax", "nll_loss", "triu"),
    "casts and copies": ("copy_", "to_copy", "cat", "contiguous", "clone"),
    "LayerNorm": ("layer_norm", "rms_norm"),
    "dropout": ("random_", "ge"),
    "optimizer": ("adamw", "foreach", "norm", "Optimizer"),
    "adding and multiplying": ("add", "mul", "div", "sub", "sum", "relu", "threshold", "neg", "lerp"),
}


class ReferenceBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = (y.view(B, T, self.heads, -1).transpose(1, 2) for y in self.qkv(self.norm1(x)).split(D, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.output(y.transpose(1, 2).reshape(B, T, D)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class Reference(nn.Module):
    """The reference model: learned positions, GELU, biases in all layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embedding_dim
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Embedding(config.context_length, width)
        self.blocks = nn.Sequential(
            *(
                ReferenceBlock(width, config.heads, config.ffn_hidden_dim, config.dropout)
                for _ in range(config.num_layers)
            )
        )
        self.norm = nn.LayerNorm(width)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        return self.norm(self.blocks(x)) @ self.embedding.weight.T


class ReferenceTraining:
    """The reference step: float32, PyTorch's AdamW, gradient clipping at 1."""

    def __init__(self, model: ModelConfig, config: TrainConfig) -> None:
        self.model, self.config = Reference(model).train(), config
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )

    def step(self, ids: Tensor, targets: Tensor) -> None:
        loss = F.cross_entropy(self.model(ids).flatten(0, 1), targets.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


def alternating(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds of each implementation, measured in alternating rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(way())
    return {name: statistics.median(all_) for name, all_ in seconds.items()}


def timed(steps: int, threads: int, step: Callable[[], object]) -> Callable[[], float]:
    def way() -> float:
        torch.set_num_threads(threads)
        step()  # warm-up, because the caches hold the data of the other implementation
        started = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - started) / steps

    return way


def matmul_peak(precision: str, threads: int) -> float:
    """Peak FLOP/s of this machine, measured with a matrix product of width 2048."""
    torch.set_num_threads(threads)
    n, dtype = 2048, torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype)
    times = []
    for _ in range(8):
        started = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - started)
    return 2 * n**3 / min(times)


def steps(rounds: int) -> dict[str, dict[str, Any]]:
    """Return the seconds per step at each shape, for the reference and for this project with calibrated settings."""
    results = {}
    for name, settings in SHAPES.items():
        model, config = make_configs(settings, 65)
        config = resolve(model, config)
        ids = torch.randint(65, (config.batch_size, model.context_length))
        ours = TransformerLanguageModel.from_config(model).train()
        use_kernel(ours, config.attention_kernel)
        optimizer = Optimizer(ours, config)
        reference = ReferenceTraining(model, config)
        count = min(100, max(3, int(0.5 / (model.flops_per_character * 3 * ids.numel() / 1e11))))
        seconds = alternating(
            {
                "reference": timed(count, available_cpus(), lambda r=reference, i=ids: r.step(i, i)),
                "ours": timed(
                    count,
                    int(config.threads),
                    lambda m=ours, o=optimizer, i=ids, p=config.precision: training_step(m, o, i, i, 0, p),
                ),
            },
            rounds,
        )
        flops = 3 * model.flops_per_character * ids.numel()
        results[name] = {
            "reference_ms": 1e3 * seconds["reference"],
            "ours_ms": 1e3 * seconds["ours"],
            "ratio": seconds["reference"] / seconds["ours"],
            "precision": config.precision,
            "threads": config.threads,
            "share_of_peak": flops / seconds["ours"] / matmul_peak(config.precision, available_cpus()),
        }
    return results


def to_target(corpus: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds of training until the validation loss on the whole split reaches TARGET, with the recipes above.

    Only complete schedules are compared: each runs to its end, and its final loss is printed with its time. The time of
    the reference is extrapolated from 200 steps per round, because all of its steps take the same time.
    """
    text = corpus.read_text(encoding="utf-8")
    tokenizer = CharTokenizer.from_text(text)
    ids = tokenizer.encode(text)
    results: dict[str, dict[str, Any]] = {}
    model, config = make_configs(REFERENCE_RECIPE, tokenizer.vocab_size)
    data = Dataset.from_ids(ids, config.validation_fraction)
    reference = ReferenceTraining(model, config)
    generator = torch.Generator().manual_seed(1)

    def reference_round() -> float:
        once = timed(
            200,
            available_cpus(),
            lambda: reference.step(*data.batch(config.batch_size, model.context_length, generator)),
        )
        return once() * config.num_steps

    def our_round(name: str, seed: int) -> float:
        shape, recipe = make_configs({**RECIPES[name], "seed": seed, "eval_interval": 10**6}, tokenizer.vocab_size)
        set_seed(seed)
        state = TrainState.new(TransformerLanguageModel.from_config(shape), recipe)
        resolve(shape, recipe)  # from the calibration cache, as in any later run on a machine
        for event in train(state, data, recipe):
            if isinstance(event, Eval) and event.step == recipe.num_steps:
                losses[name].append(evaluate(state.model, data.val, max_characters=10**9) or 0.0)
        assert shape.num_parameters <= 900_000
        return state.stopwatch.seconds["steps"]

    losses: dict[str, list[float]] = {name: [] for name in RECIPES}
    seeds = {name: iter(range(1, 100)) for name in RECIPES}
    ways: dict[str, Callable[[], float]] = {"reference": reference_round}
    for name in RECIPES:
        ways[name] = lambda name=name: our_round(name, next(seeds[name]))
    seconds = alternating(ways, rounds)
    for name in RECIPES:
        results[name] = {
            "reference_s": seconds["reference"],
            "ours_s": seconds[name],
            "ratio": seconds["reference"] / seconds[name],
            "val_loss": statistics.median(losses[name]),
            "worst_val_loss": max(losses[name]),
            "target": TARGET,
        }
    return results


def events() -> dict[str, dict[str, Any]]:
    """Overhead of events, samples, snapshots and resume files in a complete run of a preset, as a share of its steps.

    A worker runs a few steps. Saving a snapshot (file, sample and mean outputs) and a resume file are timed and scaled
    to a complete run in which every evaluation is the best so far.
    """
    results = {}
    for name, count in EVENT_STEPS.items():
        seconds: dict[str, list[float]] = defaultdict(list)
        original = Training._handle

        def timed_handle(
            self: Training, event: Event, original: Any = original, seconds: dict[str, list[float]] = seconds
        ) -> None:
            began = time.perf_counter()
            original(self, event)
            kind = event.kind if isinstance(event, Checkpoint) else event.type
            seconds["snapshot" if kind == "best" else kind].append(time.perf_counter() - began)

        with tempfile.TemporaryDirectory() as folder, mock.patch.object(Training, "_handle", timed_handle):
            corpora, store = CorpusStore(Path(folder) / "corpora"), RunStore(Path(folder) / "checkpoints")
            corpus = corpora.list()[0]
            whole = make_configs(preset(name), corpus.vocab_size)
            settings = {"num_steps": count, "eval_interval": 10**6, "checkpoint_interval": max(1, count // 3)}
            resolve(*whole)  # from the calibration cache, as in any later run on a machine
            status = work(store.create(settings=settings, corpus=corpus, preset=name, queued=False), corpora.root)
            with Metrics(Path(folder) / "metrics.jsonl") as metrics:
                began = time.perf_counter()
                for step in range(1000):
                    metrics.append(Step(step, 2.0, 1e-3, 0.5, 10**6, 1.0, 10**5))
                line = (time.perf_counter() - began) / 1000
        config = whole[1]
        each = {kind: statistics.median(seconds[kind]) for kind in ("snapshot", "resume")} | {"line": line}
        often = {
            "snapshot": config.num_steps // config.eval_interval + len(snapshot_steps(config.num_steps)),
            "resume": config.num_steps // config.checkpoint_interval + 1,
            "line": config.num_steps // config.log_interval,
        }
        steps_take = (status.seconds or 0.0) / count * config.num_steps
        share = sum(often[kind] * each[kind] for kind in each) / steps_take
        results[name] = {"share": share, **{f"{kind}_ms": 1e3 * s for kind, s in each.items()}}
    return results


def profiled() -> dict[str, dict[str, float]]:
    """Share of each kind of operation in the time of a step at each shape, measured with PyTorch's profiler."""
    results = {}
    for name, settings in SHAPES.items():
        model, config = make_configs(settings, 65)
        config = resolve(model, config)
        torch.set_num_threads(int(config.threads))
        ids = torch.randint(65, (config.batch_size, model.context_length))
        ours = TransformerLanguageModel.from_config(model).train()
        use_kernel(ours, config.attention_kernel)
        optimizer = Optimizer(ours, config)
        training_step(ours, optimizer, ids, ids, 0, config.precision)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(5):
                training_step(ours, optimizer, ids, ids, 0, config.precision)
        spent: dict[str, float] = defaultdict(float)
        for row in profile.key_averages():
            spent[next((kind for kind, names in KINDS.items() if any(n in row.key for n in names)), "rest")] += (
                row.self_cpu_time_total
            )
        results[name] = {kind: spent[kind] / sum(spent.values()) for kind in sorted(spent, key=lambda k: -spent[k])}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--corpus", type=Path, default=Path("tinyshakespeare.txt"), help="for --only loss")
    parser.add_argument("--only", choices=("steps", "loss", "events", "profile"))
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    if arguments.only in (None, "steps"):
        results["steps"] = steps(arguments.rounds)
    if arguments.only in (None, "loss") and arguments.corpus.exists():
        results["loss"] = to_target(arguments.corpus, arguments.rounds)
    if arguments.only in (None, "events"):
        results["events"] = events()
    if arguments.only in (None, "profile"):
        results["profile"] = profiled()
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    for name, r in results.get("steps", {}).items():
        print(
            f"{name:>18}  reference {r['reference_ms']:6.1f} ms  ours {r['ours_ms']:6.1f} ms  {r['ratio']:5.2f} x"
            f"  ({r['precision']}, {r['threads']} threads, {r['share_of_peak']:.0%} of the matrix-product peak)"
        )
    for name, r in results.get("loss", {}).items():
        print(
            f"{name:>18}  reference {r['reference_s']:6.1f} s   ours {r['ours_s']:6.1f} s   {r['ratio']:5.2f} x"
            f"  (validation loss {r['val_loss']:.4f}, worst {r['worst_val_loss']:.4f}, target {r['target']})"
        )
    for name, r in results.get("events", {}).items():
        print(
            f"{name:>18}  events, samples and files cost {r['share']:.1%} of its steps"
            f"  (snapshot and sample {r['snapshot_ms']:.1f} ms,"
            f" resume file {r['resume_ms']:.1f} ms, log line {r['line_ms']:.2f} ms)"
        )
    for name, shares in results.get("profile", {}).items():
        print(f"{name:>18}  " + ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items()))


if __name__ == "__main__":
    main()
