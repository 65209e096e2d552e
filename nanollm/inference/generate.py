"""Text generation with a trained model: generate() for ids, generate_text() for text.

Command line: python -m nanollm.inference.generate CHECKPOINT --prompt "The quick" --temperature 0.8 --top-k 40
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nanollm.errors import InputError
from nanollm.inference.numpy_engine import NumpyEngine, Weights, cached_weights
from nanollm.inference.sampling import Sampled, SamplingOptions, derived_seeds, draw
from nanollm.inference.thread_limits import ComputeSlot
from nanollm.tokenizer import CharTokenizer

if TYPE_CHECKING:
    from nanollm.inference.torch_engine import TorchEngine
    from nanollm.model import TransformerLanguageModel

# All functions also accept the weights of load_weights(), and then do not import PyTorch.
Model: TypeAlias = "TransformerLanguageModel | Weights"
MIN_BATCH = 16  # samples; below this, one numpy engine per sample is faster than one PyTorch batch
DEFAULTS = SamplingOptions()


def window_start(length: int, context_length: int) -> int:
    """Index of the first of `length` characters that is inside the context window.

    The window slides by half its length at a time. Between two slides the keys and values of all earlier characters
    stay valid, so almost every new character costs one row of computation rather than a window of it.
    """
    if length <= context_length:
        return 0
    half = max(1, context_length // 2)
    return half * -(-(length - context_length) // half)  # rounded up


def generate(
    model: Model,
    prompt_ids: Sequence[int] | np.ndarray,
    *,
    max_new_tokens: int,
    temperature: float = DEFAULTS.temperature,
    top_k: int = DEFAULTS.top_k,
    seed: int = DEFAULTS.seed,
    candidates: int = DEFAULTS.candidates,
) -> Iterator[Sampled]:
    """Sample max_new_tokens characters after prompt_ids (N,), N ≥ 1, one at a time; closing the iterator stops it.

    The other arguments are those of SamplingOptions. The same model, prompt and options give the same characters. Does
    not use or change global random state, and does not modify the model, whose weights are read when the first
    character is requested. Raises InputError, at the call, for invalid options and for ids outside the vocabulary.
    """
    options = SamplingOptions(max_new_tokens, temperature, top_k, seed, candidates)
    return (sampled for (sampled,) in generate_many(model, prompt_ids, 1, options))


def generate_many(
    model: Model,
    prompt_ids: Sequence[int] | np.ndarray,
    num_samples: int,
    options: SamplingOptions = DEFAULTS,
) -> Iterator[tuple[Sampled, ...]]:
    """Generate several samples from one prompt in parallel: yields the next character of each, as a tuple.

    Sample i is what generate() gives for the i-th of derived_seeds(options.seed, num_samples). Raises InputError as
    generate() does, and for an invalid num_samples.
    """
    seeds = derived_seeds(options.seed, num_samples)
    ids = _checked_ids(prompt_ids, model.config.vocab_size)
    if not isinstance(model, Weights) and (num_samples >= MIN_BATCH or model.embedding.weight.device.type != "cpu"):
        return _generate_batch(model, ids, seeds, options)
    streams = [_generate_one(model, list(ids), seed, options) for seed in seeds]
    return (samples for samples in zip(*streams, strict=True))  # a generator, so that it can be closed


def _checked_ids(prompt_ids: Sequence[int] | np.ndarray, vocab_size: int) -> list[int]:
    """The prompt ids (N,) as a list. Raises InputError if there are none, or some are not ids of the vocabulary."""
    if not len(prompt := np.asarray(prompt_ids).reshape(-1)):
        raise InputError("The prompt is empty: give at least one character.")
    if np.ndim(prompt_ids) != 1 or not np.issubdtype(prompt.dtype, np.integer):
        raise InputError("The prompt ids must be a one-dimensional sequence of integers: use tokenizer.encode(prompt).")
    if not 0 <= int(prompt.min()) <= int(prompt.max()) < vocab_size:
        raise InputError(f"The prompt ids must be from 0 to {vocab_size - 1}: encode with the model's tokenizer.")
    return prompt.tolist()


def _generate_one(model: Model, ids: list[int], seed: int, options: SamplingOptions) -> Iterator[Sampled]:
    random, slot = np.random.default_rng(seed), ComputeSlot()
    window = SlidingWindow(NumpyEngine(model if isinstance(model, Weights) else cached_weights(model)))

    def next_character() -> Sampled:
        sampled = draw(window.logits(ids), random, options)
        ids.append(sampled.id)
        return sampled

    for _ in range(options.max_length):
        yield slot.run(next_character)


def _generate_batch(
    model: TransformerLanguageModel, prompt: list[int], seeds: list[int], options: SamplingOptions
) -> Iterator[tuple[Sampled, ...]]:
    from nanollm.inference.torch_engine import TorchEngine

    randoms = [np.random.default_rng(seed) for seed in seeds]
    window = SlidingWindow(TorchEngine(model, len(seeds)))
    ids = [(id,) * len(seeds) for id in prompt]  # N rows of B
    for _ in range(options.max_length):
        rows = zip(window.logits(ids), randoms, strict=True)
        samples = tuple(draw(logits, random, options) for logits, random in rows)
        ids.append(tuple(sampled.id for sampled in samples))
        yield samples


class SlidingWindow:
    """Feeds a growing text to an engine: only the new character, or the whole window after it has slid."""

    def __init__(self, engine: NumpyEngine | TorchEngine) -> None:
        self.engine, self.start = engine, -1

    def logits(self, ids: list) -> np.ndarray:
        """Next-character logits (V,) after ids (N,), or (B, V) after N rows of B; each call adds one character."""
        start = window_start(len(ids), self.engine.config.context_length)
        if start == self.start:
            return self.engine.next(ids[-1])
        self.start = start
        return self.engine.read(np.array(ids[start:]))


def stream_samples(
    model: Model, tokenizer: CharTokenizer, prompt: str, options: SamplingOptions = DEFAULTS
) -> Iterator[Sampled]:
    """Generate after a text prompt: yields each new character as soon as it is sampled, with its probability.

    An empty prompt starts from a newline, or from the first character of a vocabulary without one. Raises InputError,
    at the call, for prompt characters outside the vocabulary and for a tokenizer of another model.
    """
    return (sampled for (sampled,) in generate_many(model, _encoded_prompt(model, tokenizer, prompt), 1, options))


def _encoded_prompt(model: Model, tokenizer: CharTokenizer, prompt: str) -> np.ndarray:
    """The prompt's ids (N,), N ≥ 1. Raises InputError for a tokenizer of another model, and as encode() does."""
    require_vocabulary(model, tokenizer)
    return tokenizer.encode(first_character(tokenizer) if prompt == "" else prompt)


