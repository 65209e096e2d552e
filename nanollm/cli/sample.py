"""`python -m nanollm sample` and `python -m nanollm.inference.generate`: sample text from a model.

A few texts are generated with numpy only, because importing PyTorch takes longer than generating one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanollm.cli.exit_status import status_of
from nanollm.cli.lookup import add_model_arguments, find_checkpoint
from nanollm.errors import InputError

if TYPE_CHECKING:
    from nanollm.inference.weights_file import LoadedWeights
    from nanollm.train.checkpoint import LoadedModel

_SETTINGS = ("max_length", "temperature", "top_k", "seed")


def add_commands(commands: Any) -> None:
    """Add `sample` to the subparsers."""
    parser = commands.add_parser("sample", help="generate text with a model", description=sample.__doc__)
    parser.set_defaults(command=sample)
    add_model_arguments(parser)
    add_sampling_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the text and its settings as JSON")


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --prompt, --max-length, --temperature, --top-k, --seed and --num-samples, with their defaults."""
    parser.add_argument("--prompt", default="", help="text to continue (default: a new line)")
    parser.add_argument("--max-length", type=int, default=200, help="new characters to generate (default: 200)")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="0 always picks the most likely character (default: 0.8)"
    )
    parser.add_argument("--top-k", type=int, default=40, help="sample from the k most likely characters (default: 40)")
    parser.add_argument("--seed", type=int, default=42, help="the same seed gives the same text (default: 42)")
    parser.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="number of texts, with consecutive seeds (default: 1)"
    )


def sample(arguments: argparse.Namespace) -> int:
    """Generate text with the given model (default: the newest run, or else a pretrained model)."""
    path = find_checkpoint(arguments)
    loaded = _load(path, arguments.num_samples)
    if not arguments.json:
        return _print_samples(loaded, arguments)
    texts = sample_texts(loaded, arguments)
    samples = [{"seed": seed, "text": text} for seed, text in texts.items()]
    settings = {name: getattr(arguments, name) for name in ("prompt", *_SETTINGS)}
    result = {"checkpoint": str(path), **settings, "text": texts[arguments.seed]}
    print(json.dumps(result if len(samples) == 1 else {**result, "samples": samples}))
    return 0


def _load(path: str | Path, num_samples: int) -> LoadedModel | LoadedWeights:
    """Load the model that generates this number of texts fastest. Raises InputError."""
    from nanollm.inference.generate import MIN_BATCH

    if num_samples < MIN_BATCH:
        from nanollm.inference.weights_file import load_weights

        return load_weights(path)
    from nanollm.train.checkpoint import load_model

    return load_model(path)


def main() -> int:
    """Generate text with a checkpoint file (default: the newest checkpoint_final.safetensors under checkpoints/)."""
    parser = argparse.ArgumentParser(prog="python -m nanollm.inference.generate", description=main.__doc__)
    parser.add_argument("checkpoint", nargs="?", help="a .safetensors checkpoint (default: the newest finished one)")
    add_sampling_arguments(parser)
    arguments = parser.parse_args()
    return status_of(lambda: _sample_file(arguments))


def _sample_file(arguments: argparse.Namespace) -> int:
    return _print_samples(_load(arguments.checkpoint or _newest_checkpoint(), arguments.num_samples), arguments)


def _newest_checkpoint() -> Path:
    from nanollm.train.checkpoint_file import FINAL_NAME

    found = sorted(Path("checkpoints").glob(f"*/{FINAL_NAME}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError("There is no finished run under checkpoints/: train one first, or name a checkpoint.")
    return found[-1]


def _print_samples(loaded: LoadedModel | LoadedWeights, arguments: argparse.Namespace) -> int:
    for piece in stream(loaded, arguments):
        print(piece, end="", flush=True)
    return 0


def stream(loaded: LoadedModel | LoadedWeights, arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the prompt, then each new character; several texts follow each other, each under a line with its seed.

    Raises InputError when called, before anything is generated.
    """
    if arguments.num_samples != 1:
        texts = sample_texts(loaded, arguments)
        return (f"--- seed {seed}\n{text}\n" for seed, text in texts.items())
    from nanollm.inference.generate import stream_text
    from nanollm.inference.sampling import SamplingOptions

    options = SamplingOptions(**{name: getattr(arguments, name) for name in _SETTINGS})
    return chain([arguments.prompt], stream_text(loaded.model, loaded.tokenizer, arguments.prompt, options), "\n")


def sample_texts(loaded: LoadedModel | LoadedWeights, arguments: argparse.Namespace) -> dict[int, str]:
    """The requested texts by seed; each equals the single sample generated with that seed. Raises InputError."""
    from nanollm.inference.generate import generate_texts
    from nanollm.inference.sampling import derived_seeds

    settings = {name: getattr(arguments, name) for name in (*_SETTINGS, "num_samples")}
    texts = generate_texts(loaded.model, loaded.tokenizer, arguments.prompt, **settings)
    return dict(zip(derived_seeds(arguments.seed, arguments.num_samples), texts, strict=True))
