"""The writing loop, character by character, for as long as one likes.

python -m nanollm.inference.generate CHECKPOINT --prompt "The quick" --temperature 0.8 --top-k 40
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from nanollm.errors import InputError
from nanollm.inference.numpy_engine import NumpyEngine
from nanollm.inference.sampling import Sampled, check_sampling, derived_seeds, draw
from nanollm.inference.thread_limits import Turn
from nanollm.inference.torch_engine import TorchEngine
from nanollm.inference.weight_cache import weights_of
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer

BATCH_FROM = 16  # samples; fewer are written sooner by as many numpy engines, one character of each in turn


Draw = Callable[[np.ndarray, np.random.Generator], Sampled]  # draw(), its settings made


def window_start(length: int, context_length: int) -> int:
    """Index of the first of `length` characters that the model still sees.

    The window slides by half its length at a time, so that almost every character needs only itself computed.
    """
    if length <= context_length:
        return 0
    half = max(1, context_length // 2)
    return half * -(-(length - context_length) // half)  # rounded up


def generate(
    model: TransformerLanguageModel,
    prompt_ids: Sequence[int] | np.ndarray,
    *,
    max_new_tokens: int,
    temperature: float = 0.8,
    top_k: int = 40,
    seed: int = 42,
    candidates: int = 0,
) -> Iterator[Sampled]:
    """Draw max_new_tokens characters after prompt_ids (N,), N ≥ 1, one at a time; closing the iterator stops it.

    The same model, prompt and settings give the same characters. Touches no global random state and leaves the model
    as it is, whose weights it takes when the first character is asked for. temperature 0 always takes the likeliest;
    top_k above the vocabulary means all; `candidates` of the likeliest are reported with each character.
    Raises InputError, at the call, for settings that check_sampling refuses and for ids outside the vocabulary.
    """
    samples = generate_many(
        model,
        prompt_ids,
        num_samples=1,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        candidates=candidates,
    )
    return (sampled for (sampled,) in samples)


def generate_many(
    model: TransformerLanguageModel,
    prompt_ids: Sequence[int] | np.ndarray,
    *,
    num_samples: int,
    max_new_tokens: int,
    temperature: float = 0.8,
    top_k: int = 40,
    seed: int = 42,
    candidates: int = 0,
) -> Iterator[tuple[Sampled, ...]]:
    """Several samples after one prompt, side by side: each time the next character of every one of them.

    The first is what generate() gives for this seed, the others what it gives for the seeds that derived_seeds() tells.
    Raises InputError, at the call, as generate() does.
    """
    check_sampling(temperature=temperature, top_k=top_k, max_length=max_new_tokens, seed=seed, candidates=candidates)
    seeds = derived_seeds(seed, num_samples)
    ids = _checked(prompt_ids, model.config.vocab_size)
    drawn = partial(draw, temperature=float(temperature), top_k=top_k, candidates=candidates)
    if num_samples >= BATCH_FROM or model.embedding.weight.device.type != "cpu":
        return _in_a_batch(model, ids, max_new_tokens, seeds, drawn)
    streams = [_alone(model, list(ids), max_new_tokens, seed, drawn) for seed in seeds]
    return (together for together in zip(*streams, strict=True))


def _checked(prompt_ids: Sequence[int] | np.ndarray, vocab_size: int) -> list[int]:
    """The prompt's ids (N,) as a list. Raises InputError unless they are at least one id of the vocabulary."""
    if not len(prompt := np.asarray(prompt_ids).reshape(-1)):
        raise InputError("The prompt is empty: start from at least one character.")
    if np.ndim(prompt_ids) != 1 or not np.issubdtype(prompt.dtype, np.integer):
        raise InputError("The prompt's ids must be one row of whole numbers: use tokenizer.encode(prompt).")
    if not 0 <= int(prompt.min()) <= int(prompt.max()) < vocab_size:
        raise InputError(f"The prompt's ids must be from 0 to {vocab_size - 1}.")
    return prompt.tolist()


def _alone(model: TransformerLanguageModel, ids: list[int], count: int, seed: int, drawn: Draw) -> Iterator[Sampled]:
    random, turn = np.random.default_rng(seed), Turn()
    window = Window(NumpyEngine(weights_of(model)))

    def write_one() -> Sampled:
        sampled = drawn(window.read(ids), random)
        ids.append(sampled.id)
        return sampled

    for _ in range(count):
        yield turn.take(write_one)


