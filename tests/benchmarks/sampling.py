"""Generation speed, compared with two plain PyTorch implementations.

    python -m tests.benchmarks.sampling [--json] [--rounds 9] [--only alone|batch|threads] [--context-length 192]

Reference (a) recomputes the whole window for each character, in float32 with PyTorch's fused attention kernel;
reference (b) uses a key-value cache in a plain PyTorch loop. Both are implemented here with PyTorch's modules and
sample in the usual way: divide by the temperature, top-k, softmax, multinomial. "ours" is generate() with all of its
features: top-k, probabilities, sliding window. All run on one thread and start with a full window. The processor time
of that thread is measured, so that other load on the machine matters less. Ratios are medians over rounds of
measurements taken right after each other, because the speed of a machine varies over minutes. The batch of 32 streams
uses all cores; it and the eight concurrent threads are measured in wall-clock time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nanollm.config import ModelConfig, make_configs, preset
from nanollm.inference.generate import generate, generate_many
from nanollm.inference.numpy_engine import Weights, cached_weights
from nanollm.inference.sampling import SamplingOptions
from nanollm.model import TransformerLanguageModel
from nanollm.train.device import available_cpus
from tests.benchmarks.training import Reference
from tests.conftest import random_model

NAMES = ("nano", "small", "medium")
TEMPERATURE, TOP_K = 0.8, 40
STREAMS = 32
THREADS = 8


def sample(logits: Tensor) -> int:
    """Sample an id from logits (V,) in the usual way."""
    logits = logits / TEMPERATURE
    logits[logits < logits.topk(TOP_K).values[-1]] = -torch.inf
    return int(torch.multinomial(logits.softmax(-1), 1))


@torch.inference_mode()
def recompute(model: Reference, ids: list[int], count: int) -> None:
    """Reference (a): the window slides by one and is recomputed for every character."""
    for _ in range(count):
        window = torch.tensor([ids[-model.config.context_length :]])
        ids.append(sample(model(window)[0, -1]))


@torch.inference_mode()
def cached(model: Reference, ids: list[int], count: int) -> None:
    """Reference (b): a key-value cache; after a full window, its second half is read again, as in generate()."""
    config = model.config
    C = config.context_length
    cache: list[tuple[Tensor, Tensor]] = []
    length = C  # the window counts as full, so the first character starts a new one
    for _ in range(count):
        if length >= C:
            new, cache, length = ids[-(C // 2 + 1) :], [], 0
        else:
            new = ids[-1:]
        x = model.embedding(torch.tensor([new])) + model.positions.weight[length : length + len(new)]
        for i, block in enumerate(model.blocks):
            B, T, D = x.shape
            q, k, v = (y.view(B, T, block.heads, -1).transpose(1, 2) for y in block.qkv(block.norm1(x)).split(D, -1))
            if length:
                k, v = torch.cat((cache[i][0], k), 2), torch.cat((cache[i][1], v), 2)
                cache[i] = (k, v)
            else:
                cache.append((k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=length == 0)
            x = x + block.output(y.transpose(1, 2).reshape(B, T, D))
            x = x + block.down(F.gelu(block.up(block.norm2(x))))
        length += len(new)
        ids.append(sample(model.norm(x[0, -1]) @ model.embedding.weight.T))


def seconds(work: Callable[[], object]) -> float:
    """Processor time that work() takes in this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def alternating(implementations: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds per character of each implementation in each round, after one warm-up round."""
    for measure in implementations.values():
        measure()
    measured: dict[str, list[float]] = {name: [] for name in implementations}
    for _ in range(rounds):
        for name, measure in implementations.items():
            measured[name].append(measure())
    return measured


def median_ratio(slower: list[float], faster: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def models(name: str, context_length: int | None) -> tuple[Reference, TransformerLanguageModel, list[int]]:
    """Return the reference model, this project's model at the same size, and a full window of ids."""
    settings = {**preset(name), **({"context_length": context_length} if context_length else {})}
    config = make_configs(settings, 65)[0]
    ours = random_model(config)
    with torch.no_grad():
        for parameter in ours.parameters():  # logits spread like those of a trained model, not nearly deterministic
            parameter.mul_(0.5)
    ids = np.random.default_rng(0).integers(0, 65, config.context_length)
    return Reference(config).eval(), ours, ids.tolist()


def floor(config: ModelConfig) -> float:
    """Lower bound: seconds that numpy takes to multiply a vector by all matrices of the layers."""
    weights = Weights.from_model(TransformerLanguageModel.from_config(config))
    matrices = [getattr(layer, name) for layer in weights.layers for name in ("qkv", "output", "up", "down")]
    pairs = [(np.ones((1, len(m)), np.float32), m, np.empty((1, m.shape[1]), np.float32)) for m in matrices]

    def product() -> None:
        for row, matrix, out in pairs:
            row.dot(matrix, out)

    return min(seconds(product) for _ in range(200))


def alone(name: str, rounds: int, context_length: int | None) -> dict[str, Any]:
    """One stream: against both references, within and beyond a window, with candidates, and the first character."""
    reference, model, ids = models(name, context_length)
    C = model.config.context_length
    cached_weights(model)

    def ours(count: int, prompt: list[int], skip: int = 0, **settings: Any) -> float:
        stream = generate(model, prompt, max_new_tokens=count, temperature=TEMPERATURE, top_k=TOP_K, **settings)
        for _ in range(skip):
            next(stream)
        return seconds(lambda: list(stream)) / (count - skip)

    few = max(8, C // 8)
    measured = alternating(
        {
            "recompute": lambda: seconds(lambda: recompute(reference, list(ids), few)) / few,
            "ours": lambda: ours(C, ids),
            "cached torch": lambda: seconds(lambda: cached(reference, list(ids), C)) / C,
            "candidates": lambda: ours(C, ids, candidates=8),
            "inside": lambda: ours(C, ids[:1], skip=1),  # C characters from the second on, while the window fills up
            "ten windows": lambda: ours(10 * C, ids),
            "first": lambda: ours(1, (ids * 2)[:100]),
        },
        rounds,
    )
    own = measured["ours"]
    return {
        "context_length": C,
        "characters_per_second": 1 / statistics.median(own),
        "best_characters_per_second": 1 / min(own),
        "times_recompute": median_ratio(measured["recompute"], own),
        "times_cached_torch": median_ratio(measured["cached torch"], own),
        "floor_characters_per_second": 1 / floor(model.config),
        "past_the_window": median_ratio(measured["inside"], measured["ten windows"]),
        "candidates_cost": median_ratio(measured["candidates"], own) - 1,
        "first_character_ms": 1e3 * statistics.median(measured["first"]),
        "best_first_character_ms": 1e3 * min(measured["first"]),
    }


def batch(name: str, rounds: int, context_length: int | None) -> dict[str, Any]:
    """STREAMS streams in one batch against one stream: total characters per second, wall-clock time, on all cores.

    The streams share the weights, but reading the weights of a small model is not what takes the time. Each stream has
    its own key-value cache: 32 streams of the medium preset with windows three quarters full read 28 MB of it for each
    character. On two cores (EPYC, AVX-512) a step takes 4 ms: 1.1 ms for the products with the cache (just summing the
    28 MB takes 0.23 ms), 0.7 ms for the layers' matrices, 0.5 ms for 32 draws, and 0.5 ms for reading half a window
    again after it slides. With only these, and products as fast as summing, a step would take 1.9 ms: 3.2 times the
    throughput of one numpy stream.
    """
    model, ids = models(name, context_length)[1:]
    C = model.config.context_length

    def way(num_samples: int) -> float:
        rows = generate_many(model, ids, num_samples, SamplingOptions(max_length=C, temperature=TEMPERATURE))
        began = time.perf_counter()
        for _ in rows:
            pass
        return (time.perf_counter() - began) / C / num_samples

    torch.set_num_threads(available_cpus())
    try:
        measured = alternating({"one": lambda: way(1), "many": lambda: way(STREAMS)}, rounds)
    finally:
        torch.set_num_threads(1)
    return {
        "context_length": C,
        "streams": STREAMS,
        "threads": available_cpus(),
        "characters_per_second": 1 / statistics.median(measured["many"]),
        "times_one_stream": median_ratio(measured["one"], measured["many"]),
    }


def threads(name: str, rounds: int, context_length: int | None) -> dict[str, Any]:
    """THREADS concurrent threads against one: total characters per second, without the first character of each."""
    model, ids = models(name, context_length)[1:]
    shares: list[float] = []

    def way(number: int) -> float:
        counts, started, stop = [0] * number, threading.Barrier(number + 1), threading.Event()

        def generate_until_stopped(index: int) -> None:
            stream = generate(model, ids, max_new_tokens=100_000, seed=index)
            next(stream)
            started.wait()
            while not stop.is_set():
                next(stream)
                counts[index] += 1

        workers = [threading.Thread(target=generate_until_stopped, args=(index,)) for index in range(number)]
        for worker in workers:
            worker.start()
        started.wait()
        began = time.perf_counter()
        stop.wait(1.0)
        stop.set()
        for worker in workers:
            worker.join()
        if number > 1:
            shares.append(min(counts) / (sum(counts) / number))
        return (time.perf_counter() - began) / sum(counts)

    measured = alternating({"one": lambda: way(1), "all": lambda: way(THREADS)}, rounds)
    return {
        "threads": THREADS,
        "total_of_one": median_ratio(measured["one"], measured["all"]),
        "least_share": statistics.median(shares),  # of the slowest thread; 1 is an equal share
    }


PARTS: dict[str, Callable[[str, int, int | None], dict[str, Any]]] = {
    "alone": alone,
    "batch": batch,
    "threads": threads,
}


def lines(part: str, results: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    yield f"{part}:"
    for name, figures in results.items():
        yield f"  {name:>8}  " + "  ".join(f"{key.replace('_', ' ')} {value:,.4g}" for key, value in figures.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--models", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--context-length", type=int, help="instead of the preset's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        part: {name: measure(name, arguments.rounds, arguments.context_length) for name in arguments.models}
        for part, measure in PARTS.items()
        if arguments.only in (None, part)
    }
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        print("\n".join(line for part, found in results.items() for line in lines(part, found)))


if __name__ == "__main__":
    main()
