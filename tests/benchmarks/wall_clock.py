"""Wall-clock time of whole trainings, from the start of the process to its end.

    python -m tests.benchmarks.wall_clock [--json] [--rounds 3] [--only target|presets|steps] [--corpus FILE] [--busy]
                                          [--models sprint nano small medium]

Each training is `python -m nanollm train` in its own process, with an empty data folder and an empty calibration cache.
Its time includes everything: imports, reading the text, calibration, steps, evaluations, samples and files.

- target: the time to a validation loss of 1.88 on Tiny Shakespeare. The reference is the plain PyTorch implementation
  of training.py with nanoGPT's recipe for CPUs, including its evaluation: 2,000 steps, every 250 steps the loss of 20
  batches of each split. The losses that are printed were measured afterwards, on the whole validation split.
- presets: what the time of each preset was spent on, and how the total compares with the estimate that the page shows
  before a training. "Waiting" is the time that the main thread was ready to run, but had no CPU.
- steps: the time of a training step on a quiet machine and beside two processes that keep two CPUs busy.

With --busy, two such processes also run during `target` and `presets`. Figures are medians over rounds; the variants
of a part alternate. `target`, and `presets` on Tiny Shakespeare, need the text in tinyshakespeare.txt in the current
folder or in the file given with --corpus.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from nanollm.config import PRESETS, ModelConfig, TrainConfig, make_configs, preset
from nanollm.data.corpus import BUNDLED
from nanollm.data.dataset import Dataset
from nanollm.model import TransformerLanguageModel
from nanollm.runs import run_files
from nanollm.runs.store import Run, RunStore
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import load_model
from nanollm.train.evaluation import evaluate
from nanollm.train.events import End
from nanollm.train.loop import TrainState, train
from nanollm.train.optim import learning_rate_at
from nanollm.train.workload import run_seconds
from tests.benchmarks.processes import BUSY_PROCESSES, busy_processes, timed_process
from tests.benchmarks.training import RECIPES, REFERENCE_RECIPE, TARGET, Reference, ReferenceTraining

EVAL_INTERVAL, EVAL_BATCHES = 250, 20  # of the reference
CHECKPOINT = "model.safetensors"  # of the reference
STEP_SECONDS = 4.0  # measured in each round of `steps`
WARM_UP_STEPS = 3
MAX_SLOWDOWN, MAX_CPU_RATIO = 2.5, 1.3  # targets for a step beside busy processes, relative to a quiet machine
PARTS = ("calibration", "steps", "evaluation", "samples", "files")
PRESET_FLAGS = {name: ["--preset", name] for name in PRESETS}
DEFAULT_MODELS = ("sprint", "nano", "small")


def our_training(flags: Sequence[str], corpus: Path) -> dict[str, Any]:
    """Train with these flags and return the total time, what it was spent on, and the final validation loss."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        row = timed_process(["-m", "nanollm", "train", *flags, "--corpus", str(corpus.absolute()), "--json"], home)
        del row["output"]
        (run,) = RunStore(home / "checkpoints").list()
        (end,) = (event for event in run.events() if isinstance(event, End))
        if end.reason != "completed":
            raise RuntimeError(f"The run ended early: {end.reason}.")
        times = {f"{part}_s": end.times.get(part, 0.0) for part in PARTS}
        predicted = predicted_seconds(run, home / "cache")
        loaded = load_model(run.snapshot().path)
        besides = sum(times[f"{part}_s"] for part in ("evaluation", "samples", "files"))
        return {
            **row,
            "startup_s": row["total_s"] - sum(times.values()),
            **times,
            "share_besides_steps": besides / row["total_s"],
            "predicted_s": predicted,
            "total_to_predicted": row["total_s"] / predicted if predicted else None,
            "val_loss": full_loss(loaded.model, loaded.tokenizer, corpus),
        }


def predicted_seconds(run: Run, cache: Path) -> float | None:
    """The page's estimate for a run, from the step time in a calibration cache; None if nothing was calibrated."""
    results = run_files.read_json(cache / "nanollm" / "calibration.json")
    step_seconds = next((result["seconds"] for result in results.values()), None)
    if step_seconds is None:
        return None
    return run_seconds(step_seconds, run.model_config, run.train_config, run.corpus["characters"])


def full_loss(model: Any, tokenizer: CharTokenizer, corpus: Path) -> float:
    """The loss of a model on the whole validation split of a text, in nats per character."""
    ids = tokenizer.encode(corpus.read_text(encoding="utf-8"))
    data = Dataset.from_ids(ids, TrainConfig.validation_fraction)
    return evaluate(model, data.val, max_characters=10**9) or math.nan