def _in_a_batch(
    model: TransformerLanguageModel, prompt: list[int], count: int, seeds: list[int], drawn: Draw
) -> Iterator[tuple[Sampled, ...]]:
    randoms = [np.random.default_rng(seed) for seed in seeds]
    window = Window(TorchEngine(model, len(seeds)))
    ids = [(id,) * len(seeds) for id in prompt]
    for _ in range(count):
        samples = tuple(map(drawn, window.read(ids), randoms))
        ids.append(tuple(sampled.id for sampled in samples))
        yield samples


class Window:
    """What an engine has read of a text that grows: one character more each time, until the window slides."""

    def __init__(self, engine: NumpyEngine | TorchEngine) -> None:
        self.engine, self.start = engine, -1

    def read(self, ids: list) -> np.ndarray:
        """The engine's logits, (V,) or (B, V), for what follows ids: N ids (of B texts: N rows of B), one more than
        last time."""
        start = window_start(len(ids), self.engine.config.context_length)
        if start == self.start:
            return self.engine.next(ids[-1])
        self.start = start
        return self.engine.read(np.array(ids[start:]))


def stream_samples(
    model: TransformerLanguageModel,
    tokenizer: CharTokenizer,
    prompt: str,
    *,
    max_length: int = 200,
    temperature: float = 0.8,
    top_k: int = 40,
    seed: int = 42,
    candidates: int = 0,
) -> Iterator[Sampled]:
    """The new characters after a prompt, each as soon as it is drawn, with how likely it was.

    An empty prompt starts from a newline, or where the vocabulary has none, from its first character.
    Raises InputError, at the call, as generate() does, for prompt characters that the vocabulary lacks, and for a
    tokenizer that is not the model's.
    """
    return generate(
        model,
        _encoded(model, tokenizer, prompt),
        max_new_tokens=max_length,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        candidates=candidates,
    )


def _encoded(model: TransformerLanguageModel, tokenizer: CharTokenizer, prompt: str) -> np.ndarray:
    """The ids (N,) to begin with. Raises InputError for a tokenizer that is not the model's, and as encode() does."""
    require_vocabulary(model, tokenizer)
    return tokenizer.encode(first_character(tokenizer) if prompt == "" else prompt)


def require_vocabulary(model: TransformerLanguageModel, tokenizer: CharTokenizer) -> None:
    """Raise InputError unless the tokenizer has as many characters as the model."""
    if tokenizer.vocab_size != model.config.vocab_size:
        raise InputError(
            f"The tokenizer has {tokenizer.vocab_size} characters, the model {model.config.vocab_size}: "
            "take both from one checkpoint."
        )


def first_character(tokenizer: CharTokenizer) -> str:
    """What stands before a text that nothing stands before: a newline, or where there is none, the first character."""
    return "\n" if "\n" in tokenizer.characters else tokenizer.characters[0]


def stream_text(
    model: TransformerLanguageModel,
    tokenizer: CharTokenizer,
    prompt: str,
    *,
    max_length: int = 200,
    temperature: float = 0.8,
    top_k: int = 40,
    seed: int = 42,
) -> Iterator[str]:
    """stream_samples(), as text: one character at a time. Raises InputError as that does."""
    samples = stream_samples(
        model, tokenizer, prompt, max_length=max_length, temperature=temperature, top_k=top_k, seed=seed
    )
    return (tokenizer.characters[sampled.id] for sampled in samples)


def generate_text(
    model: TransformerLanguageModel,
    tokenizer: CharTokenizer,
    prompt: str,
    max_length: int = 200,
    temperature: float = 0.8,
    top_k: int = 40,
    seed: int = 42,
) -> str:
    """The prompt and max_length new characters after it. Raises InputError as stream_text does."""
    settings = {"max_length": max_length, "temperature": temperature, "top_k": top_k, "seed": seed}
    return prompt + "".join(stream_text(model, tokenizer, prompt, **settings))


def generate_texts(
    model: TransformerLanguageModel,
    tokenizer: CharTokenizer,
    prompt: str,
    *,
    num_samples: int,
    max_length: int = 200,
    temperature: float = 0.8,
    top_k: int = 40,
    seed: int = 42,
) -> list[str]:
    """Several texts from one prompt: what generate_text gives for each of derived_seeds(seed, num_samples).

    Raises InputError as stream_text does, and for an odd number of samples.
    """
    rows = generate_many(
        model,
        _encoded(model, tokenizer, prompt),
        num_samples=num_samples,
        max_new_tokens=max_length,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
    )
    texts = [[prompt] for _ in range(num_samples)]
    for row in rows:
        for text, sampled in zip(texts, row, strict=True):
            text.append(tokenizer.characters[sampled.id])
    return ["".join(text) for text in texts]


if __name__ == "__main__":
    from nanollm.cli.sample import main

    sys.exit(main())
