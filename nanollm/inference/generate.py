"""The writing loop, character by character, for as long as one likes.

python -m nanollm.inference.generate CHECKPOINT --prompt "The quick" --temperature 0.8 --top-k 40
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from nanollm.checkpoint import FINAL_NAME, LoadedModel, load_model
from nanollm.errors import InputError
from nanollm.inference.numpy_engine import NumpyEngine
from nanollm.inference.sampling import Sampled, check_sampling, draw
from nanollm.inference.torch_engine import TorchEngine
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer


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
) -> Iterator[Sampled]:
    """Draw max_new_tokens characters after prompt_ids (N,), N ≥ 1, one at a time; closing the iterator stops it.

    The same model, prompt and settings give the same characters. Touches no global random state and leaves the model
    as it is. temperature 0 always takes the likeliest; top_k above the vocabulary means all.
    Raises InputError, at the call, for settings that check_sampling refuses and for ids outside the vocabulary.
    """
    check_sampling(temperature=temperature, top_k=top_k, max_length=max_new_tokens, seed=seed)
    ids = [int(id) for id in prompt_ids]
    if not ids:
        raise InputError("The prompt is empty: start from at least one character.")
    if not 0 <= min(ids) <= max(ids) < model.config.vocab_size:
        raise InputError(f"The prompt's ids must be from 0 to {model.config.vocab_size - 1}.")
    return _generate(model, ids, max_new_tokens, temperature, top_k, seed)


def _generate(
    model: TransformerLanguageModel, ids: list[int], max_new_tokens: int, temperature: float, top_k: int, seed: int
) -> Iterator[Sampled]:
    engine = NumpyEngine(model) if model.embedding.weight.device.type == "cpu" else TorchEngine(model)
    random = np.random.default_rng(seed)
    start = -1
    # These products are too small to share among threads; the controller is asked only once, it searches all libraries.
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        for _ in range(max_new_tokens):
            anchor = window_start(len(ids), model.config.context_length)
            logits = engine.next(ids[-1]) if anchor == start else engine.read(np.array(ids[anchor:]))
            start = anchor
            sampled = draw(logits, temperature, top_k, random)
            ids.append(sampled.id)
            yield sampled


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
    """The new characters after a prompt, each as soon as it is drawn.

    An empty prompt starts from a newline, or where the vocabulary has none, from its first character.
    Raises InputError, at the call, as generate() does, and for prompt characters that the vocabulary lacks.
    """
    start = prompt or ("\n" if "\n" in tokenizer.characters else tokenizer.characters[0])
    sampled = generate(
        model,
        tokenizer.encode(start),
        max_new_tokens=max_length,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
    )
    return (tokenizer.characters[s.id] for s in sampled)


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


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that writes."""
    parser.add_argument("--prompt", default="", help="text to go on from (default: a new line)")
    parser.add_argument("--max-length", type=int, default=200, help="new characters to write (default: 200)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 always takes the likeliest (default: 0.8)")
    parser.add_argument("--top-k", type=int, default=40, help="choose among the k likeliest (default: 40)")
    parser.add_argument("--seed", type=int, default=42, help="the same seed writes the same text (default: 42)")


def write(loaded: LoadedModel, arguments: argparse.Namespace) -> Iterator[str]:
    """The prompt, then each new character, by the flags of add_sampling_arguments. Raises InputError at the call."""
    names = ("max_length", "temperature", "top_k", "seed")
    settings = {name: getattr(arguments, name) for name in names}
    return chain([arguments.prompt], stream_text(loaded.model, loaded.tokenizer, arguments.prompt, **settings))


def main() -> int:
    """Write with a checkpoint; by default the newest checkpoint_final.safetensors under checkpoints/."""
    parser = argparse.ArgumentParser(prog="python -m nanollm.inference.generate", description=main.__doc__)
    parser.add_argument("checkpoint", nargs="?", help="a .safetensors checkpoint (default: the newest finished one)")
    add_sampling_arguments(parser)
    arguments = parser.parse_args()
    try:
        for piece in write(load_model(arguments.checkpoint or _newest()), arguments):
            print(piece, end="", flush=True)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print()
    return 0


def _newest() -> Path:
    found = sorted(Path("checkpoints").glob(f"*/{FINAL_NAME}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError("No finished run lies under checkpoints/: train one first, or name a checkpoint.")
    return found[-1]


if __name__ == "__main__":
    sys.exit(main())