def reference_training(corpus: Path) -> dict[str, Any]:
    """Train the reference in its own process; its loss is that of its best checkpoint."""
    recipe = json.dumps(REFERENCE_RECIPE)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        arguments = ["--reference-process", recipe, "--corpus", str(corpus.absolute())]
        row = timed_process(["-m", "tests.benchmarks.wall_clock", *arguments], home)
        tokenizer = CharTokenizer.from_text(corpus.read_text(encoding="utf-8"))
        model = Reference(make_configs(REFERENCE_RECIPE, tokenizer.vocab_size)[0])
        model.load_state_dict(load_file(home / CHECKPOINT))
        return {"total_s": row["total_s"], "cpu_s": row["cpu_s"], "val_loss": full_loss(model, tokenizer, corpus)}


def reference_process(recipe: Mapping[str, Any], corpus: Path) -> None:
    """Train the reference in this process, and save its best checkpoint in the current folder."""
    text = corpus.read_text(encoding="utf-8")
    tokenizer = CharTokenizer.from_text(text)
    model, config = make_configs(recipe, tokenizer.vocab_size)
    data = Dataset.from_ids(tokenizer.encode(text), config.validation_fraction)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    training = ReferenceTraining(model, config)
    splits = (data, replace(data, train=data.val))
    best = math.inf
    for step in range(config.num_steps + 1):
        if step % EVAL_INTERVAL == 0 or step == config.num_steps:
            val_loss = [estimated_loss(training.model, split, config, generator) for split in splits][1]
            if step and val_loss < best:
                best = val_loss
                moments = training.optimizer.state_dict()["state"]
                flat = {f"{index}.{name}": tensor for index, row in moments.items() for name, tensor in row.items()}
                save_file(training.model.state_dict(), CHECKPOINT)
                save_file(flat, "optimizer.safetensors")
        if step < config.num_steps:
            training.optimizer.param_groups[0]["lr"] = learning_rate_at(step, config)
            training.step(*data.batch(config.batch_size, model.context_length, generator))


@torch.no_grad()
def estimated_loss(model: Reference, data: Dataset, config: TrainConfig, generator: torch.Generator) -> float:
    """The mean loss of EVAL_BATCHES random batches of the training split of `data`."""
    model.eval()
    losses = []
    for _ in range(EVAL_BATCHES):
        ids, targets = data.batch(config.batch_size, model.config.context_length, generator)
        losses.append(F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).item())
    model.train()
    return statistics.mean(losses)


