"""The flags of every command that writes, apart from what writes: `--help` and listing runs need no torch."""

from __future__ import annotations

import argparse


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --prompt, --max-length, --temperature, --top-k, --seed and --num-samples, with their defaults."""
    parser.add_argument("--prompt", default="", help="text to go on from (default: a new line)")
    parser.add_argument("--max-length", type=int, default=200, help="new characters to write (default: 200)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 always takes the likeliest (default: 0.8)")
    parser.add_argument("--top-k", type=int, default=40, help="choose among the k likeliest (default: 40)")
    parser.add_argument("--seed", type=int, default=42, help="the same seed writes the same text (default: 42)")
    parser.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="so many texts, with this seed and those after it"
    )
