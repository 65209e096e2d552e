"""Distributed training: two processes against two threads, time spent on gradient exchange, overhead of one process.

    python -m tests.benchmarks.distributed [--json] [--rounds 5] [--steps 10] [--preset medium]

All variants take the same steps at the preset's shape, alternating in rounds, because the speed of a machine varies
over minutes. Ratios are the time of one process with two threads divided by that of the variant: higher is better.
`waiting` is the part of a step that a process spends on the gradient exchange, including waiting for a slower process.

The final table, for TRAINING.md, estimates how much faster two such machines would be than one. It is computed from the
measured step times, the size of the gradient and typical network speeds, not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from nanollm.config import PRESETS, ModelConfig, TrainConfig, make_configs, preset
from nanollm.model import TransformerLanguageModel
from nanollm.train.distributed import Ranks, exit_now, process_group
from nanollm.train.optim import Optimizer
from nanollm.train.step import arithmetic, training_step

VOCAB_SIZE = 65
WAYS = {
    # name: number of processes, threads per process, implementation of the step
    "1 process x 2 threads": (1, 2, "ours"),
    "1 process x 2 threads, plain step": (1, 2, "plain"),
    "2 processes x 1 thread": (2, 1, "ours"),
    "2 processes x 1 thread, DistributedDataParallel": (2, 1, "ddp"),
}


LINKS = {
    # name: bytes per second, latency in seconds
    "Wi-Fi": (12e6, 3e-3),
    "1 Gbit/s": (117e6, 2e-4),
    "10 Gbit/s": (1.17e9, 5e-5),
    "100 Gbit/s": (11.7e9, 5e-6),
}
BATCHES = (32, 128, 512)


def speedup(step: float, parameters: int, link: str, machines: int = 2) -> float:
    """Return the estimated speedup of n machines over one whose step takes `step` seconds.

    Each machine computes its share of the batch. The gradient (4 bytes per parameter) is averaged with a ring
    all-reduce: every machine sends and receives 2 (n - 1) / n of it in 2 (n - 1) messages (Patarasuk and Yuan 2009).
    """
    bytes_per_second, latency = LINKS[link]
    messages = 2 * (machines - 1)
    exchange = messages / machines * 4 * parameters / bytes_per_second + messages * latency
    return step / (step / machines + exchange)


def estimated_table(steps: dict[str, float]) -> str:
    """Return the table of TRAINING.md from the seconds per step on one machine at the batch size of each preset."""
    lines = [f"| model | batch | one machine's step | {' | '.join(LINKS)} |", "|---|---|---|" + "---|" * len(LINKS)]
    for name, measured in steps.items():
        model, config = make_configs(preset(name), VOCAB_SIZE)
        for batch in BATCHES:
            step = measured * batch / config.batch_size
            cells = (f"{speedup(step, model.num_parameters, link):.2f} ×" for link in LINKS)
            lines.append(f"| {name} | {batch} | {step * 1e3:,.0f} ms | {' | '.join(cells)} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class TimedRanks(Ranks):
    """Ranks that record the duration and size of every exchange."""

    seconds: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> None:
        began = time.perf_counter()
        super().all_reduce_mean(tensors)
        self.seconds.append(time.perf_counter() - began)
        self.sizes.append(sum(tensor.numel() * tensor.element_size() for tensor in tensors))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.distributed", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--preset", choices=PRESETS, default="medium")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.way, arguments.preset, arguments.steps)
        exit_now(0)
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for way in WAYS:
            found[way].append(in_processes(way, arguments.preset, arguments.steps))
    medians = {
        way: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for way, rows in found.items()
    }
    whole = medians["1 process x 2 threads"]["step"]
    results = {way: {**row, "ratio": whole / row["step"]} for way, row in medians.items()}
    steps = {
        name: whole
        if name == arguments.preset
        else in_processes("1 process x 2 threads", name, arguments.steps)["step"]
        for name in ("nano", "small", "medium")
    }
    if arguments.json:
        print(json.dumps({"preset": arguments.preset, "ways": results, "steps": steps}))
        return
    print(f"{arguments.preset}, medians of {arguments.rounds} rounds")
    for way, row in results.items():
        print(
            f"{way:50} {row['step'] * 1e3:7.1f} ms a step  {row['ratio']:5.2f} x  "
            f"waiting {row['waiting'] * 1e3:5.1f} ms for {row['bytes'] / 1e6:.2f} MB"
        )
    print(f"\nEstimated speedup of two machines:\n\n{estimated_table(steps)}")


def in_processes(way: str, preset_name: str, steps: int) -> dict[str, float]:
    """Run a variant in its number of processes, with torchrun if several, and return the figures of rank 0."""
    processes, threads, _ = WAYS[way]
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "tests.benchmarks.distributed", f"--way={way}", f"--preset={preset_name}", f"--steps={steps}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def measure(way: str, preset_name: str, steps: int) -> None:
    """Take the steps in this process; rank 0 prints the medians as JSON."""
    _, threads, kind = WAYS[way]
    torch.set_num_threads(threads)
    model_config, config = make_configs(preset(preset_name), VOCAB_SIZE)
    with process_group() as joint:
        ranks = TimedRanks(joint.rank, joint.world_size)
        torch.manual_seed(config.seed)
        step = step_function(kind, model_config, config, ranks if kind == "ours" else joint)
        ids = torch.randint(VOCAB_SIZE, (config.batch_size, model_config.context_length + 1))
        times = []
        for _ in range(steps + 3):
            began = time.perf_counter()
            step(ids[:, :-1], ids[:, 1:])
            times.append(time.perf_counter() - began)
        if joint.is_main:
            waiting, size = ranks.seconds[3:] or [0.0], (ranks.sizes or [0])[0] * (joint.world_size > 1)
            print(
                json.dumps({"step": statistics.median(times[3:]), "waiting": statistics.median(waiting), "bytes": size})
            )


def step_function(
    kind: str, model_config: ModelConfig, config: TrainConfig, ranks: Ranks
) -> Callable[[Tensor, Tensor], object]:
    """Return the step function: this project's, the same without support for ranks, or DistributedDataParallel."""
    model = TransformerLanguageModel.from_config(model_config).train()
    optimizer = Optimizer(model, config)
    if kind == "ours":
        return lambda ids, targets: training_step(model, optimizer, ids, targets, 0, "bf16", ranks=ranks)
    wrapped = DistributedDataParallel(model) if kind == "ddp" else model

    def step(ids: Tensor, targets: Tensor) -> None:
        with arithmetic("bf16", torch.device("cpu")):
            logits = wrapped(ranks.shard(ids))
        F.cross_entropy(logits.float().flatten(0, 1), ranks.shard(targets).flatten()).backward()
        optimizer.step(0)

    return step


if __name__ == "__main__":
    main()