def flags_of(settings: Mapping[str, Any]) -> list[str]:
    """The flags of `nanollm train` for these settings, with all others at the defaults of the configs."""
    configs = make_configs(settings, 65)
    values = {name: value for config in configs for name, value in asdict(config).items() if name != "vocab_size"}
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def measure_target(corpus: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """The reference and our two recipes, with the ratio of the reference's total time to ours."""
    ways: dict[str, Callable[[], dict[str, Any]]] = {"reference": lambda: reference_training(corpus)}
    for name, flags in {"sprint": PRESET_FLAGS["sprint"], "adamw": flags_of(RECIPES["adamw"])}.items():
        ways[name] = lambda flags=flags: our_training(flags, corpus)
    rows = in_rounds(ways, rounds)
    for row in rows.values():
        row |= {"ratio": rows["reference"]["total_s"] / row["total_s"], "target": TARGET}
    return rows


def measure_presets(corpora: Mapping[str, Path], models: Sequence[str], rounds: int) -> dict[str, dict[str, Any]]:
    """The breakdown of each preset on each text."""
    return in_rounds(
        {
            f"{model}, {name}": lambda model=model, corpus=corpus: our_training(PRESET_FLAGS[model], corpus)
            for name, corpus in corpora.items()
            for model in models
        },
        rounds,
    )


def in_rounds(ways: Mapping[str, Callable[[], dict[str, Any]]], rounds: int) -> dict[str, dict[str, Any]]:
    """The median of each figure over rounds that alternate between the ways; the worst validation loss of each."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    results: dict[str, dict[str, Any]] = {}
    for name, rows in found.items():
        known = {key: [row[key] for row in rows if row[key] is not None] for key in rows[0]}
        results[name] = {key: statistics.median(values) if values else None for key, values in known.items()}
        if "val_loss" in known:
            results[name]["worst_val_loss"] = max(known["val_loss"])
    return results


def measure_steps(models: Sequence[str], rounds: int) -> dict[str, dict[str, Any]]:
    """The time of a step of each model, and its CPU time, quiet and busy; calibrated on the quiet machine."""
    results = {}
    with tempfile.TemporaryDirectory() as cache:

        def one(model: str, load: Any) -> dict[str, float]:
            with load, tempfile.TemporaryDirectory() as home:
                arguments = ["-m", "tests.benchmarks.wall_clock", "--step-process", json.dumps(preset(model))]
                return json.loads(timed_process(arguments, Path(home), Path(cache))["output"])

        for model in models:
            one(model, nullcontext())  # calibrates
            rows = in_rounds(
                {
                    "quiet": lambda model=model: one(model, nullcontext()),
                    "busy": lambda model=model: one(model, busy_processes()),
                },
                rounds,
            )
            results[model] = {f"{load}_{key}": value for load, row in rows.items() for key, value in row.items()}
            results[model]["slowdown"] = rows["busy"]["ms"] / rows["quiet"]["ms"]
            results[model]["cpu_ratio"] = rows["busy"]["cpu_ms"] / rows["quiet"]["cpu_ms"]
    return results


class StepTimer:
    """Adds up the time of the steps of a training, without what happens between them."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = self.cpu_seconds = 0.0
        self._began: tuple[float, float] | None = None

    def begin(self) -> None:
        """A step begins; if the previous one had no event, it ends here."""
        self.end()
        self._began = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """A step has ended, if one is under way."""
        if self._began is not None:
            self.steps += 1
            if self.steps > WARM_UP_STEPS:
                self.seconds += time.perf_counter() - self._began[0]
                self.cpu_seconds += time.process_time() - self._began[1]
            self._began = None


def step_process(settings: Mapping[str, Any]) -> None:
    """Train on random ids for STEP_SECONDS and print the mean time of a step as JSON."""
    model_config, config = make_configs(settings, ModelConfig.vocab_size)
    ids = torch.randint(ModelConfig.vocab_size, (20_000,), generator=torch.Generator().manual_seed(0))
    timer = StepTimer()
    data = Dataset.from_ids(ids, config.validation_fraction).with_hook(timer.begin)
    for _ in train(TrainState.new(TransformerLanguageModel.from_config(model_config), config), data, config):
        timer.end()
        if timer.seconds > STEP_SECONDS:
            break
    count = timer.steps - WARM_UP_STEPS
    print(json.dumps({"ms": 1e3 * timer.seconds / count, "cpu_ms": 1e3 * timer.cpu_seconds / count}))


def breakdown(name: str, row: Mapping[str, Any]) -> str:
    """One line: the total time and its parts."""
    parts = ", ".join(f"{part} {row[f'{part}_s']:.1f}" for part in ("startup", *PARTS))
    waiting = f"; waiting {row['waiting_s']:.1f}" if row["waiting_s"] is not None else ""
    sample = f"; first sample after {row['first_sample_s']:.1f} s" if row["first_sample_s"] is not None else ""
    predicted = (
        f"; predicted {row['predicted_s']:.1f} s ({row['total_to_predicted']:.2f} x)" if row["predicted_s"] else ""
    )
    return (
        f"{name:>24}  {row['total_s']:7.1f} s: {parts}{waiting}; CPU {row['cpu_s']:.1f}"
        f"; evaluation, samples and files {row['share_besides_steps']:.0%}{sample}{predicted}"
    )


def print_results(results: Mapping[str, Any]) -> None:
    """Print one or two lines per row."""
    for name, row in results.get("target", {}).items():
        missed = "" if row["worst_val_loss"] <= row["target"] else f", did not reach {row['target']} in every round"
        print(
            f"{name:>24}  {row['total_s']:7.1f} s   {row['ratio']:5.2f} x"
            f"  (validation loss {row['val_loss']:.4f}, worst {row['worst_val_loss']:.4f}{missed})"
        )
        if name != "reference":
            print(breakdown("", row))
    for name, row in results.get("presets", {}).items():
        print(f"{breakdown(name, row)}; validation loss {row['val_loss']:.4f}")
    for name, row in results.get("steps", {}).items():
        met = row["slowdown"] <= MAX_SLOWDOWN and row["cpu_ratio"] <= MAX_CPU_RATIO
        print(
            f"{name:>24}  step {row['quiet_ms']:.1f} ms, beside {BUSY_PROCESSES} busy processes {row['busy_ms']:.1f} ms"
            f" ({row['slowdown']:.2f} x); CPU {row['quiet_cpu_ms']:.1f} and {row['busy_cpu_ms']:.1f} ms"
            f" ({row['cpu_ratio']:.2f} x){'' if met else f'; wanted {MAX_SLOWDOWN} x and {MAX_CPU_RATIO} x'}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("target", "presets", "steps"))
    parser.add_argument("--models", nargs="+", choices=PRESETS, default=DEFAULT_MODELS, help="presets to measure")
    parser.add_argument("--corpus", type=Path, default=Path("tinyshakespeare.txt"), help="file with Tiny Shakespeare")
    parser.add_argument("--busy", action="store_true", help="run two busy processes during target and presets")
    parser.add_argument("--reference-process", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--step-process", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reference_process:
        return reference_process(arguments.reference_process, arguments.corpus)
    if arguments.step_process:
        return step_process(arguments.step_process)
    wanted, rounds = arguments.only, arguments.rounds
    texts = {"Tiny Shakespeare": arguments.corpus} if arguments.corpus.exists() else {}
    results: dict[str, Any] = {"busy": arguments.busy}
    with busy_processes() if arguments.busy else nullcontext():
        if wanted in (None, "target") and texts:
            results["target"] = measure_target(arguments.corpus, rounds)
        if wanted in (None, "presets"):
            results["presets"] = measure_presets({**texts, "sample.txt": BUNDLED}, arguments.models, rounds)
    if wanted in (None, "steps"):
        results["steps"] = measure_steps(arguments.models, rounds)
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        print_results(results)


if __name__ == "__main__":
    main()