def require_vocabulary(model: Model, tokenizer: CharTokenizer) -> None:
    """Raise InputError unless the tokenizer and the model have the same vocabulary size."""
    if tokenizer.vocab_size != model.config.vocab_size:
        raise InputError(
            f"The tokenizer has {tokenizer.vocab_size} characters, the model {model.config.vocab_size}: "
            "take both from one checkpoint."
        )


def first_character(tokenizer: CharTokenizer) -> str:
    """The context of a text's first character: a newline, or the first character of a vocabulary without one."""
    return "\n" if "\n" in tokenizer.characters else tokenizer.characters[0]


def stream_text(
    model: Model, tokenizer: CharTokenizer, prompt: str, options: SamplingOptions = DEFAULTS
) -> Iterator[str]:
    """Generate after a text prompt, one character at a time. Raises InputError as stream_samples() does."""
    samples = stream_samples(model, tokenizer, prompt, options)
    return (tokenizer.characters[sampled.id] for sampled in samples)


def generate_text(
    model: Model,
    tokenizer: CharTokenizer,
    prompt: str,
    max_length: int = DEFAULTS.max_length,
    temperature: float = DEFAULTS.temperature,
    top_k: int = DEFAULTS.top_k,
    seed: int = DEFAULTS.seed,
) -> str:
    """Return the prompt followed by max_length new characters.

    The options are those of SamplingOptions. Raises InputError for invalid options, for prompt characters outside the
    vocabulary and for a tokenizer of another model.
    """
    options = SamplingOptions(max_length, temperature, top_k, seed)
    return prompt + "".join(stream_text(model, tokenizer, prompt, options))


def generate_texts(
    model: Model,
    tokenizer: CharTokenizer,
    prompt: str,
    *,
    num_samples: int,
    max_length: int = DEFAULTS.max_length,
    temperature: float = DEFAULTS.temperature,
    top_k: int = DEFAULTS.top_k,
    seed: int = DEFAULTS.seed,
) -> list[str]:
    """Return num_samples texts from one prompt: what generate_text() gives for seed, seed + 1, and so on.

    Raises InputError as generate_text() does, and unless num_samples is from 1 to 256.
    """
    options = SamplingOptions(max_length, temperature, top_k, seed)
    rows = generate_many(model, _encoded_prompt(model, tokenizer, prompt), num_samples, options)
    texts = [[prompt] for _ in range(num_samples)]
    for row in rows:
        for text, sampled in zip(texts, row, strict=True):
            text.append(tokenizer.characters[sampled.id])
    return ["".join(text) for text in texts]


if __name__ == "__main__":
    from nanollm.cli.sample import main

    sys.exit(main())
