"""What the sampling flags ask for, as text."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain

from nanollm.inference.generate import generate_texts, stream_text
from nanollm.inference.sampling import derived_seeds
from nanollm.train.checkpoint import LoadedModel

_SETTINGS = ("max_length", "temperature", "top_k", "seed")


def write(loaded: LoadedModel, arguments: argparse.Namespace) -> Iterator[str]:
    """The prompt, then each new character, by the flags of add_sampling_arguments. Raises InputError at the call.

    Several texts come one after the other, each under a line that tells its seed.
    """
    if arguments.num_samples != 1:
        texts = write_many(loaded, arguments)
        return (f"--- seed {seed}\n{text}\n" for seed, text in texts.items())
    settings = {name: getattr(arguments, name) for name in _SETTINGS}
    return chain([arguments.prompt], stream_text(loaded.model, loaded.tokenizer, arguments.prompt, **settings), "\n")


def write_many(loaded: LoadedModel, arguments: argparse.Namespace) -> dict[int, str]:
    """The texts that the flags ask for, each with the seed that writes it alone. Raises InputError."""
    settings = {name: getattr(arguments, name) for name in (*_SETTINGS, "num_samples")}
    texts = generate_texts(loaded.model, loaded.tokenizer, arguments.prompt, **settings)
    return dict(zip(derived_seeds(arguments.seed, arguments.num_samples), texts, strict=True))
