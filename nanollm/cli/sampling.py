"""Text generation from command-line arguments."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain

from nanollm.inference.generate import generate_texts, stream_text
from nanollm.inference.sampling import SamplingOptions, derived_seeds
from nanollm.train.checkpoint import LoadedModel


def write(loaded: LoadedModel, arguments: argparse.Namespace) -> Iterator[str]:
    """The prompt, then each new character, for the arguments of add_sampling_arguments().

    Several samples come one after the other, each after a line with its seed. Raises InputError at the call.
    """
    if arguments.num_samples != 1:
        texts = write_many(loaded, arguments)
        return (f"--- seed {seed}\n{text}\n" for seed, text in texts.items())
    options = SamplingOptions(arguments.max_length, arguments.temperature, arguments.top_k, arguments.seed)
    characters = stream_text(loaded.model, loaded.tokenizer, arguments.prompt, options)
    return chain([arguments.prompt], characters, "\n")


def write_many(loaded: LoadedModel, arguments: argparse.Namespace) -> dict[int, str]:
    """All samples, by the seed that reproduces each of them. Raises InputError."""
    texts = generate_texts(
        loaded.model,
        loaded.tokenizer,
        arguments.prompt,
        num_samples=arguments.num_samples,
        max_length=arguments.max_length,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        seed=arguments.seed,
    )
    return dict(zip(derived_seeds(arguments.seed, arguments.num_samples), texts, strict=True))
